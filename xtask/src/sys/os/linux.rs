//! Linux: user namespaces, parent-death signals, and what `/proc` knows.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::BorrowedFd;

use anyhow::Context;

use super::{Listener, Owner};

/// The path under which this very program can be started again, even after a rebuild has replaced its file.
pub fn this_program() -> anyhow::Result<std::path::PathBuf> {
    Ok("/proc/self/exe".into())
}

/// Moves this process into a user namespace where the current user appears as `uid`. It must have a single thread.
pub fn enter_user_namespace(uid: u32) -> anyhow::Result<()> {
    let (outer_uid, outer_gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    #[expect(
        unsafe_code,
        reason = "rustix marks the call unsafe because of CLONE_FILES, which is not used here"
    )]
    // SAFETY: CLONE_NEWUSER does not change which file descriptors are open.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWUSER) }
        .context("cannot make a user namespace")?;
    let write = |file: &str, text: String| {
        std::fs::OpenOptions::new()
            .write(true)
            .open(file)
            .and_then(|mut f| std::io::Write::write_all(&mut f, text.as_bytes()))
            .with_context(|| format!("cannot write {file}"))
    };
    write("/proc/self/setgroups", "deny".to_owned())?;
    write("/proc/self/uid_map", format!("{uid} {outer_uid} 1"))?;
    write("/proc/self/gid_map", format!("{uid} {outer_gid} 1"))
}

/// Asks for SIGKILL when the thread that started this process ends, and makes sure that `parent` is still there.
///
/// Must be the last thing before `exec`: a change of user clears it.
pub fn die_with_parent(parent: u32) -> anyhow::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let current = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
    anyhow::ensure!(current == Some(parent), "the supervisor ended before its child was started");
    Ok(())
}

/// Makes orphaned descendants children of this process, so that none escapes.
pub fn adopt_orphans() -> anyhow::Result<()> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).context("cannot become a subreaper")
}

/// Keeps file descriptors that this program did not open itself from reaching the programs that it starts.
pub fn forget_inherited_files() -> anyhow::Result<()> {
    let open: Vec<i32> = std::fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|fd| *fd > 2)
        .collect();
    for fd in open {
        #[expect(
            unsafe_code,
            reason = "there is no safe handle for a file descriptor that somebody else opened"
        )]
        // SAFETY: only a flag of the descriptor is set; it is not closed, and a stale number is an error that is ignored.
        let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
        let _closed_meanwhile = rustix::io::fcntl_setfd(borrowed, rustix::io::FdFlags::CLOEXEC);
    }
    Ok(())
}

/// How long this process has used processors, and those of its children that have ended and were waited for.
pub fn processor_time() -> Option<(std::time::Duration, std::time::Duration)> {
    let stat = procfs::process::Process::myself().ok()?.stat().ok()?;
    let time = |ticks: u64| std::time::Duration::from_millis(ticks * 1_000 / procfs::ticks_per_second());
    let children = u64::try_from(stat.cutime + stat.cstime).ok()?;
    Some((time(stat.utime + stat.stime), time(children)))
}

/// All living descendants of a process. Zombies do not count: they hold nothing.
pub fn descendants(root: u32) -> BTreeSet<u32> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for stat in procfs::process::all_processes().into_iter().flatten().filter_map(|p| p.ok()?.stat().ok()) {
        if stat.state != 'Z' {
            children.entry(stat.ppid).or_default().push(stat.pid);
        }
    }
    let (mut found, mut todo) = (BTreeSet::new(), vec![root.cast_signed()]);
    while let Some(pid) = todo.pop() {
        for child in children.get(&pid).into_iter().flatten() {
            if found.insert(child.unsigned_abs()) {
                todo.push(*child);
            }
        }
    }
    found
}

/// Resident memory of a process in bytes.
pub fn resident_memory(pid: u32) -> Option<u64> {
    let status = procfs::process::Process::new(pid.cast_signed()).ok()?.status().ok()?;
    Some(status.vmrss? * 1024)
}

/// Memory of a process that is its own alone, in kB.
pub fn anonymous_memory(pid: u32) -> Option<u64> {
    procfs::process::Process::new(pid.cast_signed()).ok()?.status().ok()?.rssanon
}

/// Everything that listens on TCP in this network namespace, restricted to `ports` where given.
pub fn listeners(ports: Option<&BTreeSet<u16>>) -> anyhow::Result<Vec<Listener>> {
    let mut sockets: BTreeMap<u64, (std::net::IpAddr, u16)> = BTreeMap::new();
    let (v4, v6) =
        (procfs::net::tcp().context("cannot read /proc/net/tcp")?, procfs::net::tcp6().unwrap_or_default());
    for entry in v4.into_iter().chain(v6) {
        // Java listens on IPv4 through IPv6 sockets: ::ffff:127.0.0.1 is 127.0.0.1.
        let (ip, port) = (entry.local_address.ip().to_canonical(), entry.local_address.port());
        if entry.state == procfs::net::TcpState::Listen && ports.is_none_or(|wanted| wanted.contains(&port)) {
            sockets.insert(entry.inode, (ip, port));
        }
    }
    let mut owners: BTreeMap<u64, Owner> = BTreeMap::new();
    if !sockets.is_empty() {
        for process in procfs::process::all_processes()?.filter_map(Result::ok) {
            let Ok(files) = process.fd() else { continue };
            for file in files.filter_map(Result::ok) {
                if let procfs::process::FDTarget::Socket(inode) = file.target
                    && sockets.contains_key(&inode)
                {
                    owners.entry(inode).or_insert_with(|| owner(&process));
                }
            }
        }
    }
    Ok(sockets
        .into_iter()
        .map(|(inode, (address, port))| Listener { address, port, owner: owners.remove(&inode) })
        .collect())
}

fn owner(process: &procfs::process::Process) -> Owner {
    let words = process.cmdline().unwrap_or_default();
    let mut command = words.join(" ");
    if command.is_empty() {
        command = process.stat().map(|s| s.comm).unwrap_or_default();
    }
    command = ecosystem_core::failure::harmless(&command).replace('\n', " ");
    if command.chars().count() > 80 {
        command = command.chars().take(79).chain(['…']).collect();
    }
    let cwd = process.cwd().ok().and_then(|path| path.into_os_string().into_string().ok());
    Owner { pid: process.pid.unsigned_abs(), command, cwd }
}

/// Waits until a process that need not be a child has ended.
pub fn wait_for_end(pid: u32, limit: std::time::Duration) -> anyhow::Result<()> {
    let Some(id) = rustix::process::Pid::from_raw(pid.cast_signed()) else { return Ok(()) };
    let handle = match rustix::process::pidfd_open(id, rustix::process::PidfdFlags::empty()) {
        Ok(handle) => handle,
        Err(rustix::io::Errno::SRCH) => return Ok(()),
        Err(error) => return Err(error).context("cannot watch a process"),
    };
    let mut poll = [rustix::event::PollFd::new(&handle, rustix::event::PollFlags::IN)];
    let timeout = rustix::event::Timespec::try_from(limit)?;
    anyhow::ensure!(
        rustix::event::poll(&mut poll, Some(&timeout))? > 0,
        "process {pid} did not end within {limit:?}"
    );
    Ok(())
}

/// Living processes of this user that were started with this variable.
pub fn with_variable(name: &str, value: &str) -> BTreeSet<u32> {
    let wanted = format!("{name}={value}").into_bytes();
    let carries = |pid: &u32| {
        std::fs::read(format!("/proc/{pid}/environ"))
            .is_ok_and(|environment| environment.split(|byte| *byte == 0).any(|variable| variable == wanted))
    };
    let processes = procfs::process::all_processes().into_iter().flatten().filter_map(Result::ok);
    processes.map(|process| process.pid.unsigned_abs()).filter(carries).collect()
}

/// The words that a process was started with; none where that cannot be seen.
pub fn command_line(pid: u32) -> Vec<String> {
    let process = procfs::process::Process::new(pid.cast_signed());
    process.and_then(|process| process.cmdline()).unwrap_or_default()
}

/// Children of this process that have ended and were not reaped.
pub fn ended_children() -> Vec<u32> {
    let me = std::process::id().cast_signed();
    let all = procfs::process::all_processes().into_iter().flatten().filter_map(|p| p.ok()?.stat().ok());
    all.filter(|stat| stat.ppid == me && stat.state == 'Z').map(|stat| stat.pid.unsigned_abs()).collect()
}

/// How many processes the kernel has killed for want of memory in the control group of this process, and so in that of everything it
/// starts; on the whole machine, where the group does not say.
pub fn oom_kills() -> Option<u64> {
    let count = |file: &std::path::Path| {
        let text = std::fs::read_to_string(file).ok()?;
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
    };
    let of_group = || {
        let me = procfs::process::Process::myself().ok()?;
        let (groups, mounts) = (me.cgroups().ok()?, me.mountinfo().ok()?.0);
        groups.into_iter().find_map(|group| {
            let second = group.hierarchy == 0;
            let first = group.controllers.iter().any(|controller| controller == "memory");
            let mount = mounts.iter().find(|mount| match mount.fs_type.as_str() {
                "cgroup2" => second,
                "cgroup" => first && mount.super_options.contains_key("memory"),
                _ => false,
            })?;
            // In a container the upper part of the path may lie outside of what is mounted.
            let path = group.pathname.strip_prefix(&mount.root).unwrap_or(&group.pathname);
            let folder = mount.mount_point.join(path.trim_start_matches('/'));
            count(&folder.join(if second { "memory.events" } else { "memory.oom_control" }))
        })
    };
    of_group().or_else(|| count(std::path::Path::new("/proc/vmstat")))
}

/// The type of the file system that a path is on, as the kernel names it: `ext4`, `vfat`.
pub fn file_system(path: &camino::Utf8Path) -> Option<String> {
    let device = std::os::unix::fs::MetadataExt::dev(&path.metadata().ok()?);
    let device = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    let mounts = procfs::process::Process::myself().ok()?.mountinfo().ok()?;
    mounts.into_iter().find(|mount| mount.majmin == device).map(|mount| mount.fs_type)
}

/// Whether a process is stopped by a signal: there, but doing nothing.
pub fn is_stopped(pid: u32) -> bool {
    let process = procfs::process::Process::new(pid.cast_signed());
    process.and_then(|process| process.stat()).is_ok_and(|stat| matches!(stat.state, 'T' | 't'))
}

/// Living processes that work in a folder or below it, with where; `None` where that cannot be found out.
pub fn working_in(folder: &camino::Utf8Path) -> Option<BTreeMap<u32, camino::Utf8PathBuf>> {
    let processes = procfs::process::all_processes().ok()?.filter_map(Result::ok);
    // Of a zombie no working directory can be read.
    let here = processes.filter_map(|process| {
        let cwd = camino::Utf8PathBuf::try_from(process.cwd().ok()?).ok()?;
        cwd.starts_with(folder).then_some((process.pid.unsigned_abs(), cwd))
    });
    Some(here.collect())
}

/// The program that a process runs; `None` where that cannot be seen.
pub fn program(pid: u32) -> Option<camino::Utf8PathBuf> {
    let program = procfs::process::Process::new(pid.cast_signed()).ok()?.exe().ok()?;
    camino::Utf8PathBuf::try_from(program).ok()
}

/// Whether a process belongs to a terminal: somebody's shell or editor, never a server of ours. A process that cannot be looked at
/// counts as one that does.
pub fn has_terminal(pid: u32) -> bool {
    let process = procfs::process::Process::new(pid.cast_signed());
    process.and_then(|process| process.stat()).map_or(true, |stat| stat.tty_nr != 0)
}

/// The working directory of the nearest ancestor of a process that was started with this argument.
pub fn ancestor_folder(pid: u32, argument: &str) -> Option<String> {
    let mut process = procfs::process::Process::new(pid.cast_signed()).ok()?;
    loop {
        if process.cmdline().ok()?.get(1).is_some_and(|word| word == argument) {
            return process.cwd().ok()?.into_os_string().into_string().ok();
        }
        let parent = process.stat().ok()?.ppid;
        if parent <= 1 {
            return None;
        }
        process = procfs::process::Process::new(parent).ok()?;
    }
}

/// Lets a new file share the data of another one, where the file system has such files; else it is still empty.
pub fn share_data(source: &std::fs::File, target: &std::fs::File) -> bool {
    rustix::fs::ioctl_ficlone(target, source).is_ok()
}

/// Has everything that was written to a file system so far on the disk.
pub fn sync_file_system(file: &std::fs::File) -> std::io::Result<()> {
    Ok(rustix::fs::syncfs(file)?)
}
