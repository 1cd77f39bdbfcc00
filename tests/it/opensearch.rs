//! OpenSearch: the real server of the release, with the modules and plugins that the manifest names.

use std::collections::BTreeSet;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::clients::{Env, search};
use crate::support::{Place, eventually, kill};

/// The names of what the only node has loaded: `modules` or `plugins`.
fn loaded(env: &Env, what: &str) -> BTreeSet<String> {
    let nodes = search(env, "GET", "/_nodes/plugins", None);
    let node = nodes["nodes"].as_object().unwrap().values().next().unwrap().clone();
    node[what].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn it_is_the_documented_one_and_keeps_its_documents() {
    let place = Place::heavy();
    place.ok(&["up", "opensearch"]);
    let env = place.env();
    let root = search(&env, "GET", "/", None);
    assert_eq!(root["version"]["number"], "2.3.0", "{root}");
    assert_eq!(root["version"]["distribution"], "opensearch", "{root}");
    let id = place.json(&["status"])["place"].as_str().unwrap().to_owned();
    assert!(root["cluster_name"].as_str().unwrap().contains(&id), "{root} does not name {id}");
    assert_eq!(place.json(&["up", "opensearch"])["unchanged"], true);

    let release: toml::Table = std::fs::read_to_string(crate::support::repository().join("ecosystem.toml"))
        .unwrap()
        .parse()
        .unwrap();
    let wanted = release["services"]["opensearch"]["modules"].as_array().unwrap();
    let modules = loaded(&env, "modules");
    for module in wanted.iter().map(|module| module.as_str().unwrap()) {
        assert!(modules.contains(module), "{module} is not among {modules:?}");
    }
    assert_eq!(loaded(&env, "plugins"), BTreeSet::new());
    let left = search(&env, "GET", "/_cat/indices?format=json&expand_wildcards=all", None);
    assert_eq!(left, json!([]), "looking whether it is usable leaves nothing behind");

    // Acknowledged is kept, whatever ends the server.
    let ends: [&dyn Fn(); 3] =
        [&|| drop(place.ok(&["down"])), &|| place.kill("opensearch", "opensearch"), &|| {
            kill(place.supervisor().unwrap(), Signal::KILL);
            eventually("nothing listens", || place.listening().is_empty());
        }];
    for (round, end) in ends.into_iter().enumerate() {
        let document = json!({"round": round});
        search(&env, "PUT", &format!("/kept/_doc/{round}"), Some(&document));
        end();
        place.ok(&["up", "opensearch"]);
        let found = search(&env, "GET", &format!("/kept/_doc/{round}"), None);
        assert_eq!(found["_source"], document);
    }
    search(&env, "POST", "/kept/_refresh", None);
    assert_eq!(search(&env, "GET", "/kept/_count", None)["count"], 3);
}

#[test]
fn an_unknown_module_is_refused_before_anything_starts() {
    let place = Place::new();
    place.manifest("services.opensearch.modules = [\"geo\", \"analysis-commons\"]\n");
    for command in [&["up", "redis", "opensearch"][..], &["up", "opensearch", "--dry-run"]] {
        let refused = place.run(command);
        assert_eq!(refused.status, 4, "{refused}");
        for part in ["no module `analysis-commons`", "modules: ", "analysis-common, ", "transport-netty4"] {
            assert!(refused.stderr.contains(part), "{part} is missing in\n{refused}");
        }
        assert_eq!((place.supervisor(), place.listening()), (None, vec![]));
    }
}

#[test]
fn a_plugin_of_the_manifest_is_fetched_and_works() {
    let place = Place::heavy();
    place.manifest("services.opensearch.plugins = [\"analysis-icu\"]\n");
    place.ok(&["up", "opensearch"]);
    let env = place.env();
    assert_eq!(loaded(&env, "plugins"), BTreeSet::from(["analysis-icu".to_owned()]));
    let text = json!({"tokenizer": "icu_tokenizer", "filter": ["icu_folding"], "text": "Žluťoučký KŮŇ"});
    let answer = search(&env, "POST", "/_analyze", Some(&text));
    let tokens: Vec<&Value> = answer["tokens"].as_array().unwrap().iter().map(|t| &t["token"]).collect();
    assert_eq!(tokens, ["zlutoucky", "kun"]);
}
