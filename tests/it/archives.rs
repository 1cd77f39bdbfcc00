//! Packs as one file: made, loaded by name like any other, and refused where it is not clear what is meant.

use crate::clients::{number, sql};
use crate::json::fits;
use crate::support::Place;

#[test]
fn an_archive_is_loaded_as_its_folder_is() {
    let place = Place::new();
    place.ok(&["pack", "new", "big", "--synthetic", "200"]);
    let made = place.json(&["pack", "archive", "big"]);
    fits("ArchivedPack", &made);
    let (folder, file) = (place.root.join("seeds/big"), place.root.join("seeds/big.tar.zst"));
    assert_eq!((made["file"].as_str(), made["files"].as_u64()), (Some(file.as_str()), Some(12)));
    let told = place.run(&["pack", "archive", "big"]);
    assert!(told.status == 2 && told.stderr.contains("error[pack-exists]"), "{told}");

    place.ok(&["up", "--no-seed", "postgresql"]);
    for command in [&["seed", "big"][..], &["pack", "verify", "big"]] {
        let twice = place.run(command);
        assert!(twice.status == 2 && twice.stderr.contains("error[pack-ambiguous]"), "{twice}");
    }
    std::fs::rename(&folder, place.root.join("elsewhere")).unwrap();

    // By the name in the manifest, as a person works every day.
    place.manifest("seed = \"big\"\n");
    assert_eq!(place.json(&["up", "postgresql"])["unchanged"], false);
    let env = place.env();
    assert_eq!(number(&env, "SELECT count(*) FROM rdm_records_metadata"), 200);
    let verified = place.json(&["pack", "verify"]);
    assert_eq!(verified["equal"], true, "{verified}");
    assert_eq!(place.json(&["up", "postgresql"])["unchanged"], true);
    let unpacked = || -> Vec<String> {
        let entries = place.state().join("packs").read_dir_utf8().unwrap();
        entries.map(|entry| entry.unwrap().file_name().to_owned()).filter(|name| name != "lock").collect()
    };
    assert_eq!(unpacked(), [format!("big-{}", &made["sha256"].as_str().unwrap()[..16])]);

    // The same data from the folder is there already, and the other way round.
    let archive = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    std::fs::rename(place.root.join("elsewhere"), &folder).unwrap();
    assert_eq!(place.json(&["seed"])["parts"][0]["outcome"], "kept");
    assert_eq!(place.json(&["pack", "archive", "big"])["sha256"], made["sha256"]);
    assert_eq!(std::fs::read(&file).unwrap(), archive);
    std::fs::remove_dir_all(&folder).unwrap();
    let again = place.run(&["pack", "new", "big", "--synthetic", "50"]);
    assert!(again.status == 2 && again.stderr.contains("error[pack-exists]"), "{again}");

    // A damaged one is refused before anything is written, and what was unpacked before is no help to it.
    sql(&env)
        .batch_execute("DROP TABLE rdm_records_metadata, pidstore_pid; DROP SCHEMA ecosystem CASCADE")
        .unwrap();
    let half = archive.len() / 2;
    for damaged in [&archive[..half], &[&archive[..half], b"x", &archive[half + 1..]].concat()] {
        #[expect(clippy::disallowed_methods, reason = "a test needs no atomic write")]
        std::fs::write(&file, damaged).unwrap();
        let refused = place.run(&["seed"]);
        assert!(refused.status == 6 && refused.stderr.contains("error[pack-invalid]"), "{refused}");
        assert!(refused.stderr.contains("big.tar.zst is no whole archive"), "{refused}");
    }
    assert_eq!(number(&env, "SELECT count(*) FROM pg_tables WHERE tablename = 'rdm_records_metadata'"), 0);
    assert_eq!(unpacked().len(), 1);
}
