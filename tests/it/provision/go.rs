//! Source in Go: what its proxy and its checksums can do wrong. A stand-in for `go` says what Go says; the real one builds in `minio.rs`.

use std::os::unix::fs::PermissionsExt;

use super::lab::Lab;

const MODULE: &str = "github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c";

/// A lab whose `go` is this script and whose other programs are those of the system.
fn with_go(script: &str) -> Lab {
    let mut lab = Lab::new();
    let bin = lab.folder.join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    let program = bin.join("go");
    #[expect(clippy::disallowed_methods, reason = "a test needs no atomic write")]
    std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    lab.set("PATH", format!("{bin}:/usr/bin:/bin"));
    lab
}

#[test]
fn without_go_it_is_told_before_anything_is_fetched_with_what_else_there_is() {
    let lab = with_go("exit 1");
    std::fs::remove_file(lab.folder.join("bin/go")).unwrap();
    let refused = lab.run(&["up", "minio"]);
    assert_eq!(refused.status, 3, "{refused}");
    for part in ["error[go-missing]", "https://go.dev/dl", "from = \"path\"", "external", "command"] {
        assert!(refused.stderr.contains(part), "{part} is missing in\n{refused}");
    }
    assert_eq!(lab.entries(), Vec::<String>::new());
}

#[test]
fn a_source_with_another_checksum_is_thrown_away() {
    let sum = format!("h1:{}=", "A".repeat(43));
    let lab = with_go(&format!(
        "mkdir -p \"$GOMODCACHE/source\" && echo '{{\"Sum\": \"{sum}\", \"Dir\": \"'\"$GOMODCACHE\"'/source\"}}'"
    ));
    let message = lab.fails(&["provision", "minio"], "artifact-changed");
    assert!(message.contains(&format!("{MODULE} is not what ecosystem.lock says")), "{message}");
    assert!(message.contains(&sum) && !lab.store.join("cache/go").exists(), "{message}");
    assert_eq!(lab.entries(), Vec::<String>::new());
    lab.assert_quiet();
}

#[test]
fn what_go_says_becomes_a_cause_and_a_next_step() {
    let old = "echo 'go: github.com/minio/minio requires go >= 1.24.0 (running go 1.19.8)' >&2; exit 1";
    let message = with_go(old).fails(&["provision", "minio"], "go-too-old");
    assert!(message.contains("running go 1.19.8"), "{message}");
    let offline = "echo 'go: Get \"https://proxy.example.org/x\": dial tcp: lookup proxy.example.org: Temporary failure in name resolution' >&2; exit 1";
    with_go(offline).fails(&["provision", "minio"], "network-down");
    let other = "echo 'verifying github.com/a/b@v1.0.0: checksum mismatch' >&2; exit 1";
    with_go(other).fails(&["provision", "minio"], "artifact-changed");
    with_go("echo 'go: something new' >&2; exit 1").fails(&["provision", "minio"], "go-failed");
}

#[test]
fn without_a_network_it_is_named_as_missing() {
    let lab = with_go("exit 1");
    let message = lab.fails(&["up", "minio", "--offline"], "offline-missing");
    assert!(message.contains("minio 2026-02-12T20-18-48Z"), "{message}");
}
