//! macOS: no parent-death signal and no user namespaces. Written from documentation; not yet run.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;

use super::{Listener, Owner};
use crate::sys::cmd::Cmd;

/// The path under which this very program can be started again.
pub fn this_program() -> anyhow::Result<std::path::PathBuf> {
    std::env::current_exe().context("cannot find this program's own file")
}

/// There are no user namespaces here.
pub fn enter_user_namespace(_uid: u32) -> anyhow::Result<()> {
    anyhow::bail!("macOS has no user namespaces; run as an ordinary user")
}

/// There is no parent-death signal here; the supervisor ends its children itself when it is asked to end.
pub fn die_with_parent(_parent: u32) -> anyhow::Result<()> {
    Ok(())
}

/// There are no subreapers here.
pub fn adopt_orphans() -> anyhow::Result<()> {
    Ok(())
}

/// Rust opens all its files close-on-exec; inherited ones are left alone.
pub fn forget_inherited_files() -> anyhow::Result<()> {
    Ok(())
}

/// Nothing is counted here.
pub fn processor_time() -> Option<(std::time::Duration, std::time::Duration)> {
    None
}

/// All living descendants of a process.
pub fn descendants(root: u32) -> BTreeSet<u32> {
    let Ok(output) = Cmd::new("ps").args(["-axo", "pid=,ppid=,stat="]).run() else { return BTreeSet::new() };
    let rows: Vec<(u32, u32)> = output
        .stdout
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let row = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            (!words.next()?.starts_with('Z')).then_some(row)
        })
        .collect();
    let (mut found, mut todo) = (BTreeSet::new(), vec![root]);
    while let Some(parent) = todo.pop() {
        for (pid, _) in rows.iter().filter(|(_, ppid)| *ppid == parent) {
            if found.insert(*pid) {
                todo.push(*pid);
            }
        }
    }
    found
}

/// Resident memory of a process in bytes.
pub fn resident_memory(pid: u32) -> Option<u64> {
    let output = Cmd::new("ps").args(["-o", "rss=", "-p", &pid.to_string()]).run().ok()?;
    Some(output.stdout.trim().parse::<u64>().ok()? * 1024)
}

/// Memory of a process that is its own alone is not told apart here.
pub fn anonymous_memory(_pid: u32) -> Option<u64> {
    None
}

/// Everything that listens on TCP, restricted to `ports` where given.
pub fn listeners(ports: Option<&BTreeSet<u16>>) -> anyhow::Result<Vec<Listener>> {
    let output = Cmd::new("lsof").args(["-nP", "-iTCP", "-sTCP:LISTEN", "-Fpcn"]).run()?;
    let (mut found, mut pid, mut command) = (Vec::new(), 0, String::new());
    for line in output.stdout.lines() {
        let (tag, value) = line.split_at(line.len().min(1));
        match tag {
            "p" => pid = value.parse().unwrap_or(0),
            "c" => value.clone_into(&mut command),
            "n" => {
                let Some((address, port)) = value.rsplit_once(':') else { continue };
                let Ok(port) = port.parse::<u16>() else { continue };
                if ports.is_none_or(|wanted| wanted.contains(&port)) {
                    let address = address.trim_matches(['[', ']']).parse().unwrap_or([0, 0, 0, 0].into());
                    let owner = Some(Owner { pid, command: command.clone(), cwd: None });
                    found.push(Listener { address, port, owner });
                }
            }
            _ => {}
        }
    }
    Ok(found)
}

/// Waits until a process that need not be a child has ended.
pub fn wait_for_end(pid: u32, limit: std::time::Duration) -> anyhow::Result<()> {
    let Some(id) = rustix::process::Pid::from_raw(pid.cast_signed()) else { return Ok(()) };
    let end = std::time::Instant::now() + limit;
    while rustix::process::test_kill_process(id).is_ok() {
        anyhow::ensure!(std::time::Instant::now() < end, "process {pid} did not end within {limit:?}");
        std::thread::park_timeout(std::time::Duration::from_millis(10));
    }
    Ok(())
}

/// Environments of other processes are not looked up here.
pub fn with_variable(_name: &str, _value: &str) -> BTreeSet<u32> {
    BTreeSet::new()
}

/// The words that a process was started with, as far as blanks tell them apart.
pub fn command_line(pid: u32) -> Vec<String> {
    let words = Cmd::new("ps").args(["-o", "args=", "-p", &pid.to_string()]).run();
    words.map_or_else(|_| Vec::new(), |output| output.stdout.split_whitespace().map(str::to_owned).collect())
}

/// Children of this process that have ended and were not reaped.
pub fn ended_children() -> Vec<u32> {
    let Ok(output) = Cmd::new("ps").args(["-axo", "pid=,ppid=,stat="]).run() else { return Vec::new() };
    let me = std::process::id().to_string();
    let row = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [pid, ppid, stat] = words[..] else { return None };
        (ppid == me && stat.starts_with('Z')).then(|| pid.parse().ok()).flatten()
    };
    output.stdout.lines().filter_map(row).collect()
}

/// Nobody counts here what was killed for want of memory.
pub fn oom_kills() -> Option<u64> {
    None
}

/// The type of a file system is not looked up here.
pub fn file_system(_path: &camino::Utf8Path) -> Option<String> {
    None
}

/// Whether a process is stopped by a signal: there, but doing nothing.
pub fn is_stopped(pid: u32) -> bool {
    let state = Cmd::new("ps").args(["-o", "state=", "-p", &pid.to_string()]).run();
    state.is_ok_and(|output| output.stdout.trim_start().starts_with('T'))
}

/// Working directories of other processes are not looked up here.
pub fn working_in(_folder: &camino::Utf8Path) -> Option<BTreeMap<u32, camino::Utf8PathBuf>> {
    None
}

/// Programs of other processes are not looked up here.
pub fn program(_pid: u32) -> Option<camino::Utf8PathBuf> {
    None
}

/// Nobody is found by working directory here, so nobody has to be told apart by terminal.
pub fn has_terminal(_pid: u32) -> bool {
    true
}

/// Working directories of other processes are not looked up here.
pub fn ancestor_folder(_pid: u32, _argument: &str) -> Option<String> {
    None
}

/// A new file here never shares the data of another one: that is a copy under a new name.
pub fn share_data(_source: &std::fs::File, _target: &std::fs::File) -> bool {
    false
}

/// Has everything that was written so far on the disk.
pub fn sync_file_system(_file: &std::fs::File) -> std::io::Result<()> {
    rustix::fs::sync();
    Ok(())
}
