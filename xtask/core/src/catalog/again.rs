//! A service as it ran: started again as the supervisor knows it, without the manifest and without anything being decided anew.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};

use super::{Data, Fresh, Kind, Launch, postgresql, rabbitmq};
use crate::endpoint::Endpoint;
use crate::process::Process;

/// The folder with the data of a service that has run, in that of the service. `made_by` is what made it: `rabbitmq 3`.
pub fn data_folder(made_by: &str, home: &Utf8Path) -> Utf8PathBuf {
    home.join(if kind(made_by) == Some(Kind::Rabbitmq) { rabbitmq::DATA } else { "data" })
}

fn kind(made_by: &str) -> Option<Kind> {
    made_by.split(' ').next()?.parse().ok()
}

/// Puts the ports into an endpoint that were set when what runs was started, whatever the manifest says by now.
pub fn listens_where_it_did(endpoint: &mut Endpoint, labels: &BTreeMap<String, String>) {
    for (role, port) in &mut endpoint.ports {
        if let Some(was) = labels.get(&format!("ports.{role}")).and_then(|text| text.parse().ok()) {
            *port = was;
        }
    }
}

/// How a service is launched that ran as these processes a moment ago. Its configuration is on the disk.
pub fn again(processes: Vec<Process>, endpoint: Endpoint, made_by: &str, home: &Utf8Path) -> Launch {
    let mut processes = processes;
    // Helpers, such as a port mapper, come before the server, which is named after the service.
    processes.sort_by_key(|process| process.name == process.service);
    let mut endpoint = endpoint;
    if let Some(server) = processes.last() {
        listens_where_it_did(&mut endpoint, &server.labels);
    }
    let folder = data_folder(made_by, home);
    let helper = kind(made_by) == Some(Kind::Rabbitmq);
    Launch {
        processes,
        gate: endpoint.ports.get("epmd").copied().filter(|_| helper),
        files: Vec::new(),
        data: Data {
            lock: (kind(made_by) == Some(Kind::Postgresql)).then(|| folder.join(postgresql::LOCK)),
            version: None,
            folder,
            fresh: Fresh::Empty,
        },
        endpoint,
        made_by: made_by.to_owned(),
        settings: BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::{Rules, RunAs, Signal, Stop};

    fn process(name: &str) -> Process {
        Process {
            service: "rabbitmq".into(),
            name: name.into(),
            argv: Vec::new(),
            env: BTreeMap::new(),
            cwd: "/s/rabbitmq".into(),
            run_as: RunAs::Me,
            stop: Stop { signal: Signal::Term, grace_ms: 1 },
            log: "/dev/null".into(),
            log_limit: 1,
            labels: [("ports.epmd".to_owned(), "4499".to_owned())].into(),
            rules: Rules::default(),
        }
    }

    #[test]
    fn helpers_come_first_and_it_listens_where_it_did() {
        let endpoint = Endpoint {
            kind: Kind::Rabbitmq,
            host: "127.0.0.1".into(),
            ports: [("epmd".to_owned(), 4399), ("amqp".to_owned(), 5872)].into(),
            user: None,
            secret: None,
            database: None,
            identity: String::new(),
            watched: None,
            storage: crate::endpoint::Storage::default(),
        };
        let processes = vec![process("rabbitmq"), process("epmd")];
        let launch = again(processes, endpoint, "rabbitmq 3", "/s/rabbitmq".into());
        let names: Vec<&str> = launch.processes.iter().map(|process| process.name.as_str()).collect();
        assert_eq!((names.as_slice(), launch.gate), (&["epmd", "rabbitmq"][..], Some(4499)));
        assert_eq!(launch.data.folder, "/s/rabbitmq/mnesia");
        assert_eq!(data_folder("redis 7", "/s/redis".into()), "/s/redis/data");
    }
}
