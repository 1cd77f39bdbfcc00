//! A launch as a person reads it, and as `snapshot` compares it: the same text on every machine.
//!
//! Nothing is replaced in finished text. The launch is computed again for a place, a secret and an installation that have no particulars;
//! `launch` is pure, so what comes out differs from the real one in those alone.

use std::fmt::Write;

use camino::Utf8PathBuf;

use crate::artifact::{Installation, Installed};
use crate::catalog::{Around, Inputs, Launch, is_secret_setting, launch};
use crate::endpoint::Secret;
use crate::model::{Ecosystem, Service, Sourced};
use crate::place::Place;
use crate::process::{Content, RunAs};

/// How a service is launched, without what differs from machine to machine: paths, the port offset, the heap, secrets, the user.
pub fn portable(ecosystem: &Ecosystem, service: &Service, installed: &Installation) -> String {
    let (service, place, secret) = anywhere(service);
    let installed = installed.iter().map(|(name, i)| (name.clone(), nowhere(i))).collect();
    let bind = ecosystem.bind.value.as_str();
    let around = Around::of(&ecosystem.services, &place, bind, "{path}", |_| secret.clone());
    let inputs = Inputs {
        service: &service,
        place: &place,
        bind,
        installed: &installed,
        run_as: RunAs::Me,
        secret: &secret,
        around: &around,
    };
    named(&render(&launch(inputs)))
}

/// The service without what differs from machine to machine, a place that is none, and what stands for its secret.
pub(super) fn anywhere(service: &Service) -> (Service, Place, Secret) {
    let mut service = service.clone();
    if let Some(heap) = &service.heap {
        service.heap = Some(Sourced { value: "{heap}".to_owned(), origin: heap.origin.clone() });
    }
    for (_, value) in service.settings.iter_mut().filter(|(name, _)| is_secret_setting(name)) {
        "{secret}".clone_into(&mut value.value);
    }
    let env = service.program.iter_mut().flat_map(|program| &mut program.env);
    for (_, value) in env.filter(|(name, _)| is_secret_setting(&name.to_ascii_lowercase())) {
        "{secret}".clone_into(&mut value.value);
    }
    let place = Place {
        id: "{id}".to_owned(),
        root: "{project}".into(),
        state: STATE.into(),
        store: "{store}".into(),
        offset: 0,
    };
    (service, place, Secret::new(SECRET))
}

/// The text with names for what stands in for state folder and secret.
pub(super) fn named(text: &str) -> String {
    text.replace(STATE, "{state}").replace(SECRET, "{secret}")
}

/// Stands for a secret while a launch is computed: without anything that a URL would have to be kept from.
const SECRET: &str = "secret-of-nobody";

/// Stands for the state folder while a launch is computed: a path like most, without anything that a server would have to be kept from.
const STATE: &str = "/state=folder";

/// The same installation in a folder that is named after it.
fn nowhere(installed: &Installed) -> Installed {
    let top: Utf8PathBuf = format!("{{{}}}", installed.name).into();
    let moved = |path: &Utf8PathBuf| match path.strip_prefix(&installed.root) {
        // The folder itself gets no slash at its end.
        Ok(rest) if rest.as_str().is_empty() => top.clone(),
        Ok(rest) if !installed.root.as_str().is_empty() => top.join(rest),
        // Something of the host: where it lies there says nothing.
        _ => top.join(path.file_name().unwrap_or_default()),
    };
    let mut copy = installed.clone();
    copy.root.clone_from(&top);
    for path in copy.facts.paths.values_mut() {
        *path = moved(path);
    }
    for path in &mut copy.facts.libraries {
        // The last part names the architecture.
        *path = moved(path).with_file_name("{arch}");
    }
    for plugin in copy.facts.plugins.values_mut() {
        plugin.folder = moved(&plugin.folder);
    }
    copy
}

/// A launch as text: processes, then files. Secret files are shown too, so only a launch with a placeholder for its secret may come here.
fn render(launch: &Launch) -> String {
    let mut text = String::new();
    for process in &launch.processes {
        let stop = process.stop;
        let _ = writeln!(
            text,
            "process {} (stops by {:?} within {} ms)",
            process.id(),
            stop.signal,
            stop.grace_ms
        );
        for word in &process.argv {
            let _ = writeln!(text, "  {word}");
        }
        for (name, value) in &process.env {
            let _ = writeln!(text, "  {name}={value}");
        }
    }
    for file in &launch.files {
        match &file.content {
            Content::Link(target) => {
                let _ = writeln!(text, "link {} -> {target}", file.path);
            }
            Content::NoLink => {}
            Content::Folder => {
                let _ = writeln!(text, "folder {}", file.path);
            }
            Content::Cookie(_) => {
                let _ = writeln!(text, "file {} (a secret of its own)", file.path);
            }
            Content::Text(content) | Content::Secret(content) => {
                let _ = writeln!(text, "file {}", file.path);
                for line in content.lines() {
                    let _ = writeln!(text, "  {line}");
                }
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::{Facts, Key};
    use crate::catalog::RECIPE;
    use crate::model::{Flags, Layer, resolve};

    fn installed(name: &str, root: &str, paths: &[(&str, &str)]) -> (String, Installed) {
        let facts = Facts {
            paths: paths
                .iter()
                .map(|(role, path)| ((*role).into(), format!("{root}/{path}").into()))
                .collect(),
            libraries: vec![format!("{root}/usr/lib/x86_64-linux-gnu").into()],
            ..Facts::default()
        };
        let key = Key::of([root]);
        (name.into(), Installed { name: name.into(), version: "1.2.3".into(), key, root: root.into(), facts })
    }

    fn opensearch(manifest: &str, root: &str) -> String {
        let ecosystem = resolve(&[Layer { name: "m", text: manifest }], &Flags::default()).unwrap();
        let installation = Installation::from([
            installed("opensearch", &format!("{root}/os"), &[("home", "")]),
            installed("java", &format!("{root}/jdk"), &[("java", "bin/java")]),
            installed("opensearch-cds", &format!("{root}/cds"), &[("archive", "a.jsa")]),
        ]);
        portable(&ecosystem, &ecosystem.services["opensearch"], &installation)
    }

    #[test]
    fn folders_the_heap_and_the_offset_leave_no_trace() {
        let one = opensearch("", "/home/a/.cache");
        assert!(one.contains("{opensearch}/lib/*") && !one.contains("{opensearch}/\n"), "{one}");
        let other = opensearch("port_offset = 100\nservices.opensearch.heap = \"2g\"\n", "/srv/b");
        assert_eq!(one, other);
        assert!(!one.contains("/home") && !one.contains("Xmx512m"), "{one}");
    }

    #[test]
    fn a_setting_and_a_port_show() {
        let one = opensearch("", "/a");
        assert_ne!(
            one,
            opensearch("services.opensearch.settings.\"action.auto_create_index\" = false\n", "/a")
        );
        assert_ne!(one, opensearch("services.opensearch.ports.http = 9401\n", "/a"));
    }

    #[test]
    fn what_tenants_take_is_not_compared() {
        let ecosystem = resolve(&[], &Flags::default()).unwrap();
        let installed = Installation::from([
            installed("redis", "/redis", &[("server", "redis-server")]),
            installed("opensearch", "/os", &[("home", "")]),
            installed("java", "/jdk", &[("java", "java")]),
            installed("opensearch-cds", "/cds", &[("archive", "a.jsa")]),
        ]);
        for (name, begin) in [("redis", "databases "), ("opensearch", "path.repo: ")] {
            let (service, place, secret) = anywhere(&ecosystem.services[name]);
            let launch = launch(Inputs {
                service: &service,
                place: &place,
                bind: "127.0.0.1",
                installed: &installed,
                run_as: RunAs::Me,
                secret: &secret,
                around: &Around::default(),
            });
            // As an earlier version wrote it.
            let without = |text: &str| -> String {
                text.split_inclusive('\n').filter(|line| !line.starts_with(begin)).collect()
            };
            let files: Vec<[String; 2]> = launch
                .files
                .iter()
                .map(|file| [file.path.to_string(), without(file.content.text())])
                .collect();
            assert_ne!(files[0][1], launch.files[0].content.text());
            let recipe = Key::of(files.iter().flatten().map(String::as_str));
            assert_eq!(launch.processes[0].labels[RECIPE], recipe.to_string(), "{name}");
        }
    }

    #[test]
    fn a_process_shows_neither_a_password_nor_a_path_of_this_machine() {
        let text = "[services.web]\nkind = \"process\"\ncommand = [\"web\", \"{port.http}\"]\nports.http = 7000\n\
                    after = [\"redis\"]\nenv = { API_TOKEN = \"hunter2\" }\n";
        let ecosystem = resolve(&[Layer { name: "m", text }], &Flags::default()).unwrap();
        insta::assert_snapshot!(portable(&ecosystem, &ecosystem.services["web"], &Installation::new()), @r"
        process web (stops by Term within 10000 ms)
          web
          7000
          API_TOKEN={secret}
          HOME={state}/web
          INVENIO_ACCOUNTS_SESSION_REDIS_URL=redis://default:{secret}@127.0.0.1:6579/1
          INVENIO_CACHE_REDIS_URL=redis://default:{secret}@127.0.0.1:6579/0
          INVENIO_CACHE_TYPE=redis
          INVENIO_CELERY_RESULT_BACKEND=redis://default:{secret}@127.0.0.1:6579/2
          INVENIO_COMMUNITIES_IDENTITIES_CACHE_REDIS_URL=redis://default:{secret}@127.0.0.1:6579/4
          INVENIO_IIIF_CACHE_REDIS_URL=redis://default:{secret}@127.0.0.1:6579/0
          INVENIO_RATELIMIT_STORAGE_URI=redis://default:{secret}@127.0.0.1:6579/3
          LANG=C.UTF-8
          PATH={path}
          REDISCLI_AUTH={secret}
          REDIS_URL=redis://default:{secret}@127.0.0.1:6579/0
          TZ=UTC
        ");
    }

    #[test]
    fn a_launch_reads_like_this() {
        let ecosystem = resolve(&[], &Flags::default()).unwrap();
        let installation =
            Installation::from([installed("redis", "/store/redis", &[("server", "bin/redis-server")])]);
        insta::assert_snapshot!(portable(&ecosystem, &ecosystem.services["redis"], &installation), @r#"
        process redis (stops by Term within 10000 ms)
          {redis}/bin/redis-server
          {state}/redis/redis.conf
          HOME={state}/redis
          LANG=C.UTF-8
          LD_LIBRARY_PATH={redis}/usr/lib/{arch}
          PATH=/usr/bin:/bin
          TZ=UTC
        file {state}/redis/redis.conf
          # Written by ecosystem; changes are lost.
          bind 127.0.0.1
          port 6579
          dir "{state}/redis/data"
          requirepass {secret}
          daemonize no
          pidfile ""
          logfile ""
          databases 128
        "#);
    }
}
