//! `check` on machines that tests make up: a PATH of their own programs, a list of libraries of their own, real listeners, real files.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::json::fits;
use crate::support::{Place, Run};

/// What the eight tools print in the versions of the release; two of them are the same program.
const TOOLS: [(&str, &str, &str); 7] = [
    ("Python", "python3.9", "echo Python 3.9.16"),
    ("Pipenv", "pipenv", "echo pipenv, version 2022.9.24"),
    ("Docker", "docker", DOCKER),
    ("Node", "node", "echo v14.19.3"),
    ("NPM", "npm", "echo 6.14.17"),
    ("ImageMagick", "magick", "echo Version: ImageMagick 7.1.0-62 Q16-HDRI x86_64 20885"),
    ("git", "git", "echo git version 2.37.1"),
];

/// A client whose engine does not run.
const DOCKER: &str = r#"case "$1" in
--version) echo Docker version 20.10.21, build baeda1f ;;
compose) echo Docker Compose version v2.13.0 ;;
version) echo '{"Client":{"Version":"20.10.21"},"Server":null}'; echo Cannot connect to the Docker daemon >&2; exit 1 ;;
esac"#;

/// What the loader knows where everything is installed.
const LIBRARIES: &str = "cat <<END
4 libs found in cache
\tlibcairo.so.2 (libc6,x86-64) => /lib/libcairo.so.2
\tlibMagickWand-6.Q16.so.6 (libc6,x86-64) => /lib/libMagickWand-6.Q16.so.6
\tlibxml2.so.2 (libc6,x86-64) => /lib/libxml2.so.2
\tlibxslt.so.1 (libc6,x86-64) => /lib/libxslt.so.1
\tlibcairo.so.2 (libc6,AArch64) => /lib/libcairo.so.2
\tlibMagickWand-6.Q16.so.6 (libc6,AArch64) => /lib/libMagickWand-6.Q16.so.6
\tlibxml2.so.2 (libc6,AArch64) => /lib/libxml2.so.2
\tlibxslt.so.1 (libc6,AArch64) => /lib/libxslt.so.1
END";

/// A project on a machine with nothing but these programs.
struct Machine(Place);

impl Machine {
    /// A machine on which everything is as the release wants it.
    fn good() -> Self {
        let machine = Self::empty();
        for (_, name, script) in TOOLS {
            machine.program(name, script);
        }
        machine
    }

    /// A machine with all libraries and no tool.
    fn empty() -> Self {
        let machine = Self(Place::new());
        std::fs::create_dir_all(machine.0.root.join("bin")).unwrap();
        std::fs::create_dir_all(machine.0.root.join("home")).unwrap();
        machine.program("ldconfig", LIBRARIES);
        // The only program of the system that the made-up ones need.
        std::os::unix::fs::symlink("/bin/cat", machine.0.root.join("bin/cat")).unwrap();
        machine
    }

    fn program(&self, name: &str, script: &str) {
        // Written beside and moved: a file that is open for writing anywhere cannot be started.
        self.0.file("bin/new", &format!("#!/bin/sh\n{script}\n"));
        let path = self.0.root.join("bin/new");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::rename(path, self.0.root.join("bin").join(name)).unwrap();
    }

    fn without(&self, name: &str) {
        std::fs::remove_file(self.0.root.join("bin").join(name)).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.0.command(&[&["check"], args].concat());
        command.env("PATH", self.0.root.join("bin")).env("HOME", self.0.root.join("home"));
        command.env("ECOSYSTEM_STORE", self.0.root.join("home/store")).env_remove("LD_LIBRARY_PATH");
        command
    }

    /// Runs it and insists that it reports, whatever it finds.
    #[track_caller]
    fn run(&self, args: &[&str]) -> Run {
        let run = Run::of(&mut self.command(args));
        assert!(!run.stderr.contains("panicked") && !run.stdout.contains("Traceback"), "{run}");
        assert!([0, 1].contains(&run.status), "{run}");
        run
    }

    /// The report as JSON, which is as the page says.
    #[track_caller]
    fn report(&self) -> Value {
        let run = self.run(&["--format", "json"]);
        let report: Value =
            serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}\n{run}"));
        fits("Check", &report);
        assert_eq!(run.status, i32::from(report["problems"] != 0), "{run}");
        report
    }

    /// `what: on` of all findings of a verdict.
    #[track_caller]
    fn told(&self, verdict: &str) -> Vec<String> {
        let told = |f: &Value| format!("{}: {}", f["what"].as_str().unwrap(), f["on"].as_str().unwrap());
        findings(&self.report()).filter(|f| f["verdict"] == verdict).map(told).collect()
    }

    /// The one finding about this.
    #[track_caller]
    fn finding(&self, what: &str) -> Value {
        let report = self.report();
        let found = findings(&report).find(|finding| finding["what"] == what).cloned();
        found.unwrap_or_else(|| panic!("nothing about {what} in {report:#}"))
    }
}

fn findings(report: &Value) -> impl Iterator<Item = &Value> {
    report["findings"].as_array().unwrap().iter()
}

#[test]
fn a_machine_with_everything_has_no_problem() {
    let machine = Machine::good();
    assert_eq!(machine.told("problem"), Vec::<String>::new());
    let run = machine.run(&[]);
    assert!(run.stdout.contains("Python version OK. Got 3.9.16.\n"), "{run}");
    assert!(run.stdout.contains("All requirements are fulfilled"), "{run}");
    let order = ["\nProject\n", "\nTools\n", "\nLibraries\n", "\nPorts\n", "\nMachine\n", "\nContainers\n"];
    let places: Vec<usize> = order.iter().map(|title| run.stdout.find(title).unwrap()).collect();
    assert!(places.is_sorted(), "{run}");
}

#[test]
fn the_release_of_the_application_is_told_and_another_one_warned_of() {
    let machine = Machine::good();
    machine.0.file(
        "Pipfile",
        "[packages]\ninvenio-app-rdm = {extras = [\"opensearch2\"], version = \"~=12.0.0\"}\n",
    );
    let application = machine.finding("application");
    assert!(application["on"].as_str().unwrap().ends_with("which is release v12"), "{application}");
    assert_eq!(application["verdict"], "ok");
    machine.0.manifest("release = \"documented\"\n");
    let other = machine.finding("ecosystem.toml:2");
    assert_eq!(
        (other["verdict"].as_str(), other["section"].as_str()),
        (Some("warning"), Some("project")),
        "{other}"
    );
    assert!(other["next"].as_str().unwrap().contains("release = \"v12\""), "{other}");
}

#[test]
fn every_tool_that_is_missing_has_its_own_line() {
    let machine = Machine::good();
    for (title, name, script) in TOOLS {
        machine.without(name);
        let problems = machine.told("problem");
        assert!(problems[0].starts_with(&format!("{title}: {title} not found.")), "{problems:?}");
        // Docker Compose is a part of Docker's client.
        assert_eq!(problems.len(), if title == "Docker" { 2 } else { 1 }, "{problems:?}");
        let finding = machine.finding(title);
        assert!(!finding["next"].as_str().unwrap().is_empty() && finding["why"].is_string(), "{finding}");
        machine.program(name, script);
    }
    machine.program("docker", &DOCKER.replace("compose)", "nothing)"));
    assert_eq!(machine.told("problem").len(), 1);
    assert!(machine.told("problem")[0].starts_with("Docker Compose: "), "{:?}", machine.told("problem"));
}

#[test]
fn every_tool_that_is_wrong_has_its_own_line() {
    let machine = Machine::good();
    let traceback =
        "echo 'Traceback (most recent call last):' >&2; echo 'ImportError: no such thing' >&2; exit 1";
    for (title, name, good, wrong, told) in [
        (
            "Python",
            "python3.9",
            "echo Python 3.9.16",
            "echo Python 3.10.1",
            "too new. Got 3.10.1, expected 3.9.",
        ),
        ("Pipenv", "pipenv", "echo pipenv, version 2022.9.24", traceback, "installed, but does not work."),
        ("Docker", "docker", DOCKER, "echo podman version 4.9.3", "podman answers in its place."),
        ("Node", "node", "echo v14.19.3", "echo v12.1.0", "too old. Got 12.1.0, expected 14."),
        ("NPM", "npm", "echo 6.14.17", "exit 3", "installed, but does not work."),
        (
            "ImageMagick",
            "magick",
            "echo Version: ImageMagick 7.1.0-62 Q16",
            "kill -9 $$",
            "installed, but does not work.",
        ),
        ("git", "git", "echo git version 2.37.1", "printf '\\377\\376\\000v'", "no version can be found"),
    ] {
        machine.program(name, wrong);
        let problems = machine.told("problem");
        assert!(problems[0].starts_with(title) && problems[0].contains(told), "{problems:?}");
        machine.program(name, good);
    }
    // A program that cannot be started at all.
    machine.program("git", "");
    machine.0.file("bin/broken", "#!/no/such/interpreter\n");
    let path = machine.0.root.join("bin/broken");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(path, machine.0.root.join("bin/git")).unwrap();
    assert!(machine.told("problem")[0].contains("git is installed, but does not work."));
}

#[test]
fn all_tools_missing_are_told_at_once_each_with_a_way() {
    let machine = Machine::empty();
    let problems = machine.told("problem");
    assert_eq!(problems.len(), 8, "{problems:?}");
    let run = machine.run(&[]);
    assert_eq!((run.status, run.stdout.matches("\n  get it    ").count()), (1, 8), "{run}");
    assert!(run.stdout.contains("\n8 problems"), "{run}");
}

#[test]
fn the_line_of_the_persons_own_manager_comes_first() {
    let machine = Machine::good();
    machine.without("node");
    machine.program("fnm", "");
    assert_eq!(machine.finding("Node")["next"], "fnm install 14 && fnm use 14");
    machine.program("mise", "");
    assert_eq!(machine.finding("Node")["next"], "mise use node@14");
    // The one that brought the wrong version is the one to ask.
    let nvm = "home/.nvm/versions/node/v20.1.0/bin";
    std::fs::create_dir_all(machine.0.root.join(nvm)).unwrap();
    machine.program("node", "echo v20.1.0");
    std::fs::rename(machine.0.root.join("bin/node"), machine.0.root.join(nvm).join("node")).unwrap();
    let path = format!("{}:{}", machine.0.root.join("bin"), machine.0.root.join(nvm));
    let run = Run::of(machine.command(&[]).env("PATH", path));
    assert!(run.stdout.contains("Node is too new. Got 20.1.0, expected 14."), "{run}");
    assert!(run.stdout.contains("  get it    nvm install 14\n"), "{run}");
}

#[test]
fn pipenv_is_not_started_where_its_metadata_tells_the_version() {
    let machine = Machine::good();
    let venv = "home/venv";
    let packages = format!("{venv}/lib/python3.9/site-packages");
    std::fs::create_dir_all(machine.0.root.join(format!("{packages}/pipenv"))).unwrap();
    std::fs::create_dir_all(machine.0.root.join(format!("{packages}/pipenv-2023.2.4.dist-info"))).unwrap();
    std::fs::create_dir_all(machine.0.root.join(format!("{venv}/bin"))).unwrap();
    machine.0.file(&format!("{packages}/pipenv/__init__.py"), "");
    machine.0.file(&format!("{packages}/pipenv-2023.2.4.dist-info/METADATA"), "Name: pipenv\n");
    machine.program("python", "echo started > started; echo pipenv, version 1");
    std::fs::rename(machine.0.root.join("bin/python"), machine.0.root.join(format!("{venv}/bin/python3.9")))
        .unwrap();
    let python = machine.0.root.join(format!("{venv}/bin/python3.9"));
    // The folder has a blank in its name, so pip writes the long form.
    machine.program("pipenv", &format!("'''exec' \"{python}\" \"$0\" \"$@\"\n' '''\nfrom pipenv import cli"));
    assert_eq!(machine.finding("Pipenv")["on"], "Pipenv OK. Got version 2023.2.4.");
    assert!(!machine.0.root.join("started").exists());
    // Half an upgrade: it has to tell itself.
    std::fs::create_dir_all(machine.0.root.join(format!("{packages}/pipenv-2023.3.1.dist-info"))).unwrap();
    machine.0.file(&format!("{packages}/pipenv-2023.3.1.dist-info/METADATA"), "Name: pipenv\n");
    assert!(machine.finding("Pipenv")["on"].as_str().unwrap().contains("too old. Got 1"));
    assert!(machine.0.root.join("started").exists());
}

#[test]
fn libraries_are_found_where_the_loader_finds_them() {
    let machine = Machine::good();
    assert_eq!(machine.finding("cairo")["on"], "/lib/libcairo.so.2");
    machine.program("ldconfig", "echo 0 libs found in cache");
    assert_eq!(machine.told("problem"), ["cairo: not found"]);
    let wand = machine.finding("MagickWand");
    assert_eq!(wand["verdict"], "warning");
    assert!(wand["why"].as_str().unwrap().contains("15 to 16 s to start instead of 8.5 to 9.5 s"), "{wand}");

    let folder = machine.0.root.join("lib");
    std::fs::create_dir_all(&folder).unwrap();
    for name in ["libcairo.so.2", "libMagickWand-7.Q16HDRI.so.10", "libxml2.so.2", "libxslt.so.1"] {
        machine.0.file(&format!("lib/{name}"), "");
    }
    let run = Run::of(machine.command(&[]).env("LD_LIBRARY_PATH", &folder));
    assert_eq!(run.status, 0, "{run}");
    assert!(run.stdout.contains(&format!("{folder}/libMagickWand-7.Q16HDRI.so.10")), "{run}");
}

#[test]
fn a_port_is_free_ours_or_somebody_elses_and_whose_is_told() {
    let machine = Machine::good();
    let port = machine.0.port(5632);
    assert_eq!(machine.finding("postgresql sql")["on"], format!("{port} is free"));

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    let finding = machine.finding("postgresql sql");
    assert_eq!(finding["verdict"], "problem");
    let holder = format!("{port} is held by pid {}: ", std::process::id());
    assert!(finding["on"].as_str().unwrap().starts_with(&holder), "{finding}");
    assert!(finding["next"].as_str().unwrap().starts_with("ecosystem up --port-offset "), "{finding}");

    // An engine that knows better who is behind it.
    let engine = r#"version) echo '{"Server":{"Platform":{"Name":"Docker Engine - Community"},"Version":"20.10.24","Components":[{"Name":"Engine","Version":"20.10.24"}]}}' ;;"#;
    let container = format!(
        r#"ps) echo '{{"Names":"datarepo-db-1","Ports":"127.0.0.1:{port}->5432/tcp","Labels":"com.docker.compose.project=datarepo"}}' ;;"#
    );
    machine.program("docker", &format!("case \"$1\" in\n--version) echo Docker version 20.10.21 ;;\ncompose) echo Docker Compose version v2.13.0 ;;\n{engine}\n{container}\nesac"));
    let finding = machine.finding("postgresql sql");
    assert!(
        finding["on"]
            .as_str()
            .unwrap()
            .contains("the container datarepo-db-1 of the Compose project datarepo"),
        "{finding}"
    );
    assert_eq!(finding["next"], "docker stop datarepo-db-1");
    let old = machine.finding("published ports");
    assert_eq!(
        (&old["verdict"], old["why"].as_str().unwrap().contains("moby#45610")),
        (&Value::from("warning"), true)
    );
    drop(listener);
    assert_eq!(machine.told("problem"), Vec::<String>::new());
}

#[test]
fn ports_of_another_checkout_are_named_by_its_folder() {
    let (first, second) = (Place::new(), Place::new());
    first.ok(&["up", "redis"]);
    let port = first.port(6579);
    let of = |place: &Place| {
        let report = place.json(&["check"]);
        findings(&report).find(|f| f["what"] == "redis").unwrap().clone()
    };
    assert_eq!(of(&first)["on"], format!("{port} is held by this project's own server"));
    second.file("ecosystem.toml", &format!("port_offset = {}\n", first.offset));
    let finding = of(&second);
    assert!(
        finding["on"].as_str().unwrap().contains(&format!("of the stack of {}", first.root)),
        "{finding}"
    );
    assert_eq!(finding["next"], format!("ecosystem down -C '{}'", first.root));
}

#[test]
fn an_engine_that_hangs_or_is_not_there_is_a_note() {
    let machine = Machine::good();
    let engine = machine.finding("engine");
    assert_eq!(engine["verdict"], "ok");
    assert!(engine["on"].as_str().unwrap().contains("Cannot connect to the Docker daemon"), "{engine}");
    // `--version` answers all the same.
    machine.program("docker", "case \"$1\" in\n--version) echo Docker version 20.10.21 ;;\ncompose) echo Docker Compose version v2.13.0 ;;\nversion) exec /bin/sleep 600 ;;\nesac");
    let engine = machine.finding("engine");
    assert_eq!(engine["verdict"], "ok");
    assert!(engine["on"].as_str().unwrap().contains("did not answer in time"), "{engine}");
}

#[test]
fn open_ports_of_compose_files_are_found_from_here_up_to_the_project() {
    let machine = Machine::good();
    std::fs::create_dir_all(machine.0.root.join("site/app")).unwrap();
    machine.0.file("docker-services.yml", "services:\n  db:\n    ports:\n      - \"127.0.0.1:5432:5432\"\n");
    machine.0.file("site/docker-compose.yml", "services:\n  mq:\n    ports:\n      - \"15672:15672\"\n");
    machine.0.file("site/app/compose.yaml", "services:\n  web: {ports: [\"80:80\"]}\n");
    std::fs::create_dir_all(machine.0.root.join("compose.yml")).unwrap();
    let mut command = machine.command(&["--format", "json"]);
    let run = Run::of(command.current_dir(machine.0.root.join("site/app")));
    assert_eq!(run.status, 0, "warnings are no problem\n{run}");
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    let root = &machine.0.root;
    let told = |what: &str| {
        findings(&report).find(|f| f["what"] == what).unwrap_or_else(|| panic!("{what}\n{run}")).clone()
    };
    assert_eq!(told("compose.yaml:2")["next"], "write  web: {ports: [\"127.0.0.1:80:80\"]}");
    assert_eq!(
        told(&format!("{root}/site/docker-compose.yml:4"))["next"],
        "write  - \"127.0.0.1:15672:15672\""
    );
    assert_eq!(told(&format!("{root}/docker-services.yml"))["verdict"], "ok");
    let unreadable = told(&format!("{root}/compose.yml"));
    assert_eq!(unreadable["verdict"], "warning");
    assert!(unreadable["on"].as_str().unwrap().contains("cannot be read"), "{unreadable}");
}

#[test]
fn what_is_fixed_was_shown_and_kept() {
    let machine = Machine::good();
    let open = "services:\n  db:\n    ports:   # for everybody\n      - \"5432:5432\"\n";
    machine.0.file("docker-compose.yml", open);
    let file = machine.0.root.join("docker-compose.yml");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    let read = |name: &str| std::fs::read_to_string(machine.0.root.join(name)).unwrap();

    let asked = Run::of(&mut machine.command(&["--fix"]));
    assert_eq!(asked.status, 2, "{asked}");
    assert!(asked.stderr.contains("-      - \"5432:5432\"\n+      - \"127.0.0.1:5432:5432\""), "{asked}");
    assert!(asked.stderr.contains("check --fix --yes"), "{asked}");
    assert_eq!(read("docker-compose.yml"), open);

    let run = machine.run(&["--fix", "--yes", "--format", "json"]);
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    fits("Check", &report);
    let backup = report["fixed"][0]["backup"].as_str().unwrap();
    assert_eq!(backup, machine.0.root.join("docker-compose.yml.before"));
    assert_eq!(read("docker-compose.yml.before"), open);
    assert_eq!(read("docker-compose.yml"), open.replace("\"5432", "\"127.0.0.1:5432"));
    let mode =
        |name: &str| std::fs::metadata(machine.0.root.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("docker-compose.yml"), mode("docker-compose.yml.before")), (0o640, 0o640));

    let again = machine.run(&["--fix", "--yes"]);
    assert!(again.stdout.contains("Nothing was changed"), "{again}");
    // What lies behind a link is not touched: it could lead anywhere.
    machine.0.file("elsewhere", open);
    std::os::unix::fs::symlink("elsewhere", machine.0.root.join("compose.yaml")).unwrap();
    machine.run(&["--fix", "--yes"]);
    assert_eq!(read("elsewhere"), open);
    std::fs::remove_file(machine.0.root.join("compose.yaml")).unwrap();
    // A backup is never written over.
    machine.0.file("docker-compose.yml", open);
    machine.run(&["--fix", "--yes"]);
    assert_eq!(
        (read("docker-compose.yml.before"), read("docker-compose.yml.before-2")),
        (open.into(), open.into())
    );
    assert_eq!(Run::of(&mut machine.command(&["--yes"])).status, 2, "there is nothing to say yes to");
}

#[test]
fn on_a_terminal_the_person_is_asked_and_a_no_changes_nothing() {
    let place = Place::new();
    let open = "services:\n  db:\n    ports:\n      - \"5432:5432\"\n";
    place.file("compose.yaml", open);
    let answer = |word: &str| {
        let mut command = place.on_terminal(&["check", "--fix"]);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(word.as_bytes()).unwrap();
        let seen = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
        assert!(seen.contains("+      - \"127.0.0.1:5432:5432\"") && seen.contains("[y/N]"), "{seen}");
        std::fs::read_to_string(place.root.join("compose.yaml")).unwrap()
    };
    assert_eq!(answer("n\n"), open);
    assert_eq!(answer("y\n"), open.replace("5432:", "127.0.0.1:5432:"));
}

#[test]
fn entries_of_projects_that_are_gone_are_removed() {
    let machine = Machine::good();
    let gone = machine.0.root.join("gone");
    std::fs::create_dir_all(machine.0.root.join("home/store/places")).unwrap();
    let text = format!("root = \"{gone}\"\nstate = \"{gone}/.ecosystem\"\n");
    machine.0.file("home/store/places/gone-1234.toml", &text);
    assert!(machine.finding("entries")["on"].as_str().unwrap().starts_with("1 of the store"));
    let run = machine.run(&["--fix"]);
    assert!(run.stdout.contains(&format!("Done: forgot the stack of {gone}, which is gone")), "{run}");
    assert!(!machine.0.root.join("home/store/places/gone-1234.toml").exists());
}

#[test]
fn it_works_outside_of_a_project_without_a_home_and_with_a_state_that_cannot_be_used() {
    let machine = Machine::good();
    let elsewhere = tempfile::tempdir().unwrap();
    let run = Run::of(machine.command(&["--format", "json"]).current_dir(&elsewhere));
    assert!(run.stdout.contains("no ecosystem.toml: built-in defaults"), "{run}");

    let mut command = machine.command(&["--format", "json"]);
    command.env("HOME", "nowhere").env_remove("ECOSYSTEM_STORE").env_remove("XDG_CACHE_HOME");
    let homeless = Run::of(&mut command);
    assert_eq!(homeless.status, 1, "{homeless}");
    let report: Value = serde_json::from_str(&homeless.stdout).unwrap();
    fits("Check", &report);
    let problem = findings(&report).find(|f| f["what"] == "no-home").unwrap();
    assert_eq!(problem["next"], "name a folder: ECOSYSTEM_STORE=/some/folder");
    assert!(findings(&report).any(|f| f["what"] == "Python" && f["verdict"] == "ok"), "{homeless}");

    std::fs::create_dir_all(machine.0.state().join("redis")).unwrap();
    std::fs::set_permissions(machine.0.state(), std::fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(machine.finding("state-not-private")["verdict"], "problem");
    std::fs::remove_dir_all(machine.0.state()).unwrap();

    machine.0.file("ecosystem.toml", "no_such_key = 1\n");
    assert_eq!(Run::of(&mut machine.command(&[])).status, 4);
    machine.0.manifest("");
}
