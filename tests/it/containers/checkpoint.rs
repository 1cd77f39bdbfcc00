//! Checkpoints of volumes: saved, restored, killed halfway, kept and deleted.

use serde_json::json;

use super::engine::Contained;
use crate::checkpoint::killed_when;
use crate::clients::{Env, sql};
use crate::json::fits;

/// The volumes of this place, whatever they are for, without the name of the place.
#[track_caller]
fn volumes(contained: &Contained) -> Vec<String> {
    let project = contained.project();
    let all = contained.docker(&["volume", "ls", "--quiet", "--filter", &format!("name={project}_")]);
    let mut names: Vec<String> = all.lines().map(|name| name.replace(&format!("{project}_"), "")).collect();
    names.sort();
    names
}

#[track_caller]
fn write(contained: &Contained, env: &Env, word: &str) {
    sql(env).execute("UPDATE kept SET word = $1", &[&word]).unwrap();
    contained.place.ok(&["redis-cli", "set", "kept", word]);
}

#[track_caller]
fn read(contained: &Contained, env: &Env) -> [String; 2] {
    let word = sql(env).query_one("SELECT word FROM kept", &[]).unwrap().get(0);
    [word, contained.place.ok(&["redis-cli", "get", "kept"]).stdout.trim().to_owned()]
}

#[test]
fn volumes_are_saved_and_restored_whoever_is_killed_meanwhile() {
    let Some(contained) = Contained::new() else { return };
    let place = &contained.place;
    contained.manifest("");
    place.ok(&["up", "postgresql", "redis"]);
    let env = place.env();
    sql(&env).batch_execute("CREATE TABLE kept (word text); INSERT INTO kept VALUES ('')").unwrap();
    write(&contained, &env, "old");

    let saved = place.json(&["checkpoint", "save", "a"]);
    fits("Copied", &saved);
    assert_eq!(saved["started"], json!(["postgresql", "redis"]), "{saved}");
    let with_copies = ["checkpoint-a_postgresql", "checkpoint-a_redis", "postgresql", "redis"];
    assert_eq!(volumes(&contained), with_copies);
    // Docker Compose does not count them among its own, whoever asks it to remove what it has.
    assert_eq!(contained.volumes().len(), 2);
    let listed = place.json(&["checkpoint", "list"]);
    fits("Checkpoints", &listed);
    assert_eq!(listed["checkpoints"][0]["services"]["postgresql"]["backend"], "compose", "{listed}");

    // Killed before it was decided, and after.
    for decision in [false, true] {
        let word = format!("new {decision}");
        write(&contained, &env, &word);
        let point = if decision { "restore.toml" } else { ".restoring/journal.toml" };
        let killed = killed_when(place, &["checkpoint", "restore", "a", "--yes"], |folder| {
            folder.join(point).exists()
        });
        assert!(killed, "it takes seconds, and is seen at once");
        assert_eq!(place.state().join("checkpoints/restore.toml").exists(), decision);
        place.ok(&["up", "postgresql", "redis"]);
        let expected = if decision { "old" } else { word.as_str() };
        assert_eq!(read(&contained, &env), [expected, expected]);
        let left = "ls -A /var/lib/postgresql/data | grep ecosystem || true";
        assert_eq!(contained.docker(&["exec", &contained.container("postgresql"), "sh", "-c", left]), "");
    }
    write(&contained, &env, "new");
    killed_when(place, &["checkpoint", "save", "b"], |folder| folder.join("b.tmp/checkpoint.toml").exists());
    place.ok(&["up", "postgresql", "redis"]);
    assert_eq!(volumes(&contained), with_copies, "nothing is left of what is no checkpoint");
    assert_eq!(read(&contained, &env), ["new", "new"]);

    // What is wanted by now does not fit, and nothing is stopped.
    contained.manifest("services.postgresql.image = \"postgres:14.1\"\nservices.redis.via = \"native\"\n");
    let refused = place.run(&["checkpoint", "restore", "a", "--yes"]);
    assert_eq!(refused.status, 6, "{refused}");
    for problem in
        ["made by postgresql 12, and postgresql 14 is wanted", "backend compose, and native runs it"]
    {
        assert!(refused.stderr.contains(problem), "{problem} is missing in\n{refused}");
    }
    contained.manifest("");
    assert_eq!(read(&contained, &env), ["new", "new"]);

    // Deleting data leaves checkpoints, and one brings the data back.
    let down = place.json(&["down", "--data", "--yes"]);
    assert_eq!(down["deleted"], json!(["postgresql", "redis"]), "{down}");
    assert_eq!(volumes(&contained), ["checkpoint-a_postgresql", "checkpoint-a_redis"]);
    place.ok(&["checkpoint", "restore", "a", "--yes"]);
    place.ok(&["up", "postgresql", "redis"]);
    assert_eq!(read(&contained, &env), ["old", "old"]);

    // A copy that is not there is no empty one.
    contained.docker(&["volume", "rm", &format!("{}_checkpoint-a_redis", contained.project())]);
    write(&contained, &env, "new");
    let refused = place.run(&["checkpoint", "restore", "a", "--yes"]);
    assert_eq!(refused.status, 6, "{refused}");
    assert!(refused.stderr.contains("error[checkpoint-damaged]"), "{refused}");
    assert_eq!(read(&contained, &env), ["new", "new"]);
    place.ok(&["checkpoint", "delete", "a", "--yes"]);
    assert_eq!(volumes(&contained), ["postgresql", "redis"]);
}
