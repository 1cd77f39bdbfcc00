//! The limits of this machine, read where the kernel tells them.

use camino::Utf8Path;
use ecosystem_core::catalog;
use ecosystem_core::host::Finding;
use ecosystem_core::host::limits::{Disk, Files, Machine, Memory, Namespaces, windows_folder};
use ecosystem_core::model::{Backend, Service};
use rustix::process::{Resource, getrlimit};

use super::project::Project;
use crate::backend::native;
use crate::context::Context;
use crate::sys::memory;

/// What fetching and keeping the servers takes, and one project, in bytes.
const STORE: u64 = 700 << 20;
const STATE: u64 = 100 << 20;

/// Reads and judges.
pub(super) fn check(context: &Context, project: &Project) -> Vec<Finding> {
    let number = |path: &str| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let files = getrlimit(Resource::Nofile);
    let host = context.host();
    let machine = Machine {
        max_map_count: number("/proc/sys/vm/max_map_count"),
        files: Some(Files { soft: files.current, hard: files.maximum }),
        memory: memory::available().map(|available| Memory {
            available,
            group: memory::group_limit(),
            needed: needed(project),
        }),
        disks: disks(project),
        namespaces: host.root.then(|| Namespaces {
            work: host.user_namespaces,
            most: number("/proc/sys/user/max_user_namespaces"),
        }),
        windows_folder: project.place.as_ref().and_then(|place| {
            let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
            windows_folder(&kernel, place.state.as_str())
        }),
    };
    machine.judge()
}

/// What the services take that do not run yet.
fn needed(project: &Project) -> u64 {
    let running = project.place.as_ref().and_then(|place| native::running(place).ok()).unwrap_or_default();
    let services = project.services();
    let starts =
        |service: &&&Service| service.backend.value == Backend::Native && !running.contains(&service.name);
    // What containers take is the engine's, which may have a machine of its own.
    services.iter().filter(starts).map(|s| catalog::memory(s)).sum()
}

fn disks(project: &Project) -> Vec<Disk> {
    let Some(place) = &project.place else { return Vec::new() };
    let filled = place
        .store
        .read_dir_utf8()
        .is_ok_and(|entries| entries.flatten().any(|entry| entry.path().join("installed.json").exists()));
    let store = if filled { STATE } else { STORE };
    let disk = |what, folder: &Utf8Path, needed| {
        let there = folder.ancestors().find(|folder| folder.exists())?;
        let disk = rustix::fs::statvfs(there.as_std_path()).ok()?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        Some(Disk { what, folder: folder.to_string(), free, needed })
    };
    [disk("store", &place.store, store), disk("state", &place.state, STATE)].into_iter().flatten().collect()
}
