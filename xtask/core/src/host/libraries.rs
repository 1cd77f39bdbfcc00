//! The shared libraries that Invenio loads while it runs: how they are called, where they were found, how to get them.
//!
//! They are loaded by Python's `ctypes`, so they are looked for as `ctypes.util.find_library` does: by name in the list of the
//! system's loader, whatever the number behind `.so`.

use std::collections::BTreeMap;

use super::{Finding, Section, Verdict};
use crate::tool::System;

/// A shared library that the application wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Library {
    /// The name that people know.
    pub title: &'static str,
    /// How its files begin: `libcairo`.
    stem: &'static str,
    /// Whether more may follow before `.so`: `libMagickWand-6.Q16.so.6`.
    variants: bool,
    verdict: Verdict,
    why: &'static str,
}

/// All of them, in the order in which they are told.
pub const LIBRARIES: [Library; 4] = [
    Library {
        title: "cairo",
        stem: "libcairo",
        variants: false,
        verdict: Verdict::Problem,
        why: "Invenio draws its badges with it and fails where it is missing",
    },
    Library {
        title: "MagickWand",
        stem: "libMagickWand",
        variants: true,
        verdict: Verdict::Warning,
        why: "without it images get no thumbnails, and looking for it makes every `invenio` command slow: measured \
              15 to 16 s to start instead of 8.5 to 9.5 s",
    },
    Library {
        title: "libxml2",
        stem: "libxml2",
        variants: false,
        verdict: Verdict::Warning,
        why: "lxml and xmlsec need it where pip finds no ready-made package for this machine",
    },
    Library {
        title: "libxslt",
        stem: "libxslt",
        variants: false,
        verdict: Verdict::Warning,
        why: "lxml needs it where pip finds no ready-made package for this machine",
    },
];

impl Library {
    /// Whether a file of this name is it: `libcairo.so.2`, `libcairo.2.dylib`, `libMagickWand-7.Q16HDRI.so.10`.
    pub fn is(&self, file: &str) -> bool {
        let Some(rest) = file.strip_prefix(self.stem) else { return false };
        let versioned = |rest: &str| rest.starts_with(".so") || rest.split('.').next_back() == Some("dylib");
        if self.variants {
            versioned(rest) || rest.contains(".so")
        } else {
            rest.starts_with('.') && versioned(rest)
        }
    }

    /// Judges it by the file that was found.
    pub fn judge(&self, found: &Found, system: System) -> Finding {
        let section = Section::Libraries;
        match found {
            Found::At(path) => Finding::ok(section, self.title, path),
            // macOS keeps these in a cache of its own, without files.
            Found::Nowhere if system == System::MacOs && self.stem.starts_with("libx") => {
                Finding::ok(section, self.title, "part of macOS")
            }
            Found::Nowhere => {
                Finding::of(self.verdict, section, self.title, "not found", self.why, self.remedy(system))
            }
            Found::OutOfReach { path, folder } => Finding::of(
                self.verdict,
                section,
                self.title,
                format!("{path}, where Python does not look"),
                self.why,
                format!("export DYLD_FALLBACK_LIBRARY_PATH={folder}"),
            ),
        }
    }

    /// The command that gets it.
    fn remedy(&self, system: System) -> String {
        let wand = self.variants;
        let package = match (system, self.title) {
            (System::Debian(Some(..=12)), _) if wand => "libmagickwand-6.q16-6",
            (System::Debian(Some(13..)), _) if wand => "libmagickwand-7.q16-10",
            (System::Debian(_) | System::Ubuntu, _) if wand => "libmagickwand-dev",
            (System::Debian(_) | System::Ubuntu, "cairo") => "libcairo2",
            (System::Debian(_) | System::Ubuntu, "libxml2") => "libxml2",
            (System::Debian(_) | System::Ubuntu, _) => "libxslt1.1",
            (System::Fedora, _) if wand => "ImageMagick-libs",
            (_, _) if wand => "imagemagick",
            (_, title) => title,
        };
        match system {
            System::Debian(_) | System::Ubuntu => format!("sudo apt-get install {package}"),
            System::Fedora => format!("sudo dnf install {package}"),
            System::MacOs => format!("brew install {package}"),
            System::Other => format!("install {package} with the package manager of your system"),
        }
    }
}

/// Where a library was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    At(String),
    /// It is there, and the loader looks into its folder only where a variable names it: Homebrew on ARM.
    OutOfReach {
        path: String,
        folder: String,
    },
    Nowhere,
}

/// What the loader of glibc knows, by file name: the output of `ldconfig -p`, for programs of this architecture (`x86_64`, `aarch64`).
pub fn loader_cache(text: &str, architecture: &str) -> BTreeMap<String, String> {
    let kind = match architecture {
        "x86_64" => "libc6,x86-64",
        "aarch64" => "libc6,AArch64",
        _ => "libc6",
    };
    let entry = |line: &str| {
        let (name, rest) = line.trim().split_once(" (")?;
        let (kinds, path) = rest.split_once(") => ")?;
        // `libc6,x86-64, hwcap: "…"` and `libc6,x86-64, OS ABI: Linux 3.2.0` are this architecture as well.
        let here = kinds == kind || kinds.strip_prefix(kind).is_some_and(|rest| rest.starts_with(", "));
        here.then(|| (name.to_owned(), path.to_owned()))
    };
    let mut found = BTreeMap::new();
    for (name, path) in text.lines().filter_map(entry) {
        found.entry(name).or_insert(path);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const CACHE: &str = "1234 libs found in cache `/etc/ld.so.cache'\n\
        \tlibxslt.so.1 (libc6,x86-64) => /lib/x86_64-linux-gnu/libxslt.so.1\n\
        \tlibxml2.so.2 (libc6) => /lib/i386-linux-gnu/libxml2.so.2\n\
        \tlibxml2.so.2 (libc6,x86-64, hwcap: \"x86-64-v3\") => /lib/x86_64-linux-gnu/libxml2.so.2\n\
        \tlibcairo-gobject.so.2 (libc6,x86-64) => /lib/x86_64-linux-gnu/libcairo-gobject.so.2\n\
        \tlibMagickWand-6.Q16.so.6 (libc6,x86-64) => /lib/x86_64-linux-gnu/libMagickWand-6.Q16.so.6\n\
        Cache generated by: ldconfig (Debian GLIBC 2.36) stable release version 2.36\n";

    fn found(library: &Library, cache: &BTreeMap<String, String>) -> Option<String> {
        cache.iter().find(|(name, _)| library.is(name)).map(|(_, path)| path.clone())
    }

    #[test]
    fn libraries_are_read_from_the_list_of_the_loader() {
        let cache = loader_cache(CACHE, "x86_64");
        let all: Vec<_> = LIBRARIES.iter().map(|library| found(library, &cache)).collect();
        // cairo-gobject is not cairo.
        assert_eq!(all[0], None);
        assert_eq!(all[1].as_deref(), Some("/lib/x86_64-linux-gnu/libMagickWand-6.Q16.so.6"));
        assert_eq!(
            all[2].as_deref(),
            Some("/lib/x86_64-linux-gnu/libxml2.so.2"),
            "not that of another architecture"
        );
        assert_eq!(all[3].as_deref(), Some("/lib/x86_64-linux-gnu/libxslt.so.1"));
        assert!(loader_cache("no list at all", "x86_64").is_empty());
        assert!(loader_cache(CACHE, "aarch64").is_empty());
    }

    #[test]
    fn a_library_has_many_names_and_others_have_similar_ones() {
        let [cairo, wand, xml, xslt] = LIBRARIES;
        for (library, names) in [
            (cairo, &["libcairo.so.2", "libcairo.2.dylib", "libcairo.dylib", "libcairo.so"][..]),
            (
                wand,
                &[
                    "libMagickWand-6.Q16.so.6",
                    "libMagickWand-7.Q16HDRI.so.10",
                    "libMagickWand-7.Q16HDRI.10.dylib",
                ],
            ),
            (xml, &["libxml2.so.2", "libxml2.so.16"]),
            (xslt, &["libxslt.so.1"]),
        ] {
            assert!(names.iter().all(|name| library.is(name)), "{}", library.title);
        }
        for (library, names) in [
            (cairo, &["libcairo-gobject.so.2", "libcairo2.txt", "libcairo.a", "libpangocairo-1.0.so.0"][..]),
            (wand, &["libMagickCore-6.Q16.so.6", "libMagickWand-6.Q16.a"]),
            (xml, &["libxml2mod.so", "libxml2.a"]),
        ] {
            assert!(!names.iter().any(|name| library.is(name)), "{}", library.title);
        }
    }

    #[test]
    fn every_library_has_a_command_on_every_system() {
        let systems = [
            System::Debian(Some(12)),
            System::Debian(Some(13)),
            System::Debian(None),
            System::Ubuntu,
            System::Fedora,
            System::MacOs,
            System::Other,
        ];
        let lines: Vec<String> = systems
            .iter()
            .flat_map(|system| {
                let of = |library: &Library| library.judge(&Found::Nowhere, *system).next;
                LIBRARIES.iter().filter_map(of).map(move |next| format!("{system}: {next}"))
            })
            .collect();
        insta::assert_snapshot!(lines.join("\n"), @"
        debian 12: sudo apt-get install libcairo2
        debian 12: sudo apt-get install libmagickwand-6.q16-6
        debian 12: sudo apt-get install libxml2
        debian 12: sudo apt-get install libxslt1.1
        debian 13: sudo apt-get install libcairo2
        debian 13: sudo apt-get install libmagickwand-7.q16-10
        debian 13: sudo apt-get install libxml2
        debian 13: sudo apt-get install libxslt1.1
        debian: sudo apt-get install libcairo2
        debian: sudo apt-get install libmagickwand-dev
        debian: sudo apt-get install libxml2
        debian: sudo apt-get install libxslt1.1
        ubuntu: sudo apt-get install libcairo2
        ubuntu: sudo apt-get install libmagickwand-dev
        ubuntu: sudo apt-get install libxml2
        ubuntu: sudo apt-get install libxslt1.1
        fedora: sudo dnf install cairo
        fedora: sudo dnf install ImageMagick-libs
        fedora: sudo dnf install libxml2
        fedora: sudo dnf install libxslt
        macos: brew install cairo
        macos: brew install imagemagick
        other: install cairo with the package manager of your system
        other: install imagemagick with the package manager of your system
        other: install libxml2 with the package manager of your system
        other: install libxslt with the package manager of your system
        ");
    }

    #[test]
    fn only_what_invenio_fails_without_is_a_problem() {
        let verdict = |library: &Library, found: &Found| library.judge(found, System::Ubuntu).verdict;
        let missing: Vec<Verdict> = LIBRARIES.iter().map(|l| verdict(l, &Found::Nowhere)).collect();
        assert_eq!(missing, [Verdict::Problem, Verdict::Warning, Verdict::Warning, Verdict::Warning]);
        assert!(LIBRARIES.iter().all(|l| verdict(l, &Found::At("/x".into())) == Verdict::Ok));
        let brew = Found::OutOfReach {
            path: "/opt/homebrew/lib/libcairo.2.dylib".into(),
            folder: "/opt/homebrew/lib".into(),
        };
        let finding = LIBRARIES[0].judge(&brew, System::MacOs);
        assert_eq!(finding.next.as_deref(), Some("export DYLD_FALLBACK_LIBRARY_PATH=/opt/homebrew/lib"));
        assert!(LIBRARIES[1].judge(&Found::Nowhere, System::Ubuntu).why.unwrap().contains("15 to 16 s"));
    }
}
