//! RabbitMQ: two processes, two logins, and no confirmed message lost by the quick stop.

use crate::amqp::Broker;
use crate::clients::manage;
use crate::support::{Place, kill, processes};

/// How often the durability test goes round; the environment may ask for more.
#[expect(clippy::disallowed_methods, reason = "a test has no context to read it in")]
fn rounds() -> usize {
    std::env::var("ECOSYSTEM_ROUNDS").map_or(1, |text| text.parse().unwrap())
}

#[test]
fn confirmed_persistent_messages_survive_the_quick_stop() {
    let place = Place::heavy();
    place.ok(&["up", "rabbitmq"]);
    let env = place.env();
    for round in 0..rounds() {
        let queue = format!("survivors-{round}");
        let messages: Vec<String> = (0..1000).map(|number| format!("{round}/{number}")).collect();
        let mut broker = Broker::login(&env).unwrap();
        assert_eq!(broker.declare(&queue), 0);
        broker.publish(&queue, &messages);
        // No pause, no goodbye: the last confirmation has just arrived.
        place.ok(&["down"]);
        drop(broker);
        place.ok(&["up", "rabbitmq"]);
        let mut broker = Broker::login(&env).unwrap();
        assert_eq!(broker.declare(&queue), 1000, "round {round}");
        assert_eq!(broker.take_all(&queue), messages, "round {round}");
    }
}

#[test]
fn both_logins_work_and_both_processes_are_ours_and_come_back() {
    let place = Place::heavy();
    place.ok(&["up", "rabbitmq"]);
    let env = place.env();
    Broker::login(&env).unwrap().publish("", &[]);
    let (status, overview) = manage(&env, "GET", "/api/overview");
    assert_eq!((status, overview["rabbitmq_version"].as_str()), (200, Some("3.10.8")), "{overview}");

    let (user, rest) = env["AMQP_URL"].rsplit_once(':').unwrap();
    assert!(rest.starts_with(&place.port(5872).to_string()), "{user}");
    let secret = place.secrets().remove(0);
    let wrong = env.iter().map(|(key, value)| (key.clone(), value.replace(&secret, "guest"))).collect();
    let refused = Broker::login(&wrong).err().unwrap();
    assert!(refused.starts_with("403"), "{refused}");
    assert_eq!(manage(&wrong, "GET", "/api/overview").0, 401);
    assert_eq!(place.json(&["up", "rabbitmq"])["unchanged"], true);

    // The port mapper is our own child, not a daemon that the broker has started.
    let pids = place.pids("rabbitmq");
    assert_eq!(pids.keys().collect::<Vec<_>>(), ["epmd", "rabbitmq"]);
    let here = place.processes();
    let mappers = processes().into_iter().filter(|(pid, words)| {
        here.contains(pid) && words.first().is_some_and(|word| word.ends_with("/epmd"))
    });
    assert_eq!(mappers.map(|(pid, _)| Some(pid)).collect::<Vec<_>>(), [pids["epmd"]]);

    // Whatever dies alone, `up` makes whole again.
    for process in ["rabbitmq", "epmd"] {
        place.kill("rabbitmq", process);
        place.ok(&["up", "rabbitmq"]);
        place.ok(&["status"]);
        Broker::login(&env).unwrap();
    }
    let cookie = std::fs::read_to_string(place.state().join("rabbitmq/home/.erlang.cookie")).unwrap();
    for log in ["rabbitmq-epmd.log", "rabbitmq.log", "supervisor.log"] {
        let text = std::fs::read_to_string(place.state().join("logs").join(log)).unwrap();
        assert!(!text.contains(&secret) && !text.contains(cookie.trim()), "{log} tells a secret");
    }
    kill(place.supervisor().unwrap(), rustix::process::Signal::KILL);
    crate::support::eventually("nothing is left", || place.processes().is_empty());
}
