//! What goes wrong with containers: ports, settings, engines, signals.

use rustix::process::Signal;

use super::engine::{Contained, docker};
use crate::support::{Place, Run, eventually, kill};

/// The run with what differs from place to place taken out.
fn plain(contained: &Contained, run: &Run) -> String {
    let text =
        run.to_string().replace(&contained.id(), "<id>").replace(contained.place.root.as_str(), "<root>");
    let mut text = text;
    for port in [5632, 6579] {
        text = text.replace(&contained.place.port(port).to_string(), &format!("<{port}>"));
    }
    text
}

#[test]
fn a_foreign_container_on_a_port_is_named_and_left_alone() {
    let Some(contained) = Contained::new() else { return };
    contained.manifest("");
    let port = format!("127.0.0.1:{}:5432", contained.place.port(5632));
    let name = format!("stranger-{}", contained.place.offset);
    contained.docker(&[
        "run",
        "--detach",
        "--rm",
        "--name",
        &name,
        "--publish",
        &port,
        "--env",
        "POSTGRES_PASSWORD=x",
        "postgres:12.4",
    ]);
    let run = contained.place.run(&["up", "postgresql", "redis"]);
    let as_process = contained.place.run(&["up", "--backend", "native", "postgresql"]);
    contained.docker(&["rm", "--force", &name]);
    assert_eq!(run.status, 5, "{run}");
    let expected = format!(
        "error[port-taken]: nothing was started\nport {} (postgresql sql) is held by the container {name}\n  → stop the container: docker stop {name}\n",
        contained.place.port(5632)
    );
    assert!(run.stderr.contains(&expected), "{run}");
    assert_eq!(contained.containers(), Vec::<String>::new());
    assert_eq!(as_process.status, 2, "the manifest says otherwise\n{as_process}");
}

#[test]
fn nothing_is_switched_below_what_runs() {
    let Some(contained) = Contained::new() else { return };
    let place = &contained.place;
    place.ok(&["up", "redis"]);
    let run = place.run(&["up", "--backend", "compose", "redis"]);
    insta::assert_snapshot!(plain(&contained, &run), @r"

    error[backend-differs]: nothing was started
    what runs as processes of yours shall run as containers: redis
      → stop what runs, then try again: ecosystem down
      → data does not come along: it stays where it is, for when you go back
    [exit status: 5]
    ");
    place.ok(&["down"]);
    place.ok(&["up", "--backend", "compose", "redis"]);
    assert_eq!(place.run(&["up", "--backend", "native", "redis"]).status, 5);
    // It is remembered, also by commands that only look.
    assert_eq!(place.json(&["up", "redis"])["unchanged"], true);
    place.ok(&["down"]);
    place.ok(&["up", "--backend", "native", "redis"]);
    assert_eq!(contained.containers(), Vec::<String>::new());
    assert_eq!(contained.volumes().len(), 1, "data stays where it is");
}

#[test]
fn a_setting_that_a_server_does_not_take_is_named_with_its_line() {
    let Some(contained) = Contained::new() else { return };
    contained.manifest("[services.redis]\nsettings = { maxmemory = \"lots\" }\n");
    let run = contained.place.run(&["up", "redis"]);
    assert_eq!(run.status, 5, "{run}");
    let said = "error[service-ended]: redis ended before it was ready";
    let hint = "correct `maxmemory` in ecosystem.toml:4";
    assert!(run.stderr.contains(said) && run.stderr.contains(hint), "{run}");
    // Nobody waits for it any more: the engine does not try without end.
    let state =
        contained.docker(&["inspect", "--format", "{{.State.Status}}", &contained.container("redis")]);
    assert_eq!(state, "exited");
}

#[test]
fn data_of_another_major_version_is_refused() {
    let Some(contained) = Contained::new() else { return };
    contained.manifest("");
    contained.place.ok(&["up", "postgresql"]);
    contained.manifest("services.postgresql.image = \"postgres:13.1\"\n");
    let run = contained.place.run(&["up", "postgresql"]);
    insta::assert_snapshot!(plain(&contained, &run), @r"

    error[data-other-version]: nothing was started
    the data of postgresql was made by postgresql 12 and cannot be used by postgresql 13
      in the volume of postgresql
      → keep the data, with the release that has postgresql 12: ecosystem up --release documented
      → start postgresql afresh, losing its data: ecosystem down --data postgresql
    [exit status: 5]
    ");
}

#[test]
fn an_image_that_was_fetched_anew_is_drift() {
    let Some(contained) = Contained::new() else { return };
    let image = format!("ecosystem-test/redis:7-{}", contained.place.offset);
    contained.docker(&["tag", "redis:7", &image]);
    contained.manifest(&format!("services.redis.image = \"{image}\"\n"));
    contained.place.ok(&["up", "redis"]);
    let redis = contained.container("redis");
    contained.docker(&["commit", "--change", "LABEL another=one", &redis, &image]);
    let plan = contained.place.ok(&["up", "--dry-run", "redis"]).stdout;
    assert!(plan.contains(&format!("image: {image} as it was → {image} as it was fetched since")), "{plan}");
    contained.place.ok(&["up", "redis"]);
    assert_eq!(contained.place.json(&["up", "redis"])["unchanged"], true);
    contained.place.ok(&["down"]);
    contained.docker(&["rmi", "--force", &image]);
}

#[test]
fn an_image_that_cannot_be_had_is_told_in_the_words_of_the_engine() {
    let Some(contained) = Contained::new() else { return };
    contained.manifest("services.redis.image = \"localhost:1/nobody/redis:7\"\n");
    let offline = contained.place.run(&["up", "--offline", "redis"]);
    assert_eq!(offline.status, 3, "{offline}");
    assert!(
        offline.stderr.contains("error[offline-missing]")
            && offline.stderr.contains("localhost:1/nobody/redis:7"),
        "{offline}"
    );
    let run = contained.place.run(&["up", "redis"]);
    assert_eq!(run.status, 3, "{run}");
    assert!(run.stderr.contains("error[image-not-fetched]: the image localhost:1/nobody/redis:7"), "{run}");
    assert!(run.stderr.contains("connection refused"), "{run}");
}

#[test]
fn ctrl_c_removes_what_was_started_and_leaves_what_ran() {
    let Some(contained) = Contained::new() else { return };
    // It never becomes ready: the password is another one for whoever asks from outside.
    contained.manifest("");
    let place = &contained.place;
    place.ok(&["up", "redis"]);
    let mut up = place.command(&["up", "redis", "opensearch"]);
    let mut child =
        up.stderr(std::process::Stdio::null()).stdout(std::process::Stdio::null()).spawn().unwrap();
    eventually("the container is there", || {
        contained.containers().contains(&contained.container("opensearch"))
    });
    kill(child.id(), Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(contained.containers(), [contained.container("redis")]);
    assert_eq!(place.json(&["up", "redis"])["unchanged"], true);

    // Where nothing ran before, the network goes as well.
    place.ok(&["down"]);
    let mut up = place.command(&["up", "opensearch"]);
    let mut child =
        up.stderr(std::process::Stdio::null()).stdout(std::process::Stdio::null()).spawn().unwrap();
    eventually("the network is there", || !contained.listed(&["network", "ls"], "Name").is_empty());
    kill(child.id(), Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(contained.listed(&["network", "ls"], "Name"), Vec::<String>::new());
    assert_eq!(contained.containers(), Vec::<String>::new());
}

#[test]
fn a_paused_container_is_told_and_not_undone() {
    let Some(contained) = Contained::new() else { return };
    contained.manifest("");
    contained.place.ok(&["up", "redis"]);
    let redis = contained.container("redis");
    contained.docker(&["pause", &redis]);
    let run = contained.place.run(&["up", "redis"]);
    contained.docker(&["unpause", &redis]);
    assert_eq!(run.status, 5, "{run}");
    assert!(run.stderr.contains(&format!("docker unpause {redis}")), "{run}");
}

#[test]
fn what_somebody_did_to_a_container_by_hand_is_told() {
    let Some(contained) = Contained::new() else { return };
    contained.manifest("");
    contained.place.ok(&["up", "redis"]);
    let redis = contained.container("redis");
    for (done, told) in [
        (["stop", &redis], "somebody has stopped its container"),
        (["rm", &redis], "somebody has removed its container"),
    ] {
        contained.docker(&done);
        let status = contained.place.run(&["status"]);
        assert!(status.status == 1 && status.stdout.contains(told), "{status}");
    }
    contained.place.ok(&["up", "redis"]);
    contained.place.ok(&["down", "redis"]);
    assert_eq!(contained.place.ok(&["status"]).stdout.lines().count(), 1);
}

/// A `docker` of the test's own, first on PATH, which is a script around the real one, `"$docker"` in it.
fn around_docker(contained: &Contained, script: &str) -> String {
    use std::os::unix::fs::PermissionsExt;
    let bin = contained.place.root.join("around");
    std::fs::create_dir_all(&bin).unwrap();
    let docker = docker();
    let text = format!("#!/bin/sh\ndocker='{}'\n{script}\nexec \"$docker\" \"$@\"\n", docker.display());
    contained.place.file("around/docker", &text);
    std::fs::set_permissions(bin.join("docker"), std::fs::Permissions::from_mode(0o755)).unwrap();
    format!("{bin}:{}", crate::faults::variable("PATH").to_str().unwrap())
}

#[test]
fn another_engine_is_not_taken_for_one_that_has_nothing() {
    let Some(contained) = Contained::new() else { return };
    contained.manifest("");
    contained.place.ok(&["up", "redis"]);
    // It answers everything, and has none of ours.
    let path = around_docker(
        &contained,
        "case \"$1\" in ps|network|volume) exit 0;; info) echo another; exit 0;; esac",
    );
    for args in [["status"].as_slice(), &["down"], &["down", "--data", "--yes"], &["up", "redis"]] {
        let run = Run::of(contained.place.command(args).env("PATH", &path));
        assert!(run.status == 3 && run.stderr.contains("error[other-engine]"), "{args:?}\n{run}");
    }
    assert_eq!(contained.containers(), [contained.container("redis")]);
}

#[test]
fn an_answer_that_is_cut_off_is_none() {
    let Some(contained) = Contained::new() else { return };
    contained.manifest("");
    contained.place.ok(&["up", "redis"]);
    let path =
        around_docker(&contained, "[ \"$1\" = inspect ] && { \"$docker\" \"$@\" | head -c 800; exit; }");
    for args in [["status"], ["down"]] {
        let run = Run::of(contained.place.command(&args).env("PATH", &path));
        assert!(run.status == 3 && run.stderr.contains("error[docker-silent]"), "{run}");
    }
}

#[test]
fn docker_compose_ends_with_the_up_that_started_it() {
    let Some(contained) = Contained::new() else { return };
    contained.manifest("");
    let mark = contained.place.root.join("begun");
    let path = around_docker(
        &contained,
        &format!(
            "[ \"$1\" = compose ] && [ \"$2\" = --project-directory ] && {{ echo $$ > '{mark}'; sleep 1000; }}"
        ),
    );
    let mut up = contained.place.command(&["up", "redis"]);
    let quiet = up.env("PATH", path).stderr(std::process::Stdio::null()).stdout(std::process::Stdio::null());
    let mut child = quiet.spawn().unwrap();
    let begun = || std::fs::read_to_string(&mark).ok()?.trim().parse::<u32>().ok();
    eventually("Docker Compose is called", || begun().is_some());
    let compose = begun().unwrap();
    kill(child.id(), Signal::KILL);
    child.wait().unwrap();
    eventually("it ends as well", || !std::path::Path::new(&format!("/proc/{compose}")).exists());
}

#[test]
fn what_is_left_without_containers_is_removed_too() {
    let Some(contained) = Contained::new() else { return };
    contained.manifest("");
    contained.place.ok(&["up", "redis"]);
    contained.docker(&["rm", "--force", &contained.container("redis")]);
    std::fs::remove_file(contained.place.state().join("compose.yaml")).unwrap();
    contained.place.ok(&["down"]);
    assert_eq!(contained.listed(&["network", "ls"], "Name"), Vec::<String>::new());

    // A volume that somebody removed is no data of another version.
    contained.docker(&["volume", "rm", &contained.volumes()[0]]);
    let image = format!("ecosystem-test/redis:6-{}", contained.place.offset);
    contained.docker(&["tag", "redis:7", &image]);
    contained.manifest(&format!("services.redis.image = \"{image}\"\n"));
    contained.place.ok(&["up", "redis"]);
    contained.place.ok(&["down", "--data", "--yes"]);
    contained.docker(&["rmi", &image]);
}

#[test]
fn what_somebody_runs_once_from_the_same_file_is_not_the_service() {
    let Some(contained) = Contained::new() else { return };
    contained.manifest("");
    contained.place.ok(&["up", "redis"]);
    let file = contained.place.state().join("compose.yaml");
    let once = ["compose", "-f", file.as_str(), "run", "--detach", "redis", "sleep", "1000"];
    contained.docker(&once);
    assert_eq!(contained.place.json(&["up", "redis"])["unchanged"], true);
    contained.place.ok(&["restart", "redis"]);
    contained.place.ok(&["down"]);
    assert_eq!(contained.containers(), Vec::<String>::new());
}

#[test]
fn lost_passwords_are_told_before_anything_starts() {
    let Some(contained) = Contained::new() else { return };
    contained.manifest("");
    contained.place.ok(&["up", "redis"]);
    contained.place.ok(&["down"]);
    let secrets = contained.place.state().join("secrets.toml");
    let kept = std::fs::read_to_string(&secrets).unwrap();
    std::fs::remove_file(&secrets).unwrap();
    let run = contained.place.run(&["up", "redis"]);
    assert!(run.status == 3 && run.stderr.contains("error[secrets-lost]"), "{run}");
    contained.place.file(".ecosystem/secrets.toml", &kept);
    contained.place.ok(&["up", "redis"]);
}

#[test]
fn the_stack_of_another_checkout_is_named_by_its_folder() {
    let (Some(one), Some(other)) = (Contained::new(), Contained::new()) else { return };
    one.manifest("");
    one.place.ok(&["up", "redis"]);
    other
        .place
        .file("ecosystem.toml", &format!("backend = \"compose\"\nport_offset = {}\n", one.place.offset));
    let run = other.place.run(&["up", "redis"]);
    assert_eq!(run.status, 5, "{run}");
    assert!(run.stderr.contains(&format!("held by the stack of {}", one.place.root)), "{run}");
    assert!(run.stderr.contains(&format!("down -C '{}'", one.place.root)), "{run}");
}

#[test]
fn an_engine_that_does_not_answer_is_told_and_keeps_nobody_from_stopping_processes() {
    let place = Place::new();
    place.ok(&["up", "redis"]);
    let silent = |args: &[&str]| {
        let mut command = place.command(args);
        Run::of(command.env("DOCKER_HOST", "unix:///nonexistent/docker.sock"))
    };
    // As long as nothing was a container, nobody asks.
    place.file(".ecosystem/compose.yaml", "services: {}\n");
    for args in [["status"].as_slice(), &["up", "redis"], &["list"], &["env", "redis"]] {
        let run = silent(args);
        assert!(run.status == 0 && run.stderr.is_empty(), "{run}");
    }
    let wanted = silent(&["up", "--backend", "compose", "postgresql"]);
    assert_eq!(wanted.status, 3, "{wanted}");
    assert!(
        wanted.stderr.contains("error[docker-silent]") && wanted.stderr.contains("up --backend native"),
        "{wanted}"
    );
    place.file(".ecosystem/containers.toml", "services = [\"postgresql\"]\n");
    for (args, says) in [(["status"], "redis        ready"), (["down"], "Stopped redis.")] {
        let run = silent(&args);
        assert!(run.status == 3 && run.stdout.contains(says), "{run}");
        assert!(run.stderr.contains("error[docker-silent]"), "{run}");
    }
    std::fs::remove_file(place.state().join("containers.toml")).unwrap();
    std::fs::remove_file(place.state().join("compose.yaml")).unwrap();
}

#[test]
fn podman_in_dockers_place_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let bin = place.root.join("bin");
    std::fs::create_dir(&bin).unwrap();
    place.file(
        "bin/docker",
        "#!/bin/sh\n[ \"$1\" = version ] && echo '{\"Client\":{},\"Server\":{\"Version\":\"4.9.3\",\"Components\":[{\"Name\":\"Podman Engine\"}]}}'\n",
    );
    std::fs::set_permissions(bin.join("docker"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{bin}:/usr/bin:/bin");
    let run = Run::of(place.command(&["up", "--backend", "compose", "redis"]).env("PATH", path));
    assert_eq!(run.status, 3, "{run}");
    assert!(run.stderr.contains("error[podman-untested]"), "{run}");
}
