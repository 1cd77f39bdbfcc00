//! How much memory this machine, and the control group that a container is, still have.

/// What programs may still take, in bytes; `None` where the system does not tell it in a file.
pub fn available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kilobytes = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(kilobytes.trim().trim_end_matches(" kB").parse::<u64>().ok()? << 10)
}

/// The memory limit of this control group and what is left of it, in bytes; `None` where there is no limit.
pub fn group_limit() -> Option<(u64, u64)> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    candidates(&groups).into_iter().find_map(|(folder, files)| {
        let read = |file: &str| std::fs::read_to_string(format!("/sys/fs/cgroup{folder}/{file}")).ok();
        limit(&read(files.0)?, &read(files.1)?, &read("memory.stat").unwrap_or_default())
    })
}

/// The files with the limit and with what is used.
type Files = (&'static str, &'static str);

/// Where the limit may stand, the own group first. In a container the names may be those of the host, which are not to be seen there.
fn candidates(groups: &str) -> Vec<(String, Files)> {
    let mut all = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let path = path.trim_end_matches('/');
        let one: Option<(&str, Files)> = match controllers {
            "" => Some(("", ("memory.max", "memory.current"))),
            _ if controllers.split(',').any(|name| name == "memory") => {
                Some(("/memory", ("memory.limit_in_bytes", "memory.usage_in_bytes")))
            }
            _ => None,
        };
        let Some((root, files)) = one else { continue };
        all.push((format!("{root}{path}"), files));
        // Above it, up to the top.
        let parents = path.match_indices('/').map(|(at, _)| &path[..at]);
        let parents: Vec<&str> = parents.collect();
        all.extend(parents.into_iter().rev().map(|parent| (format!("{root}{parent}"), files)));
    }
    all
}

/// The limit and what is left: pages of files count as used, but are given back when they are needed.
fn limit(most: &str, used: &str, stat: &str) -> Option<(u64, u64)> {
    let most: u64 = most.trim().parse().ok()?;
    // Without a limit the first version says the largest number of whole pages.
    if most >= i64::MAX.unsigned_abs() / 2 {
        return None;
    }
    let used: u64 = used.trim().parse().ok()?;
    let field = |name: &str| {
        stat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse::<u64>().ok())
    };
    let files = field("total_inactive_file").or_else(|| field("inactive_file")).unwrap_or(0);
    Some((most, most.saturating_sub(used.saturating_sub(files))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_looked_for_from_the_own_group_upwards() {
        let folders =
            |groups: &str| candidates(groups).into_iter().map(|(folder, _)| folder).collect::<Vec<_>>();
        assert_eq!(folders("0::/user.slice/me.scope\n"), ["/user.slice/me.scope", "/user.slice", ""]);
        assert_eq!(folders("0::/\n"), [""]);
        assert_eq!(
            folders("6:freezer:/\n5:cpu,memory:/docker/x\n"),
            ["/memory/docker/x", "/memory/docker", "/memory"]
        );
        assert!(folders("garbage\n").is_empty());
    }

    #[test]
    fn what_is_left_counts_pages_of_files_as_free() {
        let stat = "anon 1\ninactive_file 300\n";
        assert_eq!(limit("1000\n", "800\n", stat), Some((1000, 500)));
        assert_eq!(limit("1000\n", "800\n", ""), Some((1000, 200)));
        assert_eq!(limit("1000", "800", "inactive_file 1\ntotal_inactive_file 700\n"), Some((1000, 900)));
        assert_eq!(limit("max\n", "1\n", ""), None);
        assert_eq!(limit("9223372036854771712\n", "1\n", ""), None);
        assert_eq!(limit("", "", ""), None);
    }
}
