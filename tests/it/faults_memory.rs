//! Machines that have too little memory: a server that the kernel kills for it is told by that, and not by its signal.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use camino::Utf8PathBuf;

use crate::faults::{is_root, not_run, run_of, script, wrapped};
use crate::support::{Place, eventually, kill};

/// A control group with so many megabytes for everything in it.
struct Group(Utf8PathBuf);

impl Group {
    /// `None` where none can be made, which is said.
    fn new(megabytes: u64) -> Option<Self> {
        if !is_root() {
            not_run("only root can make a control group");
            return None;
        }
        let of = std::fs::read_to_string("/proc/self/cgroup").unwrap();
        let path = |marker: &str| of.lines().find_map(|line| Some(line.split_once(marker)?.1.to_owned()));
        // Of the second version a group that has processes may have no groups with limits below it.
        let first =
            path(":memory:").map(|path| (format!("/sys/fs/cgroup/memory{path}"), "memory.limit_in_bytes"));
        let second = Some(("/sys/fs/cgroup".to_owned(), "memory.max"));
        for (folder, limit) in [first, second].into_iter().flatten() {
            let group = Utf8PathBuf::from(folder).join(unique_name());
            if std::fs::create_dir(&group).is_err() {
                continue;
            }
            let group = Self(group);
            if group.0.join(limit).exists() {
                group.set(limit, &(megabytes << 20).to_string());
                if group.0.join("memory.swap.max").exists() {
                    group.set("memory.swap.max", "0");
                }
                return Some(group);
            }
        }
        not_run("no control group for memory can be made here");
        None
    }

    fn set(&self, name: &str, value: &str) {
        let mut file = std::fs::File::options().write(true).open(self.0.join(name)).unwrap();
        file.write_all(value.as_bytes()).unwrap();
    }

    /// A shell script around the program, which is in this group.
    fn around(&self) -> String {
        format!("echo $$ > {}/cgroup.procs; exec \"$@\"", self.0)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // What has just ended may still be counted.
        eventually("the control group is empty", || std::fs::remove_dir(&self.0).is_ok());
    }
}

/// A name that no other test has.
fn unique_name() -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.path().file_name().unwrap().to_str().unwrap().replace('.', "ecosystem-test-")
}

/// How a process ended last, as its supervisor tells it.
fn last_exit(place: &Place) -> serde_json::Value {
    let mut stream = UnixStream::connect(place.state().join("control")).unwrap();
    stream.write_all(b"{\"verb\":\"list\"}\n").unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    let answer: serde_json::Value = serde_json::from_str(&line).unwrap();
    answer["processes"][0]["status"]["last_exit"].clone()
}

#[test]
fn a_server_that_the_kernel_kills_for_memory_is_told_by_that() {
    let Some(group) = Group::new(64) else { return };
    let place = Place::new();
    let up = run_of(&mut wrapped(&place, &script(&group.around()), &["up", "redis"]));
    assert_eq!(up.status, 0, "{up}");
    // A value of 200 MB, zeros from its first byte to its last.
    let password = place.env()["REDISCLI_AUTH"].clone();
    let mut stream = TcpStream::connect(("127.0.0.1", place.port(6579))).unwrap();
    write!(stream, "AUTH {password}\r\nSETRANGE large 200000000 x\r\n").unwrap();
    let mut answer = Vec::new();
    let _reset = stream.read_to_end(&mut answer);
    eventually("the end is noticed", || !last_exit(&place).is_null());
    assert_eq!(last_exit(&place), "killed by the kernel for want of memory");

    // Somebody's kill is not the kernel's, in the same group and soon after.
    place.ok(&["down"]);
    let up = run_of(&mut wrapped(&place, &script(&group.around()), &["up", "redis"]));
    assert_eq!(up.status, 0, "{up}");
    kill(place.pid("redis", "redis"), rustix::process::Signal::KILL);
    eventually("the end is noticed", || !last_exit(&place).is_null());
    assert_eq!(last_exit(&place), "signal 9");
    place.ok(&["down"]);
}

#[test]
fn what_wants_more_memory_than_there_is_at_its_start_ends_with_the_cause() {
    let Some(group) = Group::new(64) else { return };
    let place = Place::new();
    // The shell lives on and tells by its exit status what became of the program that it ran.
    for command in [r#"["tail", "/dev/zero"]"#, r#"["sh", "-c", "tail /dev/zero; exit $?"]"#] {
        place.manifest(&format!("[services.greedy]\nkind = \"process\"\ncommand = {command}\n"));
        let up = run_of(&mut wrapped(&place, &script(&group.around()), &["up", "greedy"]));
        assert_eq!(up.status, 5, "{command}: {up}");
        for part in [
            "error[service-out-of-memory]",
            "greedy was killed by the kernel for want of memory",
            "more memory",
        ] {
            assert!(up.stderr.contains(part), "{command}: {part} is missing in\n{up}");
        }
        place.ok(&["down"]);
    }
}
