//! The promises of `docs/security.md`: other users, hostile repositories, hostile servers, and secrets.

use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::process::{Command, Stdio};

use camino::{Utf8Path, Utf8PathBuf};
use ecosystem_core::render::env::{Syntax, render};

use crate::support::{Place, Run, processes, repository, walk};
use crate::tidy::{none, sources};

/// A user who owns nothing on this machine.
const STRANGER: u32 = 65_534;

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn program(name: &str) -> Command {
    #[expect(clippy::disallowed_methods, reason = "a test starts ordinary programs as a person would")]
    let mut command = Command::new(name);
    command.stdin(Stdio::null());
    command
}

/// Whether a command succeeds as another user of this machine. Only root can try.
fn stranger_can(words: &[&str]) -> bool {
    let mut command = program("setpriv");
    let user = STRANGER.to_string();
    command.args(["--reuid", &user, "--regid", &user, "--clear-groups", "--"]).args(words);
    Run::of(&mut command).status == 0
}

fn mode(path: &Utf8Path) -> u32 {
    path.symlink_metadata().unwrap().permissions().mode() & 0o7777
}

fn chmod(path: &Utf8Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// The place with its temporary folder open to everybody, as a project in `/srv` is.
fn in_public(place: &Place) {
    chmod(place.root.parent().unwrap(), 0o755);
    chmod(&place.root, 0o755);
}

/// The program under a umask that protects nothing.
fn careless(place: &Place, args: &[&str]) -> Run {
    let ours = place.command(args);
    let mut command = program("sh");
    command.args(["-c", "umask 000; exec \"$0\" \"$@\""]).arg(ours.get_program()).args(args);
    for (key, value) in ours.get_envs() {
        match value {
            Some(value) => command.env(key, value),
            None => command.env_remove(key),
        };
    }
    Run::of(command.current_dir(&place.root))
}

#[test]
fn everything_in_state_is_for_its_owner_alone_whatever_the_umask() {
    let place = Place::heavy();
    let up = careless(&place, &["up"]);
    assert_eq!(up.status, 0, "{up}");
    let mut problems = Vec::new();
    let all = walk(&place.state());
    assert!(all.len() > 500, "{} files", all.len());
    for path in [place.state()].into_iter().chain(all) {
        // Links have no mode of their own.
        let kind = path.symlink_metadata().unwrap().file_type();
        let allowed = match path.file_name() {
            _ if kind.is_symlink() => 0o777,
            // OpenSearch opens it to its group by itself; what keeps others out is the folder. Nothing of ours is in it.
            Some("opensearch.keystore") => 0o660,
            _ => 0o700,
        };
        if mode(&path) & !allowed != 0 {
            problems.push(format!("{path} has mode {:o}", mode(&path)));
        }
    }
    none(&problems);
    assert!(place.state().join("control").symlink_metadata().unwrap().file_type().is_socket());
    no_secret_is_anywhere_but_in_its_file(&place);
}

/// No command line, environment, log, report or remembered file tells a secret; only configuration files of mode 0600 hold one.
#[track_caller]
fn no_secret_is_anywhere_but_in_its_file(place: &Place) {
    let secrets = place.secrets();
    assert_eq!(secrets.len(), 4);
    let told = |text: &str| secrets.iter().any(|secret| text.contains(secret));
    for (pid, words) in processes() {
        assert!(!told(&words.join(" ")), "the command line of {pid} tells a secret");
    }
    let ours = place.processes();
    assert!(ours.len() >= 6, "{ours:?}");
    for pid in ours {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        assert!(!told(&String::from_utf8_lossy(&environment)), "the environment of {pid} tells a secret");
    }
    let reports: [&[&str]; 8] = [
        &["status"],
        &["status", "--format", "json"],
        &["up"],
        &["up", "--format", "json"],
        &["up", "--dry-run"],
        &["snapshot"],
        &["logs", "--lines", "10000"],
        &["check", "--format", "json"],
    ];
    for words in reports {
        let run = place.run(words);
        assert!(!told(&run.to_string()), "{words:?} tells a secret");
    }
    let holders: Vec<Utf8PathBuf> = walk(&place.state())
        .into_iter()
        .filter(|path| path.symlink_metadata().unwrap().is_file())
        .filter(|path| told(&String::from_utf8_lossy(&std::fs::read(path).unwrap())))
        .map(|path| path.strip_prefix(place.state()).unwrap().to_owned())
        .collect();
    // Wherever else a server keeps one: in its own data, never in a log or in what this program remembers.
    let expected = ["secrets.toml", "redis/redis.conf", "rabbitmq/rabbitmq.conf"];
    assert!(expected.iter().all(|path| holders.contains(&(*path).into())), "{holders:?}");
    let data = ["postgresql/data", "rabbitmq/mnesia", "redis/data"];
    let elsewhere: Vec<_> = holders
        .iter()
        .filter(|path| !expected.contains(&path.as_str()) && !data.iter().any(|data| path.starts_with(data)))
        .collect();
    assert_eq!(elsewhere, Vec::<&Utf8PathBuf>::new());
}

#[test]
fn an_error_quotes_what_a_server_said_without_its_secret() {
    let place = Place::new();
    place.manifest("services.redis.settings.no-such-setting = \"1\"\n");
    let (human, json) = (place.run(&["up", "redis"]), place.run(&["up", "redis", "--format", "json"]));
    let secrets = place.secrets();
    for run in [human, json] {
        assert_eq!(run.status, 5, "{run}");
        assert!(run.stderr.contains("no-such-setting"), "{run}");
        assert!(!secrets.iter().any(|secret| run.to_string().contains(secret)), "an error tells a secret");
    }
}

#[test]
fn another_user_reaches_neither_files_nor_socket_nor_environment() {
    let place = Place::new();
    in_public(&place);
    place.ok(&["up", "redis"]);
    let state = place.state();
    // What keeps others out; below, root tries it as somebody else.
    assert_eq!((mode(&state), mode(&state.join("control"))), (0o700, 0o600));
    assert_eq!(state.metadata().unwrap().uid(), rustix::process::geteuid().as_raw());
    if !is_root() {
        return;
    }
    let connect = "socket(S, PF_UNIX, SOCK_STREAM, 0); connect(S, sockaddr_un($ARGV[0])) or exit 1";
    let socket = |path: &Utf8Path| stranger_can(&["perl", "-MSocket", "-e", connect, path.as_str()]);
    let readable = |path: &Utf8Path| stranger_can(&["cat", path.as_str()]);
    // The attempts work where they may.
    assert!(readable(&place.root.join("ecosystem.toml")));
    let open = place.root.join("open");
    let _listener = std::os::unix::net::UnixListener::bind(&open).unwrap();
    chmod(&open, 0o666);
    assert!(socket(&open), "the attempt itself does not work");

    assert!(!socket(&state.join("control")));
    assert!(!stranger_can(&["ls", state.as_str()]));
    for file in walk(&state).into_iter().filter(|path| path.is_file()) {
        assert!(!readable(&file), "{file}");
    }
    for pid in place.processes() {
        assert!(!readable(Utf8Path::new(&format!("/proc/{pid}/environ"))), "{pid}");
    }
    // The socket does not rely on its folder alone.
    chmod(&state, 0o755);
    assert!(!socket(&state.join("control")));
    chmod(&state, 0o700);
}

#[test]
fn the_store_is_written_by_its_owner_alone() {
    let place = Place::new();
    place.ok(&["up", "redis"]);
    let pid = place.pid("redis", "redis");
    let server = Utf8PathBuf::from_path_buf(std::fs::read_link(format!("/proc/{pid}/exe")).unwrap()).unwrap();
    let thing = server
        .ancestors()
        .find(|folder| folder.join("installed.json").exists())
        .unwrap_or_else(|| panic!("{server} is not in a store"));
    let store = thing.parent().unwrap();
    assert_eq!((mode(store), mode(thing), mode(&store.join("locks"))), (0o700, 0o700, 0o700));
    let mut problems = Vec::new();
    for path in walk(store).into_iter().filter(|path| !path.starts_with(store.join("tmp"))) {
        // Other tests are at work in the store.
        let Ok(meta) = path.symlink_metadata() else { continue };
        let open = meta.permissions().mode() & 0o6022;
        if !meta.is_symlink() && open != 0 {
            problems.push(format!("{path} has mode {:o}", meta.permissions().mode() & 0o7777));
        }
    }
    none(&problems);
}

#[test]
fn a_state_folder_that_came_with_the_repository_leads_nowhere() {
    let place = Place::new();
    let outside = place.root.parent().unwrap().join("outside");
    std::fs::create_dir(&outside).unwrap();
    let canary = outside.join("canary");
    std::fs::File::create(&canary).unwrap();
    let refused = |what: &str| {
        for words in [["up", "redis"].as_slice(), &["down", "--data", "--yes"], &["status"]] {
            let run = place.run(words);
            assert!(run.status != 0 && run.stderr.contains("error[state-is-a-link]"), "{what}: {run}");
        }
        assert_eq!(outside.read_dir_utf8().unwrap().count(), 1, "{what}");
        assert_eq!(std::fs::read_to_string(&canary).unwrap(), "", "{what}");
        assert_eq!(mode(&outside) & 0o055, 0o055, "{what}");
    };
    let state = place.state();
    symlink(&outside, &state).unwrap();
    refused("the whole folder");
    std::fs::remove_file(&state).unwrap();
    for (link, target) in
        [("logs", &outside), ("redis", &outside), ("redis/data", &outside), ("logs/redis.log", &canary)]
    {
        let link = state.join(link);
        std::fs::create_dir_all(link.parent().unwrap()).unwrap();
        chmod(&state, 0o700);
        symlink(target, &link).unwrap();
        refused(link.as_str());
        std::fs::remove_dir_all(&state).unwrap();
    }
    // Version control cannot carry a private folder.
    std::fs::create_dir_all(state.join("redis/data")).unwrap();
    chmod(&state, 0o755);
    let run = place.run(&["up", "redis"]);
    assert!(run.status == 3 && run.stderr.contains("error[state-not-private]"), "{run}");
    std::fs::remove_dir_all(&state).unwrap();
}

#[test]
fn a_manifest_that_another_user_put_above_is_not_read() {
    let place = Place::new();
    let (above, below) = (place.root.join("ecosystem.toml"), place.root.join("mine"));
    std::fs::create_dir(&below).unwrap();
    let status = || place.run(&["status", "-C", below.as_str()]);
    assert!(!status().stderr.contains("manifest-of-another-user"), "one's own manifest is read");
    if !is_root() {
        // Only root can give a file away; `site::tests` decides the same without files.
        return;
    }
    std::os::unix::fs::chown(&above, Some(STRANGER), None).unwrap();
    let refused = status();
    assert!(refused.status == 4 && refused.stderr.contains("error[manifest-of-another-user]"), "{refused}");
    // Whoever goes into that user's folder means it.
    std::os::unix::fs::chown(&below, Some(STRANGER), None).unwrap();
    assert!(!status().stderr.contains("manifest-of-another-user"), "{}", status());
    std::os::unix::fs::chown(&above, Some(0), None).unwrap();
}

#[test]
fn a_real_shell_reads_back_what_env_prints() {
    let hostile = [
        "plain",
        "",
        "two words",
        "it's",
        "'",
        "''",
        "\"",
        "$HOME",
        "${HOME}",
        "$(id)",
        "`id`",
        "\\",
        "\\\\",
        "a\\'b",
        "!",
        "line\nbreak",
        "\ttab",
        "~",
        "*",
        "{a,b}",
        "#",
        ";",
        "&&",
        "|",
        "ž \u{202e}",
        "-n",
        "%s",
        "=",
    ];
    let variables: BTreeMap<String, String> =
        hostile.iter().enumerate().map(|(index, value)| (format!("V{index}"), (*value).to_owned())).collect();
    for syntax in [Syntax::Shell, Syntax::Dotenv] {
        let script = format!(
            "set -a\n{}\nset +a\nexec env -0",
            match syntax {
                Syntax::Dotenv => render(&variables, syntax),
                // As a person does it: eval "$(… env)".
                _ => "eval \"$SETTINGS\"".to_owned(),
            }
        );
        let mut command = program("sh");
        command.args(["-c", &script]).env_clear().env("PATH", "/usr/bin:/bin");
        let output = command.env("SETTINGS", render(&variables, Syntax::Shell)).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let read: BTreeMap<String, String> = text
            .split('\0')
            .filter_map(|pair| pair.split_once('='))
            .filter(|(name, _)| variables.contains_key(*name))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        assert_eq!(read, variables, "{syntax:?}");
    }
}

#[test]
fn nothing_is_made_under_a_name_that_others_could_have_taken() {
    let mut problems = Vec::new();
    let product = |path: &Utf8Path| path.starts_with("xtask/src") && !path.as_str().ends_with("tests.rs");
    for (path, text) in sources().iter().filter(|(path, _)| product(path)) {
        let text = text.split("#[cfg(test)]").next().unwrap();
        for (number, line) in text.lines().enumerate() {
            let comment = line.trim_start().starts_with("//");
            if !comment
                && ["\"/tmp", "\"/var/tmp", "\"/dev/shm", "temp_dir("].iter().any(|word| line.contains(word))
            {
                problems.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    none(&problems);
}

#[test]
fn every_promise_names_a_test_that_exists() {
    let page = std::fs::read_to_string(repository().join("docs/security.md")).unwrap();
    let mut all: String = sources().into_iter().map(|(_, source)| source).collect();
    all.push_str(&std::fs::read_to_string(repository().join("fuzz/targets.rs")).unwrap());
    let mut problems = Vec::new();
    let mut promises = 0;
    // | promise | `file::test`, `file::test` |
    for row in page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| ---")) {
        let proof = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        if proof == "held by" {
            continue;
        }
        promises += 1;
        let tests: Vec<&str> = proof.split('`').skip(1).step_by(2).collect();
        if tests.is_empty() {
            problems.push(format!("no test: {row}"));
        }
        let lost = tests.iter().filter(|test| {
            let name = test.rsplit("::").next().unwrap();
            !all.contains(&format!("fn {name}("))
        });
        problems.extend(lost.map(|test| format!("{test} does not exist")));
    }
    assert!(promises > 15, "the table of promises is not found any more");
    none(&problems);
}
