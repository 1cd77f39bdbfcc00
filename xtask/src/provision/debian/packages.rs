//! Package lists as values: what apt prints, and which of it a directly spawned server needs. Pure.

use std::collections::BTreeSet;

use crate::provision::lock::is_pin;

/// A package file that apt would fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    pub name: String,
    pub version: String,
    pub size: u64,
    /// The name that apt gives the file.
    pub file: String,
    /// In hexadecimal, where the index has it.
    pub sha256: Option<String>,
}

impl Package {
    /// `package=version`, as apt and the lock file write it.
    pub fn pin(&self) -> String {
        format!("{}={}", self.name, self.version)
    }
}

/// Reads the lines of `--print-uris`: `'URI' name_version_arch.deb SIZE HASH`.
pub fn parse_uris(text: &str) -> Vec<Package> {
    let line = |line: &str| {
        let (_, rest) = line.strip_prefix('\'')?.split_once("' ")?;
        let mut words = rest.split(' ');
        let (file, size) = (words.next()?, words.next()?.parse().ok()?);
        let (name, rest) = file.strip_suffix(".deb")?.split_once('_')?;
        let (version, _architecture) = rest.rsplit_once('_')?;
        // apt escapes the colon of an epoch in file names.
        let version = version.replace("%3a", ":");
        let sha256 = words.next().and_then(|hash| hash.strip_prefix("SHA256:")).map(str::to_owned);
        let package = Package { name: name.to_owned(), version, size, file: file.to_owned(), sha256 };
        // It becomes an argument of apt, and the name of a file.
        (is_pin(&package.pin()) && !file.contains('/')).then_some(package)
    };
    text.lines().filter_map(line).collect()
}

/// What is left of a closure without what every machine with apt has, and without what a server spawned directly never loads.
/// The C library is in the first group: it must never be on a library path.
pub(super) fn needed(closure: Vec<Package>, base: &[Package], skip: &[&str]) -> Vec<Package> {
    let base: BTreeSet<&str> = base.iter().map(|package| package.name.as_str()).collect();
    let skipped = |name: &str| {
        skip.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == *pattern,
        })
    };
    let mut left: Vec<_> = closure
        .into_iter()
        .filter(|package| !base.contains(package.name.as_str()) && !skipped(&package.name))
        .collect();
    left.sort_by(|a, b| a.name.cmp(&b.name));
    left
}

/// The upstream version in a list of pins, of the first package with one of these names: `7.0.15` of `redis-server=5:7.0.15-1~deb12u10`.
pub(super) fn version(pins: &[String], names: &[&str]) -> Option<String> {
    let found =
        |name: &&str| pins.iter().find_map(|pin| pin.split_once('=').filter(|(package, _)| package == name));
    let (_, version) = names.iter().find_map(found)?;
    let version = version.split_once(':').map_or(version, |(_epoch, rest)| rest);
    let version = version.rsplit_once('-').map_or(version, |(upstream, _revision)| upstream);
    Some(version.split(['+', '~']).next().unwrap_or(version).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const URIS: &str = "\
'http://host/a/redis-server_5%3a7.0.15-1~deb12u10_amd64.deb' redis-server_5%3a7.0.15-1~deb12u10_amd64.deb 73908 SHA256:78
'http://host/a/libc6_2.36_amd64.deb' libc6_2.36_amd64.deb 10 MD5Sum:1
'file:/a%20b/lsb-base_11.6_all.deb' lsb-base_11.6_all.deb 4584
W: something else
";

    #[test]
    fn uris_are_read() {
        let packages = parse_uris(URIS);
        assert_eq!(packages.len(), 3);
        assert_eq!(packages[0].pin(), "redis-server=5:7.0.15-1~deb12u10");
        assert_eq!(packages[0].size, 73908);
        assert_eq!(packages[0].sha256.as_deref(), Some("78"));
        assert_eq!(packages[1].sha256, None);
        assert_eq!(packages[2].pin(), "lsb-base=11.6");
    }

    #[test]
    fn what_apt_could_take_for_an_option_is_no_package() {
        for file in ["-o_1_amd64.deb", "a_-1_amd64.deb", "a b_1_amd64.deb", "a_1;x_amd64.deb", "a_1.deb"] {
            assert_eq!(parse_uris(&format!("'http://host/x' {file} 1 SHA256:0\n")), [], "{file}");
        }
    }

    #[test]
    fn the_base_system_and_skipped_packages_are_left_out() {
        let base: Vec<Package> = parse_uris(URIS).into_iter().filter(|p| p.name == "libc6").collect();
        let left = needed(parse_uris(URIS), &base, &["lsb-*"]);
        assert_eq!(left.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["redis-server"]);
    }

    #[test]
    fn upstream_versions_are_read_from_pins() {
        let of = |pin: &str| version(&["other=1".to_owned(), pin.to_owned()], &["none", "p"]).unwrap();
        assert_eq!(of("p=5:7.0.15-1~deb12u10"), "7.0.15");
        assert_eq!(of("p=17.0.21.1+2-1~deb12u1"), "17.0.21.1");
        assert_eq!(of("p=3.10.8-1.1+deb12u1"), "3.10.8");
        assert_eq!(of("p=15.20"), "15.20");
        assert_eq!(version(&[], &["p"]), None);
    }
}
