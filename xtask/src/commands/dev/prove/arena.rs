//! A project to try things in: this very program run in it from outside, and what the kernel knows of it.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Child;
use std::time::Duration;

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use ecosystem_core::endpoint::Endpoint;
use ecosystem_core::model::Service;
use ecosystem_core::process::{Process, RunAs, Signal, Stop};

use crate::cli::Global;
use crate::context::Context;
use crate::output::Format;
use crate::site::STATE;
use crate::stack::Stack;
use crate::sys::cmd::{Cmd, Output};
use crate::sys::fs::{utf8, write_atomic};
use crate::sys::{launch, os, supervisor};

/// Every command ends within this, however busy the machine is.
const LIMIT: Duration = Duration::from_mins(4);

/// A project of its own, on ports that nobody else uses.
pub(super) struct Arena<'a> {
    context: &'a Context,
    _folder: tempfile::TempDir,
    pub(super) root: Utf8PathBuf,
    pub(super) offset: u16,
}

impl<'a> Arena<'a> {
    /// Makes one whose ports are free.
    pub(super) fn new(context: &'a Context) -> anyhow::Result<Self> {
        // Multiples of 17, of which no two make two blocks overlap; above those of the test suite, below the ports that the kernel gives to clients. Ports are free between two rounds of another
        // proof as well: each begins to look somewhere else.
        let free = |offset: &u16| ports(*offset).iter().all(|port| is_free(*port));
        let mut blocks: Vec<u16> = (6_477..6_880).step_by(17).collect();
        let first = usize::try_from(std::process::id())? % blocks.len();
        blocks.rotate_left(first);
        let offset = blocks.into_iter().find(free).context("no free block of ports")?;
        Self::at(context, offset)
    }

    /// Makes one with this offset.
    pub(super) fn at(context: &'a Context, offset: u16) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let root = utf8(folder.path().canonicalize()?)?;
        let manifest = format!("port_offset = {offset}\n");
        write_atomic(&root.join("ecosystem.toml"), manifest.as_bytes(), 0o600)?;
        Ok(Self { context, _folder: folder, root, offset })
    }

    pub(super) fn state(&self) -> Utf8PathBuf {
        self.root.join(STATE)
    }

    fn command(&self, args: &[&str]) -> anyhow::Result<Cmd> {
        let command = Cmd::new(os::this_program()?).args(args.iter().copied()).cwd(&self.root).limit(LIMIT);
        Ok(command.env("ECOSYSTEM_STATE", "").env("CI", "1"))
    }

    /// Runs a command to its end.
    pub(super) fn run(&self, args: &[&str]) -> anyhow::Result<Output> {
        let output = self.command(args)?.run()?;
        anyhow::ensure!(!output.timed_out, "`{}` did not end within {LIMIT:?}", args.join(" "));
        Ok(output)
    }

    /// Runs a command that has to succeed.
    pub(super) fn ok(&self, args: &[&str]) -> anyhow::Result<()> {
        let output = self.run(args)?;
        anyhow::ensure!(
            output.ok(),
            "`{}` ended with {}: {}",
            args.join(" "),
            output.status,
            output.stderr.trim()
        );
        Ok(())
    }

    /// Starts a command and does not wait for it. What it prints is in [`Self::said`].
    pub(super) fn begin(&self, args: &[&str]) -> anyhow::Result<Child> {
        let log = self.log();
        match std::fs::remove_file(&log) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let mut env = BTreeMap::from([
            ("PATH".to_owned(), self.context.path.clone()),
            ("ECOSYSTEM_STORE".to_owned(), self.context.store()?.into_string()),
            ("CI".to_owned(), "1".to_owned()),
        ]);
        env.extend(self.context.home.iter().map(|home| ("HOME".to_owned(), home.to_string())));
        let program = utf8(std::fs::canonicalize(os::this_program()?)?)?;
        let process = Process {
            service: "tool".to_owned(),
            name: "tool".to_owned(),
            argv: std::iter::once(program.as_str())
                .chain(args.iter().copied())
                .map(ToOwned::to_owned)
                .collect(),
            env,
            cwd: self.root.clone(),
            run_as: RunAs::Me,
            stop: Stop { signal: Signal::Term, grace_ms: 0 },
            log,
            log_limit: u64::MAX,
            labels: BTreeMap::new(),
            rules: ecosystem_core::process::Rules::default(),
        };
        launch::spawn(&process, "")
    }

    fn log(&self) -> Utf8PathBuf {
        self.root.join("tool.log")
    }

    /// What the command that was begun last has printed.
    pub(super) fn said(&self) -> String {
        launch::tail(&self.log(), 4_000).unwrap_or_default()
    }

    /// How to reach these services, once they were set up.
    pub(super) fn endpoints(&self, services: &[&str]) -> anyhow::Result<BTreeMap<String, Endpoint>> {
        let global = Global { directory: Some(self.root.clone()), release: None, format: Format::Json };
        let stack = Stack::open(self.context, &global)?;
        let names: Vec<String> = services.iter().map(ToString::to_string).collect();
        let services: Vec<&Service> = stack.site.ecosystem.select(None, &names)?;
        let place = stack.place().context("the place is set up")?;
        Ok(stack.endpoints(&services, &place, &stack.state.secrets()?))
    }

    /// The supervisor and everything below it.
    pub(super) fn family(&self) -> anyhow::Result<BTreeSet<u32>> {
        let Some(pid) = supervisor::holder(&self.state())? else { return Ok(BTreeSet::new()) };
        let mut family = os::descendants(pid);
        family.insert(pid);
        Ok(family)
    }

    /// What is left although nothing should be: processes, listeners, locks, half-written files. Waits a moment for what is ending.
    pub(super) fn remains(&self) -> anyhow::Result<Vec<String>> {
        let state = self.state();
        let mut remains = Vec::new();
        let mut processes = os::with_variable(supervisor::PLACE_MARK, state.as_str());
        processes.extend(os::working_in(&state).unwrap_or_default().into_keys());
        for pid in processes {
            if os::wait_for_end(pid, Duration::from_secs(5)).is_err() {
                remains.push(format!("process {pid}: {}", os::command_line(pid).join(" ")));
            }
        }
        for listener in os::listeners(Some(&ports(self.offset)))? {
            remains.push(format!("something listens on port {}: {:?}", listener.port, listener.owner));
        }
        for name in ["operation.lock", "supervisor.lock"] {
            let file = std::fs::File::open(state.join(name));
            if file.is_ok_and(|file| file.try_lock().is_err()) {
                remains.push(format!("{name} is held"));
            }
        }
        remains.extend(half_written(&state)?.into_iter().map(|path| format!("{path} is left")));
        Ok(remains)
    }
}

/// Temporary files of writes that were cut short, in a folder and the folders of the services in it.
fn half_written(folder: &Utf8Path) -> anyhow::Result<Vec<Utf8PathBuf>> {
    let mut found = Vec::new();
    for entry in folder.read_dir_utf8()? {
        let entry = entry?;
        if entry.file_name().starts_with('.') && entry.path().extension() == Some("tmp") {
            found.push(entry.path().to_owned());
        }
    }
    Ok(found)
}

/// The ports of the release at this offset.
fn ports(offset: u16) -> BTreeSet<u16> {
    [5632, 6579, 5872, 15872, 4399, 25872, 9400, 9800].into_iter().map(|port| port + offset).collect()
}

fn is_free(port: u16) -> bool {
    std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, port)).is_ok()
}

impl Drop for Arena<'_> {
    fn drop(&mut self) {
        // Also when somebody has pressed Ctrl-C: the folder goes, and nobody would come to end what runs in it.
        let _reported_by_the_rounds = self.command(&["down"]).and_then(|command| command.to_the_end().run());
    }
}
