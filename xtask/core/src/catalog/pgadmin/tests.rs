//! What pgAdmin is told, and who may read it.

use super::super::{Around, launch as launched};
use super::*;
use crate::artifact::{Facts, Installation, Installed, Key};
use crate::model::{Flags, Layer, resolve};
use crate::process::RunAs;

fn launch(text: &str) -> Launch {
    let ecosystem = resolve(&[Layer { name: "m", text }], &Flags::default()).unwrap();
    let place = Place {
        id: "x-1".into(),
        root: "/p".into(),
        state: "/p/.ecosystem".into(),
        store: "/s".into(),
        offset: 100,
    };
    let bind = ecosystem.bind.value.as_str();
    let around = Around::of(&ecosystem.services, &place, bind, "", |_| Secret::new("s3c:ret"));
    let installed = |name: &str, version: &str, paths: &[(&str, &str)]| {
        let paths = paths.iter().map(|(role, path)| ((*role).to_owned(), (*path).into())).collect();
        let facts = Facts { paths, ..Facts::default() };
        let (name, version) = (name.to_owned(), version.to_owned());
        (name.clone(), Installed { name, version, key: Key::of([]), root: "/s".into(), facts })
    };
    let installed = Installation::from([
        installed("pgadmin", "5.2", &[("python", "/s/venv/bin/python"), ("packages", "/s/venv/lib")]),
        installed("nginx", "1.22.1", &[("server", "/s/nginx")]),
    ]);
    launched(Inputs {
        service: &ecosystem.services["pgadmin"],
        place: &place,
        bind,
        installed: &installed,
        run_as: RunAs::Me,
        secret: &Secret::new("k3y&<"),
        around: &around,
    })
}

fn content<'a>(launch: &'a Launch, name: &str) -> &'a Content {
    &launch.files.iter().find(|file| file.path.file_name() == Some(name)).unwrap().content
}

#[test]
fn it_knows_the_database_and_asks_for_no_password() {
    let launch = launch("");
    let argv: Vec<String> =
        launch.processes.iter().map(|p| format!("{}: {}", p.id(), p.argv.join(" "))).collect();
    insta::assert_snapshot!(argv.join("\n"), @r"
    pgadmin: /s/venv/bin/python /p/.ecosystem/pgadmin/pgadmin.py
    pgadmin/nginx: /s/nginx -p /p/.ecosystem/pgadmin/nginx -e stderr -c nginx.conf
    ");
    let Content::Secret(settings) = content(&launch, "settings.json") else { panic!("it has the key") };
    insta::assert_snapshot!(settings, @r#"
    {
      "key": "k3y&<",
      "cookie": "pgadmin_x-1",
      "service": "pgadmin",
      "package": "/s/venv/lib/pgadmin4",
      "config": {
        "SERVER_MODE": false,
        "DEFAULT_SERVER": "127.0.0.1",
        "DEFAULT_SERVER_PORT": 5350,
        "DATA_DIR": "/p/.ecosystem/pgadmin/data",
        "LOG_FILE": "/dev/null",
        "SQLITE_PATH": "/p/.ecosystem/pgadmin/data/pgadmin4.db",
        "SESSION_DB_PATH": "/p/.ecosystem/pgadmin/data/sessions",
        "STORAGE_DIR": "/p/.ecosystem/pgadmin/data/storage",
        "AZURE_CREDENTIAL_CACHE_DIR": "/p/.ecosystem/pgadmin/data/azure",
        "KERBEROS_CCACHE_DIR": "/p/.ecosystem/pgadmin/data/kerberos",
        "SESSION_COOKIE_NAME": "pgadmin_session_x-1",
        "MASTER_PASSWORD_REQUIRED": false,
        "UPGRADE_CHECK_ENABLED": false,
        "ALLOWED_HOSTS": [
          "localhost",
          "127.0.0.1"
        ]
      },
      "servers": {
        "postgresql": {
          "host": "127.0.0.1",
          "port": 5732,
          "maintenance_db": "invenio",
          "username": "invenio",
          "passfile": "/p/.ecosystem/pgadmin/pgpass"
        }
      }
    }
    "#);
    let passwords = Content::Secret("127.0.0.1:5732:*:invenio:s3c\\:ret\n".to_owned());
    assert_eq!(*content(&launch, "pgpass"), passwords);
    assert_eq!(launch.processes[0].labels["shows.postgresql"], "invenio at 127.0.0.1:5732");
    assert_eq!(launch.processes[0].rules.after, ["postgresql"]);
}

#[test]
fn its_key_is_in_files_of_this_user_alone() {
    let launch = launch("");
    let Content::Secret(page) = content(&launch, "open.html") else { panic!("it has the key") };
    assert!(page.contains("url=http://127.0.0.1:5350/?key=k3y%26%3C\">"), "{page}");
    for process in &launch.processes {
        let told = format!("{:?} {:?} {:?}", process.argv, process.env, process.labels);
        assert!(!told.contains("k3y") && !told.contains("s3c"), "{told}");
    }
    for file in &launch.files {
        let shown =
            matches!(&file.content, Content::Text(text) if text.contains("k3y") || text.contains("s3c"));
        assert!(!shown, "{}", file.path);
    }
}

#[test]
fn another_server_is_another_recipe_and_a_changed_address_is_named() {
    let (one, other) = (launch(""), launch("services.postgresql.ports = { sql = 7000 }"));
    assert_eq!(other.processes[0].labels["shows.postgresql"], "invenio at 127.0.0.1:7100");
    assert_ne!(one.processes[0].labels["recipe"], other.processes[0].labels["recipe"]);
    let theirs = launch("services.postgresql.external = \"postgresql://me:pw@10.0.0.5:5433/theirs\"");
    let Content::Secret(passwords) = content(&theirs, "pgpass") else { panic!("it has a password") };
    assert_eq!(passwords, "10.0.0.5:5433:*:me:pw\n");
}

#[test]
fn opened_to_the_network_it_is_reached_by_https_under_any_name() {
    let launch = launch("bind = \"0.0.0.0\"");
    let settings = content(&launch, "settings.json").text();
    assert!(
        settings.contains("\"DEFAULT_SERVER\": \"127.0.0.1\"") && settings.contains("\"ALLOWED_HOSTS\": []")
    );
    assert!(content(&launch, "nginx.conf").text().contains("listen 0.0.0.0:5351 ssl"));
}

#[test]
fn settings_of_its_own_are_refused() {
    let text = "services.pgadmin.settings = { SERVER_MODE = true }";
    assert!(resolve(&[Layer { name: "m", text }], &Flags::default()).is_err());
}
