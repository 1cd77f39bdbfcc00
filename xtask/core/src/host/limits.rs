//! What the machine gives: memory, disk, open files, and the settings of the kernel that servers depend on.

use super::{Finding, Section, Verdict, binary};

/// The limits of this machine, as far as they could be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    /// `vm.max_map_count`.
    pub max_map_count: Option<u64>,
    pub files: Option<Files>,
    pub memory: Option<Memory>,
    pub disks: Vec<Disk>,
    /// Asked where the person is root only: servers that refuse root then run in a namespace.
    pub namespaces: Option<Namespaces>,
    /// The state folder, where it lies on a disk of Windows that WSL shows.
    pub windows_folder: Option<String>,
}

/// How many files a process may have open; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Files {
    pub soft: Option<u64>,
    pub hard: Option<u64>,
}

/// Memory in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    pub available: u64,
    /// The limit of the control group, and what is left of it.
    pub group: Option<(u64, u64)>,
    /// What the servers that do not run yet take.
    pub needed: u64,
}

/// A folder, and how much room is where it lies, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// `store`, `state`.
    pub what: &'static str,
    pub folder: String,
    pub free: u64,
    pub needed: u64,
}

/// User namespaces, for somebody who is root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Namespaces {
    /// One could be made.
    pub work: bool,
    /// `user.max_user_namespaces`.
    pub most: Option<u64>,
}

/// The state folder, where the kernel is that of WSL and the folder on one of the disks that it takes from Windows.
pub fn windows_folder(kernel: &str, folder: &str) -> Option<String> {
    let disk = folder.strip_prefix("/mnt/")?.split('/').next()?;
    let windows = kernel.to_lowercase().contains("microsoft") && disk.len() == 1;
    windows.then(|| folder.to_owned())
}

/// What OpenSearch demands where it is reachable from outside, as in a container.
const MAPS: u64 = 262_144;
/// What OpenSearch asks for, and the launcher gives its servers where it may.
const FILES: u64 = 65_536;

impl Machine {
    /// Judges all of it.
    pub fn judge(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        findings.extend(self.memory.map(memory));
        findings.extend(self.disks.iter().map(disk));
        findings.extend(self.files.map(files));
        findings.extend(self.max_map_count.map(maps));
        findings.extend(self.namespaces.map(namespaces));
        findings.extend(self.windows_folder.as_deref().map(windows));
        findings
    }
}

fn memory(memory: Memory) -> Finding {
    let Memory { available, group, needed } = memory;
    let (left, of) = match group {
        Some((limit, left)) if left < available => {
            (left, format!(" of the limit of this container, {}", binary(limit)))
        }
        _ => (available, String::new()),
    };
    let on = match needed {
        0 => format!("{} available{of}; all services run", binary(left)),
        _ => format!("{} available{of}; the services take about {}", binary(left), binary(needed)),
    };
    if left >= needed {
        return Finding::ok(Section::Machine, "memory", on);
    }
    let next = match of.as_str() {
        "" => {
            "end something large, or give OpenSearch less: services.opensearch.heap = \"256m\" in ecosystem.toml"
        }
        _ => "give this container a larger memory limit",
    };
    let why = "the kernel ends what takes more than there is, most often OpenSearch";
    Finding::of(Verdict::Warning, Section::Machine, "memory", on, why, next)
}

fn disk(disk: &Disk) -> Finding {
    let Disk { what, folder, free, needed } = disk;
    let on = format!("{} free in {folder}", binary(*free));
    if free >= needed {
        return Finding::ok(Section::Machine, format!("disk for the {what}"), on);
    }
    let why = format!("the {what} takes about {}", binary(*needed));
    let next = match *what {
        "store" => "free some space there, or name another folder: ECOSYSTEM_STORE=/some/folder",
        _ => "free some space there, or name another folder: ECOSYSTEM_STATE=/some/folder",
    };
    Finding::of(Verdict::Problem, Section::Machine, format!("disk for the {what}"), on, why, next)
}

fn files(files: Files) -> Finding {
    let number = |limit: Option<u64>| limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string());
    let on = format!("{} (hard limit {})", number(files.soft), number(files.hard));
    if files.hard.is_none_or(|hard| hard >= FILES) {
        let finding = Finding::ok(Section::Machine, "open files", on);
        return match files.soft {
            Some(soft) if soft < FILES => finding.note(format!("`up` raises it to {FILES} for its servers")),
            _ => finding,
        };
    }
    let why =
        format!("OpenSearch asks for {FILES} open files, and nobody but root goes beyond the hard limit");
    let next = format!(
        "as root: echo '* hard nofile {FILES}' > /etc/security/limits.d/ecosystem.conf, then log in again"
    );
    Finding::of(Verdict::Warning, Section::Machine, "open files", on, why, next)
}

fn maps(count: u64) -> Finding {
    let finding = Finding::ok(Section::Machine, "vm.max_map_count", count.to_string());
    if count >= MAPS {
        return finding;
    }
    finding.note(format!(
        "enough for `up`: OpenSearch on 127.0.0.1 does not ask for more; in a container it wants sudo sysctl -w vm.max_map_count={MAPS}"
    ))
}

fn namespaces(namespaces: Namespaces) -> Finding {
    let most =
        namespaces.most.map(|most| format!(" (user.max_user_namespaces = {most})")).unwrap_or_default();
    if namespaces.work {
        return Finding::ok(Section::Machine, "user namespaces", format!("can be made{most}"));
    }
    let next = match namespaces.most {
        Some(0) => "sysctl -w user.max_user_namespaces=10000",
        _ => "start this container with --security-opt seccomp=unconfined, or work as an ordinary user",
    };
    let why = "you are root, and PostgreSQL and OpenSearch refuse to be: `up` runs them in such a namespace";
    let on = format!("cannot be made{most}");
    Finding::of(Verdict::Problem, Section::Machine, "user namespaces", on, why, next)
}

fn windows(folder: &str) -> Finding {
    let why = "files there are slow, have no owners, and PostgreSQL refuses such a folder";
    let next = "move the project below your Linux home folder, or: export ECOSYSTEM_STATE=~/ecosystem-state";
    let on = format!("{folder} is on a disk of Windows");
    Finding::of(Verdict::Warning, Section::Machine, "state folder", on, why, next)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn told(machine: &Machine) -> String {
        let of = |f: Finding| {
            let why = f.why.map(|why| format!("\n  why  {why}")).unwrap_or_default();
            let next = f.next.map(|next| format!("\n  next {next}")).unwrap_or_default();
            format!("{:?} {}: {}{why}{next}", f.verdict, f.what, f.on)
        };
        machine.judge().into_iter().map(of).collect::<Vec<_>>().join("\n")
    }

    fn disk(what: &'static str, free: u64) -> Disk {
        Disk { what, folder: format!("/home/me/{what}"), free, needed: GIB / 2 }
    }

    #[test]
    fn a_good_machine_asks_for_nothing() {
        let machine = Machine {
            max_map_count: Some(1_048_576),
            files: Some(Files { soft: Some(FILES), hard: None }),
            memory: Some(Memory { available: 8 * GIB, group: None, needed: GIB }),
            disks: vec![disk("store", GIB), disk("state", GIB)],
            namespaces: Some(Namespaces { work: true, most: Some(96_364) }),
            windows_folder: None,
        };
        insta::assert_snapshot!(told(&machine), @"
        Ok memory: 8.0 GiB available; the services take about 1.0 GiB
        Ok disk for the store: 1.0 GiB free in /home/me/store
        Ok disk for the state: 1.0 GiB free in /home/me/state
        Ok open files: 65536 (hard limit unlimited)
        Ok vm.max_map_count: 1048576
        Ok user namespaces: can be made (user.max_user_namespaces = 96364)
        ");
    }

    #[test]
    fn a_poor_machine_is_told_what_matters_and_what_to_do() {
        let machine = Machine {
            max_map_count: Some(65_530),
            files: Some(Files { soft: Some(256), hard: Some(4096) }),
            memory: Some(Memory { available: GIB / 2, group: None, needed: GIB }),
            disks: vec![disk("store", 100 << 20), disk("state", 1 << 10)],
            namespaces: Some(Namespaces { work: false, most: Some(0) }),
            windows_folder: Some("/mnt/c/site/.ecosystem".into()),
        };
        insta::assert_snapshot!(told(&machine), @r#"
        Warning memory: 512 MiB available; the services take about 1.0 GiB
          why  the kernel ends what takes more than there is, most often OpenSearch
          next end something large, or give OpenSearch less: services.opensearch.heap = "256m" in ecosystem.toml
        Problem disk for the store: 100 MiB free in /home/me/store
          why  the store takes about 512 MiB
          next free some space there, or name another folder: ECOSYSTEM_STORE=/some/folder
        Problem disk for the state: 1 KiB free in /home/me/state
          why  the state takes about 512 MiB
          next free some space there, or name another folder: ECOSYSTEM_STATE=/some/folder
        Warning open files: 256 (hard limit 4096)
          why  OpenSearch asks for 65536 open files, and nobody but root goes beyond the hard limit
          next as root: echo '* hard nofile 65536' > /etc/security/limits.d/ecosystem.conf, then log in again
        Ok vm.max_map_count: 65530
          why  enough for `up`: OpenSearch on 127.0.0.1 does not ask for more; in a container it wants sudo sysctl -w vm.max_map_count=262144
        Problem user namespaces: cannot be made (user.max_user_namespaces = 0)
          why  you are root, and PostgreSQL and OpenSearch refuse to be: `up` runs them in such a namespace
          next sysctl -w user.max_user_namespaces=10000
        Warning state folder: /mnt/c/site/.ecosystem is on a disk of Windows
          why  files there are slow, have no owners, and PostgreSQL refuses such a folder
          next move the project below your Linux home folder, or: export ECOSYSTEM_STATE=~/ecosystem-state
        "#);
    }

    #[test]
    fn what_is_raised_by_up_or_limited_by_a_container_is_said() {
        let machine = Machine {
            files: Some(Files { soft: Some(1024), hard: Some(1_048_576) }),
            memory: Some(Memory { available: 20 * GIB, group: Some((GIB, GIB / 4)), needed: GIB / 2 }),
            namespaces: Some(Namespaces { work: false, most: Some(96_364) }),
            ..Machine::default()
        };
        insta::assert_snapshot!(told(&machine), @"
        Warning memory: 256 MiB available of the limit of this container, 1.0 GiB; the services take about 512 MiB
          why  the kernel ends what takes more than there is, most often OpenSearch
          next give this container a larger memory limit
        Ok open files: 1024 (hard limit 1048576)
          why  `up` raises it to 65536 for its servers
        Problem user namespaces: cannot be made (user.max_user_namespaces = 96364)
          why  you are root, and PostgreSQL and OpenSearch refuse to be: `up` runs them in such a namespace
          next start this container with --security-opt seccomp=unconfined, or work as an ordinary user
        ");
        let enough = Memory { available: 20 * GIB, group: Some((2 * GIB, GIB)), needed: 0 };
        insta::assert_snapshot!(told(&Machine { memory: Some(enough), ..Machine::default() }), @"Ok memory: 1.0 GiB available of the limit of this container, 2.0 GiB; all services run");
    }

    #[test]
    fn a_disk_of_windows_is_known_in_wsl_only() {
        let wsl = "5.15.153.1-microsoft-standard-WSL2";
        assert_eq!(windows_folder(wsl, "/mnt/c/site/.ecosystem").as_deref(), Some("/mnt/c/site/.ecosystem"));
        assert_eq!(windows_folder(wsl, "/mnt/data/site"), None);
        assert_eq!(windows_folder(wsl, "/home/me/site"), None);
        assert_eq!(windows_folder("6.1.0-18-amd64", "/mnt/c/site"), None);
    }

    #[test]
    fn what_could_not_be_read_is_not_judged() {
        assert_eq!(Machine::default().judge(), []);
    }
}
