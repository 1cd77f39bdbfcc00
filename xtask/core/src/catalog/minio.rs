//! MinIO: how it is run and configured, and any other server that speaks S3, which a manifest names by its `command`.
//!
//! Identity is the deployment id that MinIO writes into its data folder when that is fresh, and tells whoever knows the password of its
//! administrator. Applications have an account of their own, which reaches the buckets of the manifest. Its secret is made from the
//! administrator's and leads nowhere back, so nothing else is to be kept. Another server has one login, for both.

use camino::Utf8PathBuf;
use sha2::{Digest as _, Sha256};

use super::container::{Container, password};
use super::{Access, Data, Fresh, Inputs, Kind, Launch, process};
use crate::artifact::hex;
use crate::endpoint::{Account, Secret, Storage};
use crate::model::{Backend, Origin, Service};
use crate::place::Place;
use crate::process::{Content, File, Process, Rules, Signal, Stop};

/// The administrator.
const ROOT: &str = "invenio";

/// The access key of applications.
const APPLICATION: &str = "invenio-app";

/// Where MinIO writes its deployment id, in its data folder.
const FORMAT: &str = ".minio.sys/format.json";

pub(super) fn access(service: &Service, place: &Place) -> Access {
    let native = service.backend.value == Backend::Native && service.program.is_none();
    let identity = if native { data(service, place).join(FORMAT).into_string() } else { String::new() };
    Access { user: Some(ROOT), database: None, authenticated: true, identity }
}

fn data(service: &Service, place: &Place) -> Utf8PathBuf {
    place.service(&service.name).join("data")
}

/// What is made in it when it is ready.
pub(super) fn storage(service: &Service, secret: &Secret) -> Storage {
    if service.kind != Kind::Minio {
        return Storage::default();
    }
    // An account that reaches nothing would be none.
    let has_account = service.program.is_none() && !service.buckets.value.is_empty();
    let application =
        has_account.then(|| Account { user: APPLICATION.to_owned(), secret: application_secret(secret) });
    Storage { buckets: service.buckets.value.clone(), application }
}

/// The secret of the application's account.
pub fn application_secret(secret: &Secret) -> Secret {
    let sum =
        Sha256::new().chain_update("account of applications\0").chain_update(secret.reveal()).finalize();
    Secret::new(&hex(&sum)[..40])
}

/// The same in a server of somebody else: nothing is made there that nobody has asked for in so many words.
pub(super) fn storage_elsewhere(service: &Service) -> Storage {
    let named = matches!(service.buckets.origin, Origin::File { .. });
    Storage { buckets: service.buckets.value.iter().filter(|_| named).cloned().collect(), application: None }
}

pub(super) fn launch(inputs: Inputs<'_>) -> Launch {
    let Inputs { service, place, bind, installed, run_as, secret, .. } = inputs;
    if service.program.is_some() {
        return other(inputs);
    }
    let server = &installed["minio"];
    let endpoint = super::endpoint(service, place, bind, secret);
    let (home, folder) = (place.service(&service.name), data(service, place));
    let word = home.join("root-password");
    let mut env = super::environment(&home);
    let own = [
        ("MINIO_ROOT_USER", ROOT),
        ("MINIO_ROOT_PASSWORD_FILE", word.as_str()),
        // It asks nobody for a newer version, and tells nobody how it is.
        ("MINIO_UPDATE", "off"),
        ("MINIO_CALLHOME_ENABLE", "off"),
        // A browser that comes to the port of programs is led to the console.
        ("MINIO_BROWSER_REDIRECT_URL", &format!("http://{}", endpoint.address("console"))),
    ];
    env.extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let at = |role: &str| format!("{bind}:{}", endpoint.port(role));
    let argv = [
        server.path("server").as_str(),
        "server",
        "--address",
        &at("s3"),
        "--console-address",
        &at("console"),
        folder.as_str(),
    ];
    let files = vec![File { path: word.clone(), content: Content::Secret(secret.reveal().to_owned()) }];
    let process = Process {
        service: service.name.clone(),
        name: service.name.clone(),
        argv: argv.map(str::to_owned).to_vec(),
        env,
        cwd: home,
        run_as,
        stop: Stop { signal: Signal::Term, grace_ms: 10_000 },
        log: place.log(&service.name, &service.name),
        log_limit: super::LOG_LIMIT,
        labels: super::labels(inputs, &server.version, &[("buckets", service.buckets.value.join(", "))]),
        rules: Rules::default(),
    };
    Launch {
        processes: vec![process],
        gate: None,
        files,
        data: Data { folder, fresh: Fresh::Empty, lock: None, version: None },
        endpoint,
        // Newer versions read what older ones wrote; the number is that of the form on the disk.
        made_by: "minio 1".to_owned(),
        settings: super::origins(service),
    }
}

/// A server of another project: run as a process of the manifest is, and asked as an object store.
fn other(inputs: Inputs<'_>) -> Launch {
    let Inputs { service, place, secret, .. } = inputs;
    let mut launch = process::launch(inputs);
    let folder = data(service, place);
    for process in &mut launch.processes {
        let program = process.argv.first().map_or("", |word| word.rsplit('/').next().unwrap_or(word));
        // Nobody else reads it: what one server has written would be damaged by another.
        launch.made_by = format!("{} {program}", Kind::Minio);
        for word in process.argv.iter_mut().chain(process.env.values_mut()) {
            *word = word.replace("{data}", folder.as_str());
        }
        for value in process.env.values_mut() {
            *value = value.replace("{user}", ROOT).replace("{secret}", secret.reveal());
        }
        process.labels.insert("buckets".to_owned(), service.buckets.value.join(", "));
        // Some take half a minute to say goodbye to themselves, and have written everything by then.
        process.stop.grace_ms = 3_000;
    }
    launch
}

pub(super) fn container(service: &Service) -> Container {
    let mut container = Container::new("/data", 1024)
        .with("MINIO_ROOT_USER", ROOT)
        // MinIO takes nothing shorter than eight characters.
        .with("MINIO_ROOT_PASSWORD", password(service, "invenio-dev"));
    container.command = ["server", "/data", "--console-address", ":9001"].map(str::to_owned).to_vec();
    // Images of some years have curl, others only MinIO's own client.
    container.healthy = "curl -fsS http://127.0.0.1:9000/minio/health/ready || mc ready local".into();
    container
}

#[cfg(test)]
mod tests {
    use super::super::{Around, launch};
    use super::*;
    use crate::artifact::{Facts, Installation, Installed, Key};
    use crate::model::{Flags, Layer, resolve};
    use crate::process::RunAs;

    fn launched(text: &str) -> Launch {
        let ecosystem = resolve(&[Layer { name: "m", text }], &Flags::default()).unwrap();
        let place = Place::of_test(100);
        let facts = Facts { paths: [("server".into(), "/s/minio/minio".into())].into(), ..Facts::default() };
        let installed = Installed {
            name: "minio".into(),
            version: "2026-02-12T20-18-48Z".into(),
            key: Key::of(["x"]),
            root: "/s/minio".into(),
            facts,
        };
        let secret = |_: &str| Secret::new("s3cret");
        launch(Inputs {
            service: &ecosystem.services["minio"],
            place: &place,
            bind: "127.0.0.1",
            installed: &Installation::from([("minio".into(), installed)]),
            run_as: RunAs::Me,
            secret: &secret(""),
            around: &Around::of(&ecosystem.services, &place, "127.0.0.1", "/bin", secret),
        })
    }

    #[test]
    fn it_listens_on_loopback_and_its_password_is_in_a_file_alone() {
        let launch = launched("services.minio.buckets = [\"default\", \"more\"]\n");
        let process = &launch.processes[0];
        insta::assert_snapshot!(format!("{}\n{:#?}", process.argv.join("\n"), process.env), @r#"
        /s/minio/minio
        server
        --address
        127.0.0.1:9100
        --console-address
        127.0.0.1:9101
        /p/.ecosystem/minio/data
        {
            "HOME": "/p/.ecosystem/minio",
            "LANG": "C.UTF-8",
            "MINIO_BROWSER_REDIRECT_URL": "http://127.0.0.1:9101",
            "MINIO_CALLHOME_ENABLE": "off",
            "MINIO_ROOT_PASSWORD_FILE": "/p/.ecosystem/minio/root-password",
            "MINIO_ROOT_USER": "invenio",
            "MINIO_UPDATE": "off",
            "PATH": "/usr/bin:/bin",
            "TZ": "UTC",
        }
        "#);
        assert_eq!(process.labels["buckets"], "default, more");
        assert_eq!(launch.endpoint.identity, "/p/.ecosystem/minio/data/.minio.sys/format.json");
        assert_eq!(
            crate::catalog::data_folder(&launch.made_by, "/p/.ecosystem/minio".into()),
            launch.data.folder
        );
    }

    #[test]
    fn applications_have_an_account_whose_secret_leads_to_no_other() {
        let endpoint = launched("").endpoint;
        let own = endpoint.of_application();
        assert_eq!((own.user.as_deref(), own.password().len()), (Some("invenio-app"), 40));
        assert_eq!(own.storage, Storage { buckets: vec!["default".into()], application: None });
        assert!(own.password() != endpoint.password() && endpoint.user.as_deref() == Some("invenio"));
        assert_ne!(application_secret(&Secret::new("a")), application_secret(&Secret::new("b")));
    }

    #[test]
    fn another_server_is_run_by_its_command_with_its_login_in_its_environment() {
        let launch = launched(
            "[services.minio]\ncommand = [\"/opt/weed\", \"mini\", \"-dir={data}\", \"-s3.port={port.s3}\", \"-m={port.master}\"]\n\
             ports = { s3 = 8333, master = 9333 }\nenv = { AWS_ACCESS_KEY_ID = \"{user}\", AWS_SECRET_ACCESS_KEY = \"{secret}\" }\n",
        );
        let process = &launch.processes[0];
        assert_eq!(process.argv[2..], ["-dir=/p/.ecosystem/minio/data", "-s3.port=8433", "-m=9433"]);
        let names = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
        assert_eq!(names.map(|name| process.env[name].as_str()), ["invenio", "s3cret"]);
        assert!(!format!("{:?}", process.labels).contains("s3cret"), "{:?}", process.labels);
        let endpoint = &launch.endpoint;
        assert_eq!(
            (endpoint.kind, endpoint.identity.as_str(), &launch.made_by),
            (Kind::Minio, "", &"minio weed".to_owned())
        );
        // It has no console, and no account beside its only one.
        assert_eq!(endpoint.ports.keys().collect::<Vec<_>>(), ["master", "s3"]);
        assert_eq!((&endpoint.storage.application, &endpoint.watched), (&None, &None));
    }
}
