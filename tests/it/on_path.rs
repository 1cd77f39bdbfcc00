//! `from = "path"`: servers in the layout of their own releases, as Nix and Homebrew have them. Real ones: made from what the store has.

use camino::{Utf8Path, Utf8PathBuf};

use crate::clients::{manage, search};
use crate::support::{Place, Run};

/// Copies a tree; links are followed.
fn copy(from: &Utf8Path, to: &Utf8Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in from.read_dir_utf8().unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a test needs no atomic write")]
fn executable(path: &Utf8Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// The folder of the store in which a server that this project has just fetched lies.
fn in_store(place: &Place, service: &str) -> Utf8PathBuf {
    let report = place.json(&["provision", service]);
    let store = Utf8PathBuf::from(report["store"].as_str().unwrap());
    let version =
        report["items"].as_array().unwrap().iter().find(|item| item["name"] == service).unwrap()["version"]
            .clone();
    let prefix = format!("{service}-{}-", version.as_str().unwrap());
    let mut folders: Vec<Utf8PathBuf> = store
        .read_dir_utf8()
        .unwrap()
        .map(|entry| entry.unwrap().path().to_owned())
        .filter(|path| {
            path.file_name().unwrap().starts_with(&prefix) && path.join("installed.json").is_file()
        })
        .collect();
    folders
        .sort_by_key(|folder| std::fs::metadata(folder.join("installed.json")).unwrap().modified().unwrap());
    folders.pop().unwrap()
}

#[expect(clippy::disallowed_methods, reason = "the program under test gets another PATH")]
fn run(place: &Place, first: &Utf8Path, args: &[&str]) -> Run {
    let path = format!("{first}:{}", std::env::var("PATH").unwrap());
    Run::of(place.command(args).env("PATH", path))
}

#[test]
fn rabbitmq_of_another_place_is_run_with_the_erlang_that_it_names() {
    let place = Place::heavy();
    let unpacked = in_store(&place, "rabbitmq");
    let home = unpacked
        .join("usr/lib/rabbitmq/lib")
        .read_dir_utf8()
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path()
        .to_owned();
    let release = place.root.join("rabbitmq");
    copy(&home.join("plugins"), &release.join("plugins"));
    let bin = release.join("sbin");
    executable(&bin.join("rabbitmq-server"), "#!/bin/sh\nexit 1\n");
    executable(
        &bin.join("rabbitmq-env"),
        &format!("#!/bin/sh\nPATH={unpacked}/usr/lib/erlang/bin:${{PATH:+:}}$PATH\n"),
    );

    place.manifest("[services.rabbitmq]\nfrom = \"path\"\n");
    let up = run(&place, &bin, &["up", "rabbitmq"]);
    assert_eq!(up.status, 0, "{up}");
    let (status, overview) = manage(&place.env(), "GET", "/api/overview");
    assert_eq!(status, 200);
    assert_eq!(overview["rabbitmq_version"], home.as_str().rsplit_once('-').unwrap().1);
    let code = std::fs::read_dir(place.state().join("rabbitmq/plugins")).unwrap().flatten();
    for link in code {
        assert!(std::fs::read_link(link.path()).unwrap().starts_with(&release), "{}", link.path().display());
    }
}

#[test]
fn opensearch_of_another_place_is_run_from_there() {
    let place = Place::heavy();
    let assembled = in_store(&place, "opensearch");
    let release = place.root.join("opensearch");
    for folder in ["lib", "modules", "plugins"] {
        copy(&assembled.join(folder), &release.join(folder));
    }
    let bin = release.join("bin");
    executable(&bin.join("opensearch"), "#!/bin/sh\nexit 1\n");
    place.manifest("[services.opensearch]\nfrom = \"path\"\n");
    let up = run(&place, &bin, &["up", "opensearch"]);
    assert_eq!(up.status, 0, "{up}");
    assert_eq!(search(&place.env(), "GET", "/", None)["version"]["number"], "2.3.0");
    let nodes = search(&place.env(), "GET", "/_nodes/_local/jvm,settings", None);
    let node = nodes["nodes"].as_object().unwrap().values().next().unwrap();
    assert_eq!(node["settings"]["path"]["home"], release.as_str(), "{node}");
    // With the machine's own PATH it is not there, and that is told with the way out.
    let gone = place.run(&["restart", "opensearch"]);
    assert_eq!(gone.status, 3, "{gone}");
    assert!(
        gone.stderr.contains("services.opensearch has from = \"path\", but opensearch is not installed"),
        "{gone}"
    );
}
