//! Layers, origins and relations of the model, written down as manifests.

use super::*;
use crate::model::failure;

fn one(text: &str) -> Result<Ecosystem, Vec<Problem>> {
    resolve(&[Layer { name: "ecosystem.toml", text }], &Flags::default())
}

fn wrong(text: &str) -> String {
    failure(&one(text).unwrap_err()).message
}

#[test]
fn no_manifest_means_the_documented_release() {
    let ecosystem = resolve(&[], &Flags::default()).unwrap();
    assert_eq!(
        (ecosystem.release.value.as_str(), ecosystem.bind.value.as_str()),
        ("documented", "127.0.0.1")
    );
    assert_eq!((ecosystem.port_offset.value, &ecosystem.seed), (0, &None));
    assert_eq!(ecosystem.profiles["recommended"].len(), 7);
    assert_eq!(ecosystem.services["postgresql"].ports["sql"].to_string(), "5632");
    assert_eq!(ecosystem.services["postgresql"].ports["sql"].origin.to_string(), "release documented");
    assert_eq!(ecosystem.runtimes["java"].accept, ">=17, <24");
    assert_eq!(ecosystem.tools.len(), 8);
}

#[test]
fn the_manifest_of_this_project_says_what_the_release_says() {
    let mut ours = one(include_str!("../../../../ecosystem.toml")).unwrap();
    assert_eq!(ours.seed.take().map(|seed| seed.value).as_deref(), Some("demo"));
    let defaults = resolve(&[], &Flags::default()).unwrap();
    // Serialised, values are without their origins.
    assert_eq!(serde_json::to_value(&ours).unwrap(), serde_json::to_value(&defaults).unwrap());
}

#[test]
fn later_layers_win_value_by_value_and_every_value_knows_its_layer() {
    let layers = [
        Layer {
            name: "ecosystem.toml",
            text: "port_offset = 100\n[services.rabbitmq]\nports = { amqp = 1, http = 2 }\nsettings.a = 1\n",
        },
        Layer {
            name: "ecosystem.local.toml",
            text: "port_offset = 200\n[services.rabbitmq]\nports.http = 3\nsettings.b = true\n",
        },
    ];
    let flags = Flags { port_offset: Some(300), ..Flags::default() };
    let ecosystem = resolve(&layers, &flags).unwrap();
    assert_eq!(ecosystem.port_offset, Sourced { value: 300, origin: Origin::Flag("--port-offset") });
    let rabbitmq = &ecosystem.services["rabbitmq"];
    let ports: Vec<_> = rabbitmq.ports.iter().map(|(r, p)| format!("{r} {p} {}", p.origin)).collect();
    assert_eq!(
        ports,
        [
            "amqp 1 ecosystem.toml:3",
            "distribution 25872 release documented",
            "epmd 4399 release documented",
            "http 3 ecosystem.local.toml:3",
        ]
    );
    let settings: Vec<_> = rabbitmq.settings.iter().map(|(n, v)| format!("{n}={v} {}", v.origin)).collect();
    assert_eq!(settings, ["a=1 ecosystem.toml:4", "b=true ecosystem.local.toml:4"]);
    assert_eq!(resolve(&layers, &Flags::default()).unwrap().port_offset.value, 200);
}

#[test]
fn a_kind_brings_its_defaults_under_any_name() {
    let ecosystem =
        one("[services.sessions]\nkind = \"redis\"\nports.redis = 7000\nfrom = \"path\"\n").unwrap();
    let sessions = &ecosystem.services["sessions"];
    assert_eq!((sessions.kind, sessions.from.value), (Kind::Redis, From::Path));
    assert_eq!(sessions.image, ecosystem.services["redis"].image);
    assert_eq!(ecosystem.services["redis"].ports["redis"].value, 6579);
}

#[test]
fn all_problems_of_all_layers_arrive_together() {
    let layers = [
        Layer {
            name: "ecosystem.toml",
            text: r#"release = "documentd"
bind = "10.0.0.1"
[profiles]
core = ["redis", "postgres", "@recomended", "app"]
[services.postgresql]
ports = { sql = 6579, sqll = 1 }
settings = { Port = 1, max_connections = 100 }
heap = "1g"
[services.kafka]
[services.redis]
plugins = ["a"]
modules = ["b"]
[services.search]
kind = "opensarch"
"#,
        },
        Layer { name: "ecosystem.local.toml", text: "prot_offset = 1\nbind = localhost\n" },
    ];
    let problems = resolve(&layers, &Flags { port_offset: Some(60000), ..Flags::default() }).unwrap_err();
    insta::assert_snapshot!(failure(&problems).message, @r#"
    16 problems in the manifest
      ecosystem.toml:1: this version knows no release "documentd"
          did you mean `documented`?
      ecosystem.toml:2: bind = "10.0.0.1" is not an IPv4 loopback address
          write "127.0.0.1"; "0.0.0.0" opens the servers to the network
      ecosystem.toml:4: profiles.core names the unknown service `postgres`
          did you mean `postgresql`?
      ecosystem.toml:4: profiles.core names the unknown profile `@recomended`
          did you mean `recommended`?
      ecosystem.toml:4: profiles.core names the unknown service `app`
          did you mean the profile `@app`?
      ecosystem.toml:6: services.postgresql has no port `sqll`
          did you mean `sql`?
      ecosystem.toml:6: services.postgresql.ports.sql is 6579, which is also services.redis.ports.redis (release documented)
          give services.postgresql.ports.sql a port of its own
      ecosystem.toml:7: services.postgresql.settings.Port is not for a manifest to set
          take the line out; ports, bind and the place of the data have keys or flags of their own
      ecosystem.toml:8: services.postgresql.heap: postgresql has no heap
          take the line out
      ecosystem.toml:9: services.kafka has no kind, and its name is none
          say what it is: kind = "…", one of postgresql, redis, rabbitmq, opensearch, dashboards, pgadmin, minio, invenio, process
      ecosystem.toml:11: services.redis.plugins: redis has no plugins
          take the line out
      ecosystem.toml:12: services.redis.modules: redis has no modules
          take the line out
      ecosystem.toml:14: services.search is of the unknown kind "opensarch"
          did you mean `opensearch`?
      ecosystem.local.toml:1: unknown key `prot_offset`
          did you mean `port_offset`?
      ecosystem.local.toml:2: this is not TOML: string values must be quoted, expected literal string
          put texts in "quotes", one `key = value` a line, each key once
      --port-offset: an offset of 60000 moves services.rabbitmq.ports.distribution from 25872 to 85872, and ports end at 65535
          use an offset of at most 39663
    "#);
}

#[test]
fn two_roles_on_one_port_name_each_other() {
    insta::assert_snapshot!(wrong("[services.redis]\nports.redis = 5632\n[services.minio]\nports = { s3 = 7000, console = 7000 }\n"), @"
    2 problems in the manifest
      ecosystem.toml:2: services.redis.ports.redis is 5632, which is also services.postgresql.ports.sql (release documented)
          give services.redis.ports.redis a port of its own
      ecosystem.toml:4: services.minio.ports.s3 is 7000, which is also services.minio.ports.console (ecosystem.toml:4)
          give services.minio.ports.s3 a port of its own
    ");
}

#[test]
fn of_two_equal_ports_the_one_in_the_later_layer_is_wrong() {
    let layers = [
        Layer { name: "ecosystem.toml", text: "services.redis.ports.redis = 7000" },
        Layer { name: "ecosystem.local.toml", text: "\nservices.minio.ports.s3 = 7000" },
    ];
    let problems = resolve(&layers, &Flags::default()).unwrap_err();
    assert_eq!(problems.iter().map(Problem::place).collect::<Vec<_>>(), ["ecosystem.local.toml:2"]);
}

#[test]
fn a_copy_of_a_service_needs_ports_of_its_own() {
    assert!(
        wrong("services.second.kind = \"redis\"")
            .contains("give services.second.ports.redis a port of its own")
    );
}

#[test]
fn the_offset_may_reach_the_last_port_and_no_further() {
    let offset = |offset| resolve(&[], &Flags { port_offset: Some(offset), ..Flags::default() });
    assert_eq!(offset(39663).unwrap().services["rabbitmq"].ports_at(39663)["distribution"], 65535);
    let problems = offset(39664).unwrap_err();
    insta::assert_snapshot!(failure(&problems).message, @"
    1 problem in the manifest
      --port-offset: an offset of 39664 moves services.rabbitmq.ports.distribution from 25872 to 65536, and ports end at 65535
          use an offset of at most 39663
    ");
}

#[test]
fn profiles_expand_in_order_and_once() {
    let ecosystem =
        one("[profiles]\na = [\"redis\", \"@b\", \"redis\"]\nb = [\"minio\", \"redis\", \"postgresql\"]\n")
            .unwrap();
    assert_eq!(ecosystem.profiles["a"], ["redis", "minio", "postgresql"]);
}

#[test]
fn a_diamond_of_profiles_is_no_circle() {
    let text = "[profiles]\na = [\"@b\", \"@c\"]\nb = [\"@d\"]\nc = [\"@d\"]\nd = [\"redis\"]\n";
    assert_eq!(one(text).unwrap().profiles["a"], ["redis"]);
}

#[test]
fn each_circle_of_profiles_is_told_once() {
    let text = "[profiles]\na = [\"@b\"]\nb = [\"@c\"]\nc = [\"@a\"]\nd = [\"@d\"]\ne = [\"@a\"]\n";
    insta::assert_snapshot!(wrong(text), @"
    2 problems in the manifest
      ecosystem.toml:4: the profiles @a → @b → @c → @a contain themselves
          take one of the `@` names out
      ecosystem.toml:5: the profiles @d → @d contain themselves
          take one of the `@` names out
    ");
}

#[test]
fn only_loopback_is_bound_without_a_word() {
    for good in ["127.0.0.1", "127.0.0.2"] {
        assert_eq!(one(&format!("bind = \"{good}\"")).unwrap().warnings, [], "{good}");
    }
    let open = one("bind = \"0.0.0.0\"").unwrap();
    assert_eq!(open.warnings.len(), 1);
    assert_eq!(open.warnings[0].place(), "ecosystem.toml:1");
    for bad in ["localhost", "192.168.1.1", "::", "::1", "127.0.0.1:80", "127.0.0.1 ", "*", "127.1"] {
        assert!(wrong(&format!("bind = \"{bad}\"")).contains("127.0.0.1"), "{bad}");
    }
}

#[test]
fn every_reserved_setting_of_every_kind_is_refused() {
    for kind in Kind::ALL {
        for setting in crate::catalog::reserved_settings(kind) {
            let setting = setting.replace('*', "anything");
            let text = format!("[services.{kind}.settings]\n\"{setting}\" = \"x\"\n");
            assert!(wrong(&text).contains("is not for a manifest to set"), "{text}");
        }
    }
}

#[test]
fn a_broken_kind_is_told_once_and_not_as_an_unknown_member() {
    let problems = one("profiles.all = [\"mail\"]\n[services.mail]\nports.smtp = 25\n").unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
}

#[test]
fn the_flag_decides_which_release_is_asked_for() {
    let layers = [Layer { name: "m", text: "release = \"v99\"" }];
    assert!(resolve(&layers, &Flags { release: Some("documented".into()), ..Flags::default() }).is_ok());
    let problems = resolve(&[], &Flags { release: Some("v98".into()), ..Flags::default() }).unwrap_err();
    assert_eq!(problems[0].place(), "--release");
}

#[test]
fn an_offset_of_an_earlier_up_holds_against_the_manifest_and_is_blamed_by_its_name() {
    let layers = [Layer { name: "ecosystem.toml", text: "port_offset = 100\n" }];
    let with = |port_offset, earlier| {
        let earlier = Asked { port_offset: Some(earlier), ..Asked::default() };
        resolve(&layers, &Flags { port_offset, earlier, ..Flags::default() })
    };
    assert_eq!(with(None, 300).unwrap().port_offset.value, 300);
    assert_eq!(with(Some(200), 300).unwrap().port_offset.value, 200);
    let problems = with(None, 65_000).unwrap_err();
    assert!(problems[0].place().contains("--port-offset of an earlier up"), "{problems:?}");
}
