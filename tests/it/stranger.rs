//! Ports that somebody else holds: refused before anything starts, and the holder is named.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};

use crate::support::{Place, Run};

/// Every port of the release that a server of ours listens on.
const ROLES: [(&str, &str, u16); 8] = [
    ("postgresql", "sql", 5632),
    ("redis", "redis", 6579),
    ("rabbitmq", "amqp", 5872),
    ("rabbitmq", "http", 15872),
    ("rabbitmq", "epmd", 4399),
    ("rabbitmq", "distribution", 25872),
    ("opensearch", "http", 9400),
    ("opensearch", "cluster", 9800),
];

fn listen(place: &Place, address: impl Into<IpAddr>, port: u16) -> TcpListener {
    TcpListener::bind((address.into(), place.port(port))).unwrap()
}

/// Refused, with this process named as the holder.
#[track_caller]
fn names_this_test(place: &Place, run: &Run, wanted: &str) {
    assert_eq!(run.status, 5, "{run}");
    let command = std::fs::read_to_string("/proc/self/cmdline").unwrap().replace('\0', " ");
    let beginning: String = command.chars().take(60).collect();
    for part in ["error[port-taken]", wanted, &format!("pid {}: {}", std::process::id(), beginning.trim())] {
        assert!(run.stderr.contains(part), "{part} is missing in\n{run}");
    }
    assert_eq!(place.supervisor(), None, "nothing may be started");
}

#[test]
fn a_listener_on_any_port_is_refused_and_named() {
    let place = Place::new();
    for (service, role, port) in ROLES {
        let _stranger = listen(&place, Ipv4Addr::LOCALHOST, port);
        let what = if service == role { service.to_owned() } else { format!("{service} {role}") };
        let wanted = format!("port {} ({what}) is held by", place.port(port));
        names_this_test(&place, &place.run(&["up"]), &wanted);
        // Looking says the same.
        names_this_test(&place, &place.run(&["up", "--dry-run"]), &wanted);
    }
}

#[test]
fn a_listener_on_every_address_and_on_ours_in_disguise_is_noticed_too() {
    let place = Place::new();
    // The last is how Java listens on 127.0.0.1.
    let mapped = Ipv4Addr::LOCALHOST.to_ipv6_mapped();
    for address in
        [IpAddr::from(Ipv4Addr::UNSPECIFIED), IpAddr::from(Ipv6Addr::UNSPECIFIED), IpAddr::from(mapped)]
    {
        let _stranger = listen(&place, address, 6579);
        let wanted = format!("port {} (redis) is held by", place.port(6579));
        names_this_test(&place, &place.run(&["up", "redis"]), &wanted);
    }
}

#[test]
fn one_holder_of_many_ports_is_one_message() {
    let place = Place::new();
    let _strangers = ROLES.map(|(_, _, port)| listen(&place, Ipv4Addr::LOCALHOST, port));
    let refused = place.run(&["up"]);
    names_this_test(&place, &refused, &format!("{} (opensearch cluster)", place.port(9800)));
    assert_eq!(refused.stderr.matches("is held by").count(), 0, "{refused}");
    assert_eq!(refused.stderr.matches("are held by").count(), 1, "{refused}");
}

#[test]
fn a_port_of_a_service_that_is_not_wanted_does_not_matter() {
    let place = Place::new();
    let _stranger = listen(&place, Ipv4Addr::LOCALHOST, 9400);
    place.ok(&["up", "redis"]);
}

#[test]
fn a_listener_on_the_other_loopback_does_not_matter() {
    let place = Place::new();
    let _stranger = listen(&place, Ipv6Addr::LOCALHOST, 6579);
    place.ok(&["up", "redis"]);
    place.ok(&["status"]);
}
