//! OpenSearch Dashboards from an archive and from PATH: a stand-in that listens, checks its settings and serves as the real one does. The
//! real archive is in no registry of packages.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;

use camino::{Utf8Path, Utf8PathBuf};

use crate::json::fits;
use crate::provision::{Lab, file, sha512};

/// Behaves as its documentation says: refuses settings that it does not know, is not green with another search engine, changes nothing
/// without `osd-xsrf`, and stays in the foreground.
const STAND_IN: &str = r##"
import http.server, json, os, sys, urllib.request
settings = {}
for line in open(sys.argv[sys.argv.index("--config") + 1]):
    if not line.startswith("#"):
        name, value = line.rstrip("\n").split(": ", 1)
        settings[name] = json.loads(value) if value[0] in '"[{' else value
home = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
plugin = os.path.isdir(os.path.join(home, "plugins/securityDashboards"))
if any(name.startswith("opensearch_security") for name in settings) and not plugin:
    sys.exit("FATAL  Error: Unknown configuration key(s): opensearch_security.enabled")
if plugin and settings.get("opensearch_security.enabled") != "false":
    sys.exit("FATAL  the security plugin needs that of the server")
assert os.environ["NODE_OPTIONS"] == "--max-old-space-size=512"
assert settings["telemetry.enabled"] == "false"
saved = os.path.join(settings["path.data"], "saved.json")
objects = json.load(open(saved)) if os.path.exists(saved) else {"patterns": {}, "settings": {}}

class Handler(http.server.BaseHTTPRequestHandler):
    def reply(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
    def do_GET(self):
        if self.path == "/api/status":
            with urllib.request.urlopen(settings["opensearch.hosts"][0], timeout=1) as server:
                version = json.load(server)["version"]["number"]
            state = "green" if version.startswith("2.") else "red"
            part = {"id": "core:opensearch@2.3.0", "state": state, "message": "incompatible with v" + version}
            self.reply(200, {"name": settings["server.name"], "status": {"overall": {"state": state}, "statuses": [part]}})
        else:
            self.reply(200, {"settings": objects["settings"]})
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if "osd-xsrf" not in self.headers:
            return self.reply(400, {"message": "Request must contain a osd-xsrf header."})
        name = self.path.rsplit("/", 1)[1]
        if "index-pattern" in self.path:
            if name in objects["patterns"]:
                return self.reply(409, {"message": "conflict"})
            objects["patterns"][name] = body["attributes"]["title"]
        else:
            objects["settings"][name] = {"userValue": body["value"]}
        json.dump(objects, open(saved, "w"))
        self.reply(200, {})

http.server.ThreadingHTTPServer((settings["server.host"], int(settings["server.port"])), Handler).serve_forever()
"##;

/// Lays out a stand-in as the official archive is laid out.
fn lay_out(home: &Utf8Path) {
    let program =
        "#!/bin/sh\nexec \"$(dirname \"$0\")/../node/bin/node\" \"$(dirname \"$0\")/../src/cli.py\" \"$@\"\n";
    let node = "#!/bin/sh\nif [ \"$1\" = --version ]; then echo v14.20.0; else exec python3 \"$@\"; fi\n";
    let files = [
        ("package.json", "{\"version\": \"2.3.0\"}", 0o644),
        ("src/cli.py", STAND_IN, 0o644),
        ("bin/opensearch-dashboards", program, 0o755),
        ("node/bin/node", node, 0o755),
        ("plugins/securityDashboards/opensearch_dashboards.json", "{}", 0o644),
    ];
    for (name, content, mode) in files {
        let path = home.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        file(&path, content.as_bytes());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
}

/// The stand-in as an archive, and its checksum.
fn archive(folder: &Utf8Path) -> (Utf8PathBuf, String) {
    let home = folder.join("opensearch-dashboards-2.3.0");
    lay_out(&home);
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_dir_all("opensearch-dashboards-2.3.0", &home).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar.into_inner().unwrap()).unwrap();
    let bytes = gzip.finish().unwrap();
    let path = folder.join("opensearch-dashboards-2.3.0-linux-x64.tar.gz");
    file(&path, &bytes);
    (path, sha512(&bytes))
}

/// A search engine of somebody else that says no more than it must. It ends with the test process.
fn search(version: &'static str) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = String::new();
            let mut reader = BufReader::new(&stream);
            while reader.read_line(&mut head).is_ok_and(|read| read > 2) {}
            let body = if head.contains("/_cluster/health") {
                r#"{"status":"green"}"#.to_owned()
            } else {
                format!(
                    r#"{{"cluster_name":"theirs","version":{{"distribution":"opensearch","number":"{version}"}}}}"#
                )
            };
            // Whoever asked may be gone.
            let _gone = write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    port
}

/// A lab with a search engine, whose manifest says this of Dashboards.
fn lab(lines: &str) -> Lab {
    let lab = Lab::new();
    say(&lab, search("2.3.0"), lines);
    lab
}

fn say(lab: &Lab, search: u16, lines: &str) {
    lab.place.manifest(&format!(
        "profiles.consoles = [\"opensearch\", \"dashboards\"]\n[services.opensearch]\nexternal = \"http://127.0.0.1:{search}\"\n\
         [services.dashboards]\nports.http = 8025\n{lines}"
    ));
}

/// The answer of what runs.
fn ask(lab: &Lab, path: &str) -> serde_json::Value {
    use std::io::Read;
    let mut stream = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, lab.place.port(8025))).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[test]
fn it_runs_from_its_archive_and_shows_the_indices_of_the_project_first() {
    let lab = lab("");
    let (path, sum) = archive(&lab.folder);
    let url = format!("file://{}", path.as_str().replace(' ', "%20"));
    let port = search("2.3.0");
    say(&lab, port, &format!("get = \"{url}\"\nsha512 = \"{sum}\"\n"));
    // What it shows is brought along, whoever runs it.
    let up = lab.json(&["up", "dashboards"]);
    fits("Running", &up);
    let names: Vec<_> = up["services"].as_array().unwrap().iter().map(|s| s["name"].clone()).collect();
    assert_eq!(
        (names, up["left_out"].as_array().unwrap().len()),
        (vec!["dashboards".into(), "opensearch".into()], 0)
    );
    let saved = lab.place.state().join("dashboards/data/saved.json");
    let saved =
        || serde_json::from_str::<serde_json::Value>(&std::fs::read_to_string(&saved).unwrap()).unwrap();
    assert_eq!(saved()["patterns"]["ecosystem"], "invenio-*");
    assert_eq!(saved()["settings"]["defaultIndex"]["userValue"], "ecosystem");
    assert_eq!(lab.json(&["up", "dashboards"])["unchanged"], true);
    // A second start finds the pattern and goes on.
    lab.ok(&["restart", "dashboards"]);
    let name = ask(&lab, "/api/status")["name"].as_str().unwrap().to_owned();
    assert!(name.starts_with("ecosystem-"), "{name}");
    let opened = lab.json(&["open", "dashboards"]);
    assert_eq!(opened["address"], format!("http://127.0.0.1:{}", lab.place.port(8025)));
    let status = lab.json(&["status"]);
    let dashboards =
        status["services"].as_array().unwrap().iter().find(|s| s["name"] == "dashboards").unwrap();
    assert_eq!((&dashboards["state"], &dashboards["version"]), (&"ready".into(), &"2.3.0".into()));

    // The security plugin is not there, and so it knows no setting of it.
    say(
        &lab,
        port,
        &format!(
            "get = \"{url}\"\nsha512 = \"{sum}\"\nsettings = {{ \"opensearch_security.enabled\" = false }}\n"
        ),
    );
    let refused = lab.run(&["up", "dashboards"]);
    assert!(refused.status == 4 && refused.stderr.contains("is not for a manifest to set"), "{refused}");
}

#[test]
fn it_runs_from_path_with_its_security_plugin_switched_off() {
    let mut lab = lab("from = \"path\"\n");
    let home = lab.folder.join("opensearch-dashboards");
    lay_out(&home);
    lab.set("PATH", format!("{home}/bin:/usr/bin:/bin"));
    lab.ok(&["up", "dashboards"]);
    assert!(home.join("plugins/securityDashboards").exists(), "it is not ours to remove");
    lab.ok(&["down"]);
}

#[test]
fn it_does_not_become_ready_with_a_search_engine_that_it_does_not_fit_and_says_why() {
    let lab = lab("");
    let (path, sum) = archive(&lab.folder);
    let url = format!("file://{}", path.as_str().replace(' ', "%20"));
    say(&lab, search("1.2.4"), &format!("get = \"{url}\"\nsha512 = \"{sum}\"\n"));
    let run = lab.run(&["up", "dashboards", "--timeout", "2"]);
    assert_eq!(run.status, 5, "{run}");
    assert!(run.stderr.contains("its state is red: core:opensearch@2.3.0 incompatible with v1.2.4"), "{run}");
}

#[test]
fn where_it_cannot_be_had_a_profile_goes_on_without_it_and_says_so_in_one_line() {
    let mut lab = lab("");
    // No container engine either.
    lab.set("PATH", "/nowhere");
    let up = lab.json(&["up", "--profile", "consoles"]);
    fits("Running", &up);
    let left = &up["left_out"][0];
    assert_eq!(left["service"], "dashboards");
    assert!(left["next"].as_str().unwrap().contains("sha512"), "{left}");
    let run = lab.ok(&["up", "@consoles"]);
    let lines: Vec<_> = run.stdout.lines().filter(|line| line.contains("dashboards")).collect();
    assert_eq!(lines.len(), 1, "{run}");
    assert!(lines[0].starts_with("Left out dashboards: no registry of packages has it"), "{run}");
    let plan = lab.json(&["up", "--profile", "consoles", "--dry-run"]);
    fits("Planned", &plan);
    assert_eq!(plan["left_out"][0]["service"], "dashboards");

    // Whoever names it wants it.
    let named = lab.run(&["up", "@consoles", "dashboards"]);
    assert_eq!(named.status, 3, "{named}");
    assert!(named.stderr.contains("into [services.dashboards] of ecosystem.toml"), "{named}");
    let port = search("2.3.0");
    say(&lab, port, "from = \"path\"\n");
    let up = lab.json(&["up", "--profile", "consoles"]);
    assert!(up["left_out"][0]["reason"].as_str().unwrap().contains("is not installed"), "{up}");
    // What only it needs is not brought along.
    lab.place.manifest("profiles.core = [\"alone\", \"dashboards\"]\nservices.alone = { kind = \"process\", command = [\"/bin/sleep\", \"600\"] }\n");
    let up = lab.json(&["up"]);
    let names: Vec<_> = up["services"].as_array().unwrap().iter().map(|s| s["name"].clone()).collect();
    assert_eq!(names, ["alone"]);
    say(&lab, port, "via = \"native\"\n");
    let unnamed = lab.run(&["up", "dashboards"]);
    assert!(unnamed.status == 3 && unnamed.stderr.contains("error[archive-unnamed]"), "{unnamed}");
}
