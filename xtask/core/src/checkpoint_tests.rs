//! Checkpoints as values: names, what fits, and every point at which moving folders can be interrupted.

use super::*;
use crate::model::{Flags, Layer, resolve};

fn stored(made_by: &str, backend: Backend) -> Stored {
    let made_by = Some(made_by.to_owned()).filter(|text| !text.is_empty());
    Stored { backend, made_by, password: None, image: None, bytes: 1 }
}

fn checkpoint(services: Vec<(&str, Stored)>) -> Checkpoint {
    let services = services.into_iter().map(|(name, stored)| (name.to_owned(), stored)).collect();
    Checkpoint { format: FORMAT, made: "2026-11-24T10:00:00Z".into(), place: "a-1".into(), services }
}

fn services(manifest: &str) -> BTreeMap<String, Service> {
    resolve(&[Layer { name: "ecosystem.toml", text: manifest }], &Flags::default()).unwrap().services
}

fn against(checkpoint: &Checkpoint, manifest: &str, place: &str, data: &[&str]) -> Vec<String> {
    let data = data.iter().map(ToString::to_string).collect();
    let secret = |name: &str| Secret::new(format!("word of {name}"));
    problems(checkpoint, &Present { place, services: &services(manifest), secret: &secret, data: &data })
}

#[test]
fn names_are_those_of_services() {
    for name in ["a", "before-migration", "v2", &"x".repeat(63)] {
        assert!(check_name(name).is_ok(), "{name}");
    }
    for name in ["", "-a", "2a", "A", "a_b", "a.tmp", "..", ".restoring", "a/b", "a b", "é", &"x".repeat(64)]
    {
        assert_eq!(check_name(name).unwrap_err().code, "checkpoint-name", "{name}");
        assert!(!is_left_over(name) || name.contains('.'));
    }
    assert!([".restoring", ".replaced", "a.tmp", ".restore.toml.7.tmp"].into_iter().all(is_left_over));
    assert!(!["a", "restore.toml", "tmp"].into_iter().any(is_left_over));
}

#[test]
fn what_fits_is_restored_whatever_else_there_is() {
    let stored = checkpoint(vec![
        ("postgresql", stored("postgresql 12", Backend::Native)),
        ("redis", stored("redis 7", Backend::Native)),
        // The manifest does not name it any more.
        ("mail", stored("process 1", Backend::Native)),
    ]);
    assert_eq!(against(&stored, "", "a-1", &["redis", "postgresql"]), [""; 0]);
}

#[test]
fn all_that_does_not_fit_is_told_at_once() {
    let mut taken = checkpoint(vec![
        ("postgresql", stored("postgresql 12", Backend::Native)),
        ("redis", stored("redis 7", Backend::Compose)),
        ("opensearch", stored("opensearch 2", Backend::Native)),
        ("rabbitmq", stored("redis 7", Backend::Native)),
    ]);
    let word = |of: &str| Some(proof("a-1", "postgresql", &Secret::new(of)));
    taken.services.get_mut("postgresql").unwrap().password = word("another");
    taken.services.get_mut("opensearch").unwrap().password = None;
    let manifest = "release = \"v12\"\nservices.mail = { kind = \"process\", command = [\"m\"] }\n";
    let told = against(&taken, manifest, "b-2", &["mail", "redis"]);
    insta::assert_snapshot!(told.join("\n"), @r"
    it was made in a place called a-1, and this one is called b-2
    postgresql: its data was made with another password than it has now
    postgresql: its data was made by postgresql 12, and postgresql 14 is wanted now
    rabbitmq: its data was made by redis 7, and rabbitmq is wanted now
    redis: it holds data of the backend compose, and native runs it now
    mail: it has data now, and had none then
    ");
    taken.services.get_mut("postgresql").unwrap().password = word("word of postgresql");
    assert!(!against(&taken, "", "a-1", &[]).join("\n").contains("password"));
}

#[test]
fn an_image_tells_the_version_of_a_volume_or_nothing_does() {
    let compose = "backend = \"compose\"\n";
    let of = |made_by: &str| checkpoint(vec![("postgresql", stored(made_by, Backend::Compose))]);
    assert_eq!(against(&of("postgresql 12"), compose, "a-1", &[]), [""; 0]);
    assert_eq!(against(&of(""), compose, "a-1", &[]), [""; 0]);
    assert_eq!(against(&of("postgresql 14"), compose, "a-1", &[]).len(), 1);
    let unknown = format!("{compose}services.postgresql.image = \"postgres:latest\"\n");
    assert_eq!(against(&of("postgresql 14"), &unknown, "a-1", &[]), [""; 0]);
}

#[test]
fn a_range_accepts_a_major_version_of_which_it_has_any() {
    let fits = |range: &str| (0..30).filter(|major| accepts_major(range, *major)).collect::<Vec<u64>>();
    assert_eq!(fits("12"), [12]);
    assert_eq!(fits(">=17, <20"), [17, 18, 19]);
    assert_eq!(fits(">=3.10, <4.2"), [3, 4]);
    assert_eq!(fits("~2.3"), [2]);
    assert_eq!(fits("no range").len(), 30);
}

#[test]
fn where_both_backends_keep_data_the_manifest_decides() {
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    let (processes, volumes) = (names(&["redis", "old"]), names(&["redis", "postgresql", "older"]));
    let manifest = "services.redis.via = \"compose\"\n";
    let all = kept(&processes, &volumes, &services(manifest));
    let all: Vec<String> = all.into_iter().map(|(name, backend)| format!("{name} {backend}")).collect();
    // What postgresql has in a volume is of a time when containers ran it.
    assert_eq!(all, ["old native", "older compose", "redis compose"]);
}

/// A folder or nothing: staged, in its place, replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct World {
    staged: bool,
    present: Option<&'static str>,
    replaced: Option<&'static str>,
}

fn step(world: &mut World, step: Move) {
    match step {
        Move::Away => world.replaced = world.present.take(),
        Move::In => {
            assert_eq!(world.present, None, "nothing is renamed over a folder");
            world.present = world.staged.then_some("new");
            world.staged = false;
        }
    }
}

#[test]
fn however_often_moving_is_interrupted_the_staged_data_ends_up_in_its_place() {
    for present in [Some("old"), None] {
        for interrupted in 0..=2 {
            let mut world = World { staged: true, present, replaced: None };
            for left in moves(world.staged, world.present.is_some()).iter().take(interrupted) {
                step(&mut world, *left);
            }
            for left in moves(world.staged, world.present.is_some()) {
                step(&mut world, *left);
            }
            assert_eq!(world, World { staged: false, present: Some("new"), replaced: present });
            assert!(moves(world.staged, true).is_empty());
        }
    }
}

#[test]
fn a_checkpoint_and_a_journal_are_read_as_they_were_written() {
    let mut taken = checkpoint(vec![("redis", stored("redis 7", Backend::Native))]);
    taken.services.get_mut("redis").unwrap().password = Some(proof("a-1", "redis", &Secret::new("hush")));
    let text = toml::to_string(&taken).unwrap();
    assert!(!text.contains("hush"), "{text}");
    assert_eq!(toml::from_str::<Checkpoint>(&text).unwrap(), taken);
    let journal = Journal { format: FORMAT, checkpoint: "a".into(), services: taken.services };
    assert_eq!(toml::from_str::<Journal>(&toml::to_string(&journal).unwrap()).unwrap(), journal);
}

#[test]
fn a_volume_of_a_checkpoint_is_none_of_a_service() {
    let place = Place {
        id: "a-1".into(),
        root: "/p".into(),
        state: "/p/.ecosystem".into(),
        store: "/s".into(),
        offset: 0,
    };
    let volume = volume(&place, "before", "redis");
    assert_eq!(volume, "ecosystem-a-1_checkpoint-before_redis");
    assert!(!is_name(volume.strip_prefix("ecosystem-a-1_").unwrap()));
}
