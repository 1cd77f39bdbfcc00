//! The application's own chores: setting it up, making users. Each is one start of its Python, with a script of ours that talks JSON.
//!
//! Deliberately not here: how its processes are run (that is the catalog's), and loading packs.

mod pages;
pub mod tasks;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use camino::Utf8PathBuf;
use ecosystem_core::catalog::Launch;
use ecosystem_core::failure::{Failure, Kind, harmless};
use ecosystem_core::process::Content;
use serde::{Deserialize, Serialize};
use serde_json::json;

pub use pages::lay_assets;

use crate::backend::native;
use crate::event::{Events, Section, Task, Unit};
use crate::sys::cmd::{Cmd, Output};
use crate::sys::fs::{create_private_dir, write_atomic};

const SET_UP: &str = include_str!("setup.py");
const USER: &str = include_str!("user.py");

/// How long a chore may take. Handing out all fixtures takes half a minute here.
const LIMIT: Duration = Duration::from_mins(30);

/// An application that is installed, with its settings.
#[derive(Debug)]
pub struct Application {
    pub python: Utf8PathBuf,
    /// The whole environment of its processes.
    pub env: BTreeMap<String, String>,
    /// The folder of its service, where scripts and what they print are kept.
    pub folder: Utf8PathBuf,
}

/// A step of setting up, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    pub step: String,
    pub state: State,
    pub took_ms: u64,
    /// Background tasks that it handed out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tasks: Option<u64>,
}

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    Done,
    /// It was done before.
    Kept,
    /// The application has nothing of the kind.
    Absent,
}

/// A user that is wanted.
#[derive(Debug, Serialize)]
pub struct Wanted<'a> {
    pub mail: &'a str,
    #[serde(skip)]
    pub password: Option<&'a str>,
    pub admin: bool,
    pub token: bool,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct User {
    pub created: bool,
    /// The one that was made, where none was given.
    pub password: Option<String>,
    pub token: Option<String>,
}

/// A line of the script.
#[derive(Debug, Deserialize)]
struct Line {
    step: String,
    state: String,
    #[serde(default)]
    seconds: f64,
    count: Option<u64>,
    reason: Option<String>,
}

impl Application {
    /// The application of a launch: its first process is its Python with all settings.
    pub fn of(launch: &Launch) -> anyhow::Result<Self> {
        let web = launch.processes.first().context("the application has no processes")?;
        let python = web.argv.first().context("the web server has no command")?;
        create_private_dir(&launch.data.folder)?;
        for file in &launch.files {
            // Its configuration, where it is a project of its own.
            match &file.content {
                Content::Link(target) => native::link(&file.path, target)?,
                Content::NoLink => native::unlink(&file.path)?,
                _ => {}
            }
        }
        Ok(Self { python: python.into(), env: web.env.clone(), folder: web.cwd.clone() })
    }

    /// Sets it up. Files go to `location`, a URL; `long` are the steps that hand out background tasks.
    pub fn set_up(&self, location: &str, long: &[&str], events: &dyn Events) -> anyhow::Result<Vec<Step>> {
        let mut shown = Shown { events, task: None, told: 0 };
        let args = [&[location], long].concat();
        let command = self.command("setup.py", SET_UP, &args)?;
        let output = command.run_seeing(|text| shown.follow(text))?;
        let lines = read(&output.stdout);
        self.keep(&output)?;
        if let Some(failed) = lines.iter().find(|line| line.state == "failed") {
            let reason = failed.reason.as_deref().unwrap_or("it did not say why");
            let message = format!(
                "setting the application up failed in the step `{}`: {}",
                failed.step,
                harmless(reason)
            );
            return Err(self.failure(message));
        }
        if !output.ok() {
            let message = format!("setting the application up failed: {}", harmless(output.last_line()));
            return Err(self.failure(message));
        }
        shown.follow(&output.stdout);
        Ok(steps(&lines))
    }

    /// Makes a user, or finds it.
    pub fn user(&self, wanted: &Wanted<'_>, events: &dyn Events) -> anyhow::Result<User> {
        let task = Task::start(events, Section::Make, format!("the user {}", wanted.mail));
        let mut asked = json!(wanted);
        asked["password"] = json!(wanted.password);
        // An environment is readable by the same user only; a command line by everybody.
        let command = self.command("user.py", USER, &[])?.env("ECOSYSTEM_USER", asked.to_string());
        let output = command.run()?;
        if !output.ok() {
            self.keep(&output)?;
            let last =
                output.stderr.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
            return Err(self.failure(format!("the user was not made: {}", harmless(last.trim()))));
        }
        let user =
            serde_json::from_str(output.stdout.trim()).context("the application's answer cannot be read")?;
        task.finish("");
        Ok(user)
    }

    fn command(&self, name: &str, script: &str, args: &[&str]) -> anyhow::Result<Cmd> {
        let path = self.folder.join(name);
        write_atomic(&path, script.as_bytes(), 0o600)?;
        Ok(Cmd::new(&self.python)
            .args([path.as_str()])
            .args(args.iter().copied())
            .only_env(&self.env)
            .cwd(&self.folder)
            .leashed()
            .limit(LIMIT))
    }

    /// Keeps what the application has said, for whoever wants to know more than the message tells.
    fn keep(&self, output: &Output) -> anyhow::Result<()> {
        write_atomic(&self.said(), output.stderr.as_bytes(), 0o600)
    }

    fn said(&self) -> Utf8PathBuf {
        self.folder.join("setup.log")
    }

    fn failure(&self, message: String) -> anyhow::Error {
        Failure::new(Kind::Service, "app-failed", message)
            .hint(format!("all that it said: {}", self.said()))
            .hint("what was done stays; do the rest with the same command again")
            .into()
    }
}

/// Shows the lines of the script as they come.
struct Shown<'e> {
    events: &'e dyn Events,
    task: Option<(String, Task<'e>)>,
    /// Lines that were shown.
    told: usize,
}

impl Shown<'_> {
    fn follow(&mut self, text: &str) {
        // The last line may be half there.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let lines = read(whole);
        for line in &lines[self.told.min(lines.len())..] {
            let title =
                || if line.step == "boot" { "the application starts".to_owned() } else { line.step.clone() };
            match (line.state.as_str(), self.task.take()) {
                ("begun", _) => {
                    let task = Task::start(self.events, Section::Make, title());
                    self.task = Some((line.step.clone(), task));
                }
                ("progress", Some((step, task))) => {
                    task.progress(line.count.unwrap_or(0), None, Unit::Items);
                    self.task = Some((step, task));
                }
                ("done", Some((_, task))) => drop(task.finish("")),
                ("kept", Some((_, task))) => drop(task.finish("there already")),
                _ => {}
            }
        }
        self.told = lines.len();
    }
}

fn read(text: &str) -> Vec<Line> {
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn steps(lines: &[Line]) -> Vec<Step> {
    let tasks = |step: &str| {
        lines
            .iter()
            .rev()
            .find(|line| line.step == step && line.state == "progress")
            .and_then(|line| line.count)
    };
    let step = |line: &Line| {
        let state = match line.state.as_str() {
            "done" => State::Done,
            "kept" => State::Kept,
            "absent" => State::Absent,
            _ => return None,
        };
        let took = Duration::try_from_secs_f64(line.seconds).unwrap_or_default();
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        Some(Step { step: line.step.clone(), state, took_ms, tasks: tasks(&line.step) })
    };
    lines.iter().filter_map(step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_read_from_lines_and_noise_is_not() {
        let text = "noise\n{\"step\":\"boot\",\"state\":\"begun\"}\n{\"step\":\"boot\",\"state\":\"done\",\"seconds\":6.5}\n\
                    {\"step\":\"fixtures\",\"state\":\"progress\",\"count\":200}\n{\"step\":\"fixtures\",\"state\":\"progress\",\"count\":321}\n\
                    {\"step\":\"fixtures\",\"state\":\"done\",\"seconds\":20.0}\n{\"step\":\"demo\",\"state\":\"absent\"}\n{\"step\":\"x\"";
        let told: Vec<_> =
            steps(&read(text)).into_iter().map(|s| (s.step, s.state, s.took_ms, s.tasks)).collect();
        assert_eq!(
            told,
            [
                ("boot".to_owned(), State::Done, 6_500, None),
                ("fixtures".to_owned(), State::Done, 20_000, Some(321)),
                ("demo".to_owned(), State::Absent, 0, None),
            ]
        );
    }
}
