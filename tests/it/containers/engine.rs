//! A container engine for tests, with stand-ins for the images of the release: `.ci/engine` starts one.

use std::process::Command;

use crate::faults::{must_run, not_run};
use crate::support::{Place, Run};

/// The engine that a developer or a CI has put aside.
pub(crate) struct Engine {
    env: Vec<(&'static str, String)>,
}

/// A place whose servers are containers. What is left of them ends with it.
pub(crate) struct Contained {
    pub(crate) place: Place,
    engine: Engine,
}

/// Where the client is.
pub(crate) fn docker() -> std::path::PathBuf {
    let path = crate::faults::variable("PATH");
    std::env::split_paths(&path).map(|folder| folder.join("docker")).find(|docker| docker.is_file()).unwrap()
}

impl Engine {
    /// `None` where there is none, which a CI must not pass over.
    #[expect(clippy::disallowed_methods, reason = "says what this machine has")]
    pub(crate) fn here() -> Option<Self> {
        let folder = match std::env::var("ECOSYSTEM_TEST_ENGINE") {
            Ok(folder) if folder != "none" => folder,
            said => {
                let why = "there is no container engine for tests: `.ci/engine` starts one, ECOSYSTEM_TEST_ENGINE names its folder";
                // A machine where none can be started says so in so many words.
                assert!(said.is_ok() || !must_run(), "{why}");
                not_run(why);
                return None;
            }
        };
        let env = vec![
            ("DOCKER_HOST", format!("unix://{folder}/docker.sock")),
            ("DOCKER_CONFIG", format!("{folder}/config")),
        ];
        Some(Self { env })
    }

    /// Runs the client, which must succeed; what it printed.
    #[track_caller]
    pub(crate) fn docker(&self, args: &[&str]) -> String {
        let run = self.run(args);
        assert_eq!(run.status, 0, "docker {args:?}\n{run}");
        run.stdout.trim().to_owned()
    }

    pub(crate) fn run(&self, args: &[&str]) -> Run {
        #[expect(
            clippy::disallowed_methods,
            reason = "looks from outside at what the program under test did"
        )]
        let mut command = Command::new("docker");
        Run::of(command.args(args).envs(self.env.iter().cloned()))
    }
}

impl Contained {
    /// A place for containers; `None` where there is no engine.
    pub(crate) fn new() -> Option<Self> {
        Self::at(Place::new)
    }

    pub(crate) fn at(place: impl FnOnce() -> Place) -> Option<Self> {
        let engine = Engine::here()?;
        let mut place = place();
        place.env.clone_from(&engine.env);
        Some(Self { place, engine })
    }

    /// Writes a manifest whose servers are containers.
    pub(crate) fn manifest(&self, text: &str) {
        self.place.manifest(&format!("backend = \"compose\"\n{text}"));
    }

    /// The id of this place.
    pub(crate) fn id(&self) -> String {
        self.place.json(&["status"])["place"].as_str().unwrap().to_owned()
    }

    /// The Compose project.
    pub(crate) fn project(&self) -> String {
        format!("ecosystem-{}", self.id())
    }

    /// The name of the container of a service.
    pub(crate) fn container(&self, service: &str) -> String {
        format!("{}-{service}-1", self.project())
    }

    #[track_caller]
    pub(crate) fn docker(&self, args: &[&str]) -> String {
        self.engine.docker(args)
    }

    /// What a list of the engine holds of this place: `ps --all`, `volume ls`, `network ls`.
    #[track_caller]
    pub(crate) fn listed(&self, what: &[&str], column: &str) -> Vec<String> {
        let filter = format!("label=com.docker.compose.project={}", self.project());
        let format = format!("{{{{.{column}}}}}");
        let printed = self.docker(&[what, &["--filter", &filter, "--format", &format]].concat());
        let mut lines: Vec<String> = printed.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }

    #[track_caller]
    pub(crate) fn containers(&self) -> Vec<String> {
        self.listed(&["ps", "--all"], "Names")
    }

    #[track_caller]
    pub(crate) fn volumes(&self) -> Vec<String> {
        self.listed(&["volume", "ls"], "Name")
    }
}

impl Drop for Contained {
    fn drop(&mut self) {
        let run = self.place.run(&["down", "--data", "--yes"]);
        if !std::thread::panicking() {
            assert_eq!(run.status, 0, "{run}");
        }
    }
}
