//! Checkpoints of servers that run as processes: what comes back, what is refused, and what is left when somebody is killed halfway.

use std::process::Stdio;

use camino::Utf8Path;
use rustix::process::Signal;
use serde_json::json;

use crate::clients::{Env, manage, number, search, sql};
use crate::json::fits;
use crate::support::{Place, Run, eventually, kill, walk};
use crate::tidy::none;

/// A place with a row in PostgreSQL and a key in Redis.
fn with_data() -> (Place, Env) {
    let place = Place::new();
    place.ok(&["up", "postgresql", "redis"]);
    let env = place.env();
    sql(&env).batch_execute("CREATE TABLE kept (word text); INSERT INTO kept VALUES ('')").unwrap();
    write(&place, &env, "old");
    (place, env)
}

fn write(place: &Place, env: &Env, word: &str) {
    sql(env).execute("UPDATE kept SET word = $1", &[&word]).unwrap();
    place.ok(&["redis-cli", "set", "kept", word]);
}

#[track_caller]
fn row(env: &Env) -> String {
    sql(env).query_one("SELECT word FROM kept", &[]).unwrap().get(0)
}

#[track_caller]
fn read(place: &Place, env: &Env) -> [String; 2] {
    [row(env), place.ok(&["redis-cli", "get", "kept"]).stdout.trim().to_owned()]
}

/// What there is in the folder of checkpoints.
fn entries(place: &Place) -> Vec<String> {
    let folder = place.state().join("checkpoints");
    let entries = folder.read_dir_utf8().into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_checkpoint_brings_back_what_was_and_starts_what_ran() {
    let (place, env) = with_data();
    let plan = place.ok(&["checkpoint", "save", "before", "--dry-run"]).stdout;
    let steps: Vec<&str> = plan.lines().map(|line| line.split("  (last").next().unwrap().trim()).collect();
    insta::assert_snapshot!(steps.join("\n"), @"
    1  stop postgresql         nothing may write while data is copied
    2  stop redis              nothing may write while data is copied
    3  end supervisor          follows
    4  save checkpoint before  asked for
    5  start postgresql        it ran before
    6  await postgresql        follows
    7  start redis             it ran before
    8  await redis             follows
    ");
    assert_eq!(entries(&place), [""; 0], "a dry run changes nothing");
    fits("Planned", &place.json(&["checkpoint", "save", "before", "--dry-run"]));

    let before = place.pid("redis", "redis");
    let saved = place.json(&["checkpoint", "save", "before"]);
    fits("Copied", &saved);
    assert_eq!(saved["started"], json!(["postgresql", "redis"]), "{saved}");
    assert_ne!(place.pid("redis", "redis"), before, "it was stopped meanwhile");
    assert_eq!(read(&place, &env), ["old", "old"]);
    write(&place, &env, "new");

    let taken = place.run(&["checkpoint", "save", "before"]);
    assert_eq!(taken.status, 2, "{taken}");
    assert!(taken.stderr.contains("error[checkpoint-exists]"), "{taken}");
    for name in ["Before", "..", "a/b", "-x", ""] {
        let refused = place.run(&["checkpoint", "save", "--", name]);
        assert!(refused.stderr.contains("error[checkpoint-name]"), "{name}: {refused}");
    }
    let listed = place.json(&["checkpoint", "list"]);
    fits("Checkpoints", &listed);
    assert_eq!(listed["checkpoints"][0]["services"]["postgresql"]["made_by"], "postgresql 12", "{listed}");
    assert!(listed["checkpoints"][0]["bytes"].as_u64().unwrap() > 1_000_000, "{listed}");

    let unasked = place.run(&["checkpoint", "restore", "before"]);
    assert_eq!(unasked.status, 2, "{unasked}");
    assert!(unasked.stderr.contains("error[needs-yes]"), "{unasked}");
    assert_eq!(read(&place, &env), ["new", "new"]);
    let restored = place.json(&["checkpoint", "restore", "before", "--yes"]);
    fits("Copied", &restored);
    assert_eq!(restored["started"], json!(["postgresql", "redis"]), "{restored}");
    assert_eq!(read(&place, &env), ["old", "old"]);
    assert_eq!(entries(&place), ["before"]);
    assert_eq!(place.json(&["up", "postgresql", "redis"])["unchanged"], true);

    // It can be restored again, and outlives the data; what did not run is not started.
    place.ok(&["down", "redis"]);
    let down = place.json(&["down", "--data", "--yes", "postgresql"]);
    fits("Stopped", &down);
    assert_eq!(down["checkpoints"], json!(["before"]), "{down}");
    let restored = place.json(&["checkpoint", "restore", "before", "--yes"]);
    assert_eq!(restored["started"], json!([]), "{restored}");
    assert_eq!(place.listening(), Vec::<u16>::new());
    place.ok(&["up", "postgresql", "redis"]);
    assert_eq!(read(&place, &env), ["old", "old"]);

    let missing = place.run(&["checkpoint", "restore", "after", "--yes"]);
    assert_eq!(missing.status, 2, "{missing}");
    assert!(missing.stderr.contains("checkpoints: before"), "{missing}");
    assert_eq!(place.run(&["checkpoint", "delete", "before"]).status, 2);
    fits("Deleted", &place.json(&["checkpoint", "delete", "before", "--yes"]));
    assert_eq!(entries(&place), [""; 0]);
    fits("Checkpoints", &place.json(&["checkpoint", "list"]));
}

#[test]
fn secrets_and_data_in_a_checkpoint_are_for_this_user_alone() {
    let (place, _) = with_data();
    place.ok(&["checkpoint", "save", "a"]);
    let folder = place.state().join("checkpoints");
    let mut problems = Vec::new();
    for path in walk(&folder).into_iter().chain([folder]) {
        let mode = std::os::unix::fs::PermissionsExt::mode(&path.symlink_metadata().unwrap().permissions());
        if mode & 0o077 != 0 {
            problems.push(format!("{path}: {mode:o}"));
        }
        let text = if path.is_file() { std::fs::read(&path).unwrap() } else { Vec::new() };
        let told = |secret: &String| text.windows(secret.len()).any(|part| part == secret.as_bytes());
        if place.secrets().iter().any(told) {
            problems.push(format!("{path} has a password"));
        }
    }
    none(&problems);
}

#[test]
fn what_does_not_fit_is_refused_all_at_once_and_nothing_is_stopped() {
    let (place, env) = with_data();
    place.ok(&["checkpoint", "save", "a"]);
    let pid = place.pid("redis", "redis");
    let secrets = place.state().join("secrets.toml");
    let text = std::fs::read_to_string(&secrets).unwrap();
    place.file(".ecosystem/secrets.toml", &text.replace("redis = \"", "redis = \"x"));
    place.manifest("release = \"v12\"\nservices.rabbitmq.ports.epmd = 4400\n");
    let refused = place.run(&["checkpoint", "restore", "a", "--yes"]);
    place.file(".ecosystem/secrets.toml", &text);
    insta::assert_snapshot!(refused, @"

    error[checkpoint-unfit]: the checkpoint a does not fit what is wanted now; nothing was stopped
      postgresql: its data was made by postgresql 12, and postgresql 14 is wanted now
      redis: its data was made with another password than it has now
      → change ecosystem.toml back to what it was then
      → or delete it: ecosystem checkpoint delete a
    [exit status: 6]
    ");
    // Data that came later would be a mix with what is restored.
    place.manifest("[services.cache]\nkind = \"redis\"\nports = { redis = 8025 }\n");
    place.ok(&["up", "cache"]);
    let refused = place.run(&["checkpoint", "restore", "a", "--yes"]);
    assert_eq!(refused.status, 6, "{refused}");
    assert!(refused.stderr.contains("cache: it has data now, and had none then"), "{refused}");
    assert!(refused.stderr.contains("down --data cache"), "{refused}");
    assert_eq!((read(&place, &env), place.pid("redis", "redis")), (["old".into(), "old".into()], pid));
    place.ok(&["down", "--data", "--yes", "cache"]);
    place.ok(&["checkpoint", "restore", "a", "--yes"]);
}

#[test]
fn a_place_without_data_has_nothing_to_save() {
    let place = Place::new();
    assert_eq!(place.run(&["checkpoint", "save", "a"]).status, 1);
    fits("Checkpoints", &place.json(&["checkpoint", "list"]));
    place.ok(&["up", "redis"]);
    place.ok(&["down", "--data", "--yes"]);
    let nothing = place.run(&["checkpoint", "save", "a"]);
    assert!(nothing.stderr.contains("error[no-data]"), "{nothing}");
}

#[test]
fn a_copy_that_fails_leaves_nothing_and_what_ran_runs() {
    let (place, env) = with_data();
    // A link in the place of the data is not followed.
    let data = place.state().join("mail/data");
    std::fs::create_dir_all(place.state().join("mail")).unwrap();
    place.file(".ecosystem/mail/made-by", "process 1");
    place.file("elsewhere", "");
    std::fs::create_dir(&data).unwrap();
    let locked = data.join("locked");
    place.file(".ecosystem/mail/data/locked", "");
    assert!(locked.exists());
    place.ok(&["checkpoint", "save", "with-mail"]);
    // The damaged one is named, left out of the list, and can be deleted.
    place.file(".ecosystem/checkpoints/with-mail/checkpoint.toml", "format = 1\n");
    let list = place.ok(&["checkpoint", "list"]);
    assert!(list.stderr.contains("with-mail cannot be used"), "{list}");
    let refused = place.run(&["checkpoint", "restore", "with-mail", "--yes"]);
    assert!(refused.stderr.contains("error[checkpoint-damaged]"), "{refused}");
    // Part of what it says it has is not there: nothing was decided, so nothing happens.
    place.ok(&["checkpoint", "save", "broken"]);
    std::fs::remove_dir_all(place.state().join("checkpoints/broken/redis/appendonlydir")).ok();
    let redis = place.state().join("checkpoints/broken/redis");
    std::fs::remove_dir_all(&redis).unwrap();
    place.file(".ecosystem/checkpoints/broken/redis", "no folder");
    write(&place, &env, "new");
    let failed = place.run(&["checkpoint", "restore", "broken", "--yes"]);
    assert_ne!(failed.status, 0, "{failed}");
    assert_eq!(read(&place, &env), ["new", "new"], "{failed}");
    assert_eq!(entries(&place), ["broken", "with-mail"]);
    for name in entries(&place) {
        place.ok(&["checkpoint", "delete", &name, "--yes"]);
    }
    place.ok(&["status"]);
}

/// Starts the program and kills it as soon as something is there, or is not there any more; whether it was killed before its end.
pub(crate) fn killed_when(place: &Place, args: &[&str], holds: impl Fn(&Utf8Path) -> bool) -> bool {
    let mut child = place.command(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let folder = place.state().join("checkpoints");
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{args:?} failed by itself: {status}");
            return false;
        }
        if holds(&folder) {
            break;
        }
        std::thread::yield_now();
    }
    // It may have ended just now.
    let _gone = child.kill();
    let killed = child.wait().unwrap().code().is_none();
    eventually("it holds no lock", || place.json(&["status"])["at_work"].is_null());
    killed
}

#[test]
fn a_save_that_is_killed_is_no_checkpoint() {
    let (place, env) = with_data();
    let points: [fn(&Utf8Path) -> bool; 4] = [
        |folder| folder.join("a.tmp").exists(),
        |folder| folder.join("a.tmp/redis").exists(),
        |folder| folder.join("a.tmp/postgresql/global").exists(),
        |folder| folder.join("a").exists(),
    ];
    for (number, point) in points.into_iter().enumerate() {
        killed_when(&place, &["checkpoint", "save", "a"], point);
        let listed = place.json(&["checkpoint", "list"]);
        let whole = place.state().join("checkpoints/a/checkpoint.toml").exists();
        assert_eq!(listed["checkpoints"].as_array().unwrap().len(), usize::from(whole), "{number}: {listed}");
        place.ok(&["up", "postgresql", "redis"]);
        assert_eq!(entries(&place), if whole { vec!["a"] } else { vec![] }, "{number}");
        assert_eq!(read(&place, &env), ["old", "old"], "{number}");
        if whole {
            place.ok(&["checkpoint", "restore", "a", "--yes"]);
            place.ok(&["checkpoint", "delete", "a", "--yes"]);
        }
    }
}

#[test]
fn a_restore_that_is_killed_is_the_old_state_or_the_new_one() {
    let place = Place::heavy();
    place.ok(&["up"]);
    let env = place.env();
    sql(&env).batch_execute("CREATE TABLE kept (word text); INSERT INTO kept VALUES ('kept')").unwrap();
    let word_in_search = |word: &str| {
        let body = json!({"word": word});
        search(&env, "PUT", "/kept/_doc/1?refresh=true", Some(&body));
    };
    // A queue cannot hold a word: it is there, or it is not.
    let queue = |method: &str| {
        let body = (method == "PUT").then(|| json!({"durable": true}));
        crate::clients::http(method, &env["RABBITMQ_MANAGEMENT_URL"], "/api/queues/%2F/later", body.as_ref())
            .0
    };
    word_in_search("kept");
    place.ok(&["redis-cli", "set", "kept", "kept"]);
    place.ok(&["checkpoint", "save", "a"]);

    let points: [fn(&Utf8Path) -> bool; 5] = [
        |folder| folder.join(".restoring/journal.toml").exists(),
        |folder| folder.join(".restoring/opensearch").exists(),
        |folder| folder.join("restore.toml").exists(),
        |folder| folder.join(".replaced").exists(),
        |folder| folder.join(".replaced/postgresql").exists(),
    ];
    for (number, point) in points.into_iter().enumerate() {
        let word = format!("later {number}");
        sql(&env).execute("UPDATE kept SET word = $1", &[&word]).unwrap();
        place.ok(&["redis-cli", "set", "kept", &word]);
        word_in_search(&word);
        assert!((200..300).contains(&queue("PUT")));

        killed_when(&place, &["checkpoint", "restore", "a", "--yes"], point);
        let decided = place.state().join("checkpoints/restore.toml").exists();
        let status = place.run(&["status"]).stdout;
        assert_eq!(
            status.contains("Restoring the checkpoint a was interrupted"),
            decided,
            "{number}: {status}"
        );
        let listed = place.json(&["checkpoint", "list"]);
        assert_eq!(listed["restoring"].is_string(), decided, "{number}: {listed}");

        place.ok(&["up"]);
        assert_eq!(entries(&place), ["a"], "{number}");
        let found = row(&env);
        assert!(found == word || found == "kept", "{number}: {found}");
        assert!(!decided || found == "kept", "{number}: what was decided happens");
        assert_eq!(place.ok(&["redis-cli", "get", "kept"]).stdout.trim(), found, "{number}");
        assert_eq!(search(&env, "GET", "/kept/_doc/1", None)["_source"]["word"], found, "{number}");
        let expected = if found == "kept" { 404 } else { 200 };
        assert_eq!(manage(&env, "GET", "/api/queues/%2F/later").0, expected, "{number}");
    }
}

#[test]
fn ctrl_c_while_data_is_copied_leaves_nothing_half() {
    let (place, env) = with_data();
    for args in [&["checkpoint", "save", "b"][..], &["checkpoint", "restore", "a", "--yes"]] {
        if args[1] == "restore" {
            place.ok(&["checkpoint", "save", "a"]);
        }
        let mut child = place.command(args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let folder = place.state().join("checkpoints");
        let begun = || folder.join("b.tmp").exists() || folder.join(".restoring").exists();
        while !begun() && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        if child.try_wait().unwrap().is_none() {
            kill(child.id(), Signal::INT);
        }
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        if output.status.code() == Some(130) {
            assert!(said.contains("to start it again: ecosystem up"), "{said}");
        } else {
            assert!(output.status.success(), "{said}");
        }
        assert!(
            entries(&place).iter().all(|name| ["a", "b"].contains(&name.as_str())),
            "{:?}",
            entries(&place)
        );
        place.ok(&["up", "postgresql", "redis"]);
        assert_eq!(read(&place, &env), ["old", "old"]);
    }
}

#[test]
fn what_ran_is_started_again_as_it_ran_whatever_the_manifest_says_by_now() {
    let (place, env) = with_data();
    place.manifest("services.redis.ports.redis = 8025\nservices.postgresql.ports.sql = 5632\n");
    let saved = place.json(&["checkpoint", "save", "a"]);
    assert_eq!(saved["started"], json!(["postgresql", "redis"]), "{saved}");
    assert!(place.listening().contains(&place.port(6579)) && !place.listening().contains(&place.port(8025)));
    let plan = place.ok(&["up", "redis", "--dry-run"]).stdout;
    assert!(plan.contains("ports.redis"), "{plan}");
    place.manifest("");
    assert_eq!(read(&place, &env), ["old", "old"]);
}

/// Brings about what a restore leaves that is killed after its decision, with some of the folders moved already.
fn decided(place: &Place, moved: &[&str], away: &[&str]) {
    let folder = place.state().join("checkpoints");
    #[expect(clippy::disallowed_methods, reason = "does by hand what the program under test does")]
    let mut copy = std::process::Command::new("cp");
    assert!(copy.arg("-a").args([folder.join("a"), folder.join(".restoring")]).status().unwrap().success());
    std::fs::remove_file(folder.join(".restoring/checkpoint.toml")).unwrap();
    std::fs::create_dir(folder.join(".replaced")).unwrap();
    for service in moved.iter().chain(away) {
        let data = place.state().join(service).join("data");
        std::fs::rename(&data, folder.join(".replaced").join(service)).unwrap();
        if moved.contains(service) {
            std::fs::rename(folder.join(".restoring").join(service), &data).unwrap();
        }
    }
    let text = std::fs::read_to_string(folder.join("a/checkpoint.toml")).unwrap();
    let journal: Vec<&str> = text.lines().filter(|line| !line.starts_with("made =")).collect();
    place.file(
        ".ecosystem/checkpoints/restore.toml",
        &journal.join("\n").replace("place =", "checkpoint = \"a\"\nx ="),
    );
}

#[test]
fn what_was_decided_is_finished_by_whatever_comes_next() {
    let (place, env) = with_data();
    place.ok(&["checkpoint", "save", "a"]);
    let finishers: [&[&str]; 4] = [
        &["up", "postgresql", "redis"],
        &["down"],
        &["checkpoint", "save", "b"],
        &["restart", "postgresql", "redis"],
    ];
    let moments: [(&[&str], &[&str]); 4] =
        [(&[], &[]), (&[], &["postgresql"]), (&["postgresql"], &[]), (&["postgresql"], &["redis"])];
    for (finisher, (moved, away)) in finishers.into_iter().zip(moments) {
        write(&place, &env, "new");
        place.ok(&["down"]);
        decided(&place, moved, away);
        let told: Run = place.run(&["status"]);
        assert!(told.stdout.contains("Restoring the checkpoint a was interrupted"), "{told}");
        assert_eq!(place.json(&["status"])["restoring"], "a");
        fits("Status", &place.json(&["status"]));
        let finished = place.ok(finisher);
        assert!(finished.stderr.contains("finishing to restore a, which was interrupted"), "{finished}");
        assert!(!place.state().join("checkpoints/restore.toml").exists());
        place.ok(&["up", "postgresql", "redis"]);
        assert_eq!(read(&place, &env), ["old", "old"], "{finisher:?}");
    }
    assert_eq!(entries(&place), ["a", "b"]);
}

#[test]
fn down_ends_a_supervisor_that_does_not_answer_before_it_finishes_a_restore() {
    let (place, env) = with_data();
    place.ok(&["checkpoint", "save", "a"]);
    write(&place, &env, "new");
    place.ok(&["down"]);
    decided(&place, &["redis"], &[]);
    // Somebody went past the journal.
    place.ok(&["checkpoint", "list"]);
    let supervisor = || place.supervisor();
    assert_eq!(supervisor(), None);
    place.ok(&["up", "redis"]);
    decided(&place, &[], &[]);
    kill(supervisor().unwrap(), Signal::STOP);
    assert_eq!(place.run(&["up", "redis"]).status, 5);
    place.ok(&["down"]);
    place.ok(&["up", "postgresql", "redis"]);
    assert_eq!(read(&place, &env), ["old", "old"]);
    assert_eq!(number(&env, "SELECT count(*) FROM kept"), 1);
}
