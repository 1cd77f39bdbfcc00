//! How to trust the local authority, and how to take that back: commands to read and to type. Nothing here runs them.

use camino::Utf8Path;
use serde::Serialize;

use crate::process::quoted;
use crate::tool::System;

/// One program, or family of programs, with a list of authorities of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Way {
    /// Who trusts the authority then.
    pub who: &'static str,
    pub trust: Vec<String>,
    pub untrust: Vec<String>,
    /// What one should know before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<&'static str>,
}

/// The name of the file among the authorities of a system.
const FILE: &str = "invenio-ecosystem";

/// The ways that there are on a system, for the authority in this file with this name. Of a system that is not known, both families.
pub fn ways(system: System, certificate: &Utf8Path, name: &str) -> Vec<Way> {
    let file = quoted(certificate.as_str());
    let name = quoted(name);
    let mac = system == System::MacOs;
    let mut ways = Vec::new();
    if mac {
        ways.push(way(
            "macOS: Safari, Chrome, curl",
            &[format!(
                "security add-trusted-cert -r trustRoot -p ssl -k ~/Library/Keychains/login.keychain-db {file}"
            )],
            &[
                format!("security remove-trusted-cert {file}"),
                format!("security delete-certificate -c {name} ~/Library/Keychains/login.keychain-db"),
            ],
            Some("it asks for your password; for this user alone"),
        ));
    }
    if matches!(system, System::Debian(_) | System::Ubuntu | System::Other) {
        let installed = format!("/usr/local/share/ca-certificates/{FILE}.crt");
        ways.push(way(
            "Debian, Ubuntu: curl, wget, git, OpenSSL",
            &[format!("sudo install -m 0644 {file} {installed}"), "sudo update-ca-certificates".to_owned()],
            &[format!("sudo rm {installed}"), "sudo update-ca-certificates --fresh".to_owned()],
            Some("for every user of this machine"),
        ));
    }
    if matches!(system, System::Fedora | System::Other) {
        let installed = format!("/etc/pki/ca-trust/source/anchors/{FILE}.pem");
        ways.push(way(
            "Fedora: curl, wget, git, OpenSSL",
            &[format!("sudo install -m 0644 {file} {installed}"), "sudo update-ca-trust".to_owned()],
            &[format!("sudo rm {installed}"), "sudo update-ca-trust".to_owned()],
            Some("for every user of this machine"),
        ));
    }
    if !mac {
        let tool = if system == System::Fedora { "nss-tools" } else { "libnss3-tools" };
        let database = "sql:$HOME/.pki/nssdb";
        ways.push(way(
            "Chromium, Chrome",
            &[
                "mkdir -p ~/.pki/nssdb && { certutil -d sql:$HOME/.pki/nssdb -L >/dev/null 2>&1 || certutil -d sql:$HOME/.pki/nssdb -N --empty-password; }".to_owned(),
                format!("certutil -d {database} -A -t C,, -n {name} -i {file}"),
            ],
            &[format!("certutil -d {database} -D -n {name}")],
            Some(if tool == "nss-tools" {
                "certutil is in the package nss-tools; start the browser again"
            } else {
                "certutil is in the package libnss3-tools; start the browser again"
            }),
        ));
    }
    if mac {
        ways.push(way("Firefox", &[], &[], Some("it follows the keychain, as set up in the line for macOS")));
    } else {
        let each = "for profile in ~/.mozilla/firefox/*.default* ~/snap/firefox/common/.mozilla/firefox/*.default*; do [ ! -d \"$profile\" ] ||";
        ways.push(way(
            "Firefox",
            &[format!("{each} certutil -d \"sql:$profile\" -A -t C,, -n {name} -i {file}; done")],
            &[format!("{each} certutil -d \"sql:$profile\" -D -n {name}; done")],
            Some("while it is closed; it needs certutil as well"),
        ));
    }
    ways.push(way(
        "curl, once",
        &[format!("curl --cacert {file} https://127.0.0.1:5000/")],
        &[],
        Some("nothing has to be taken back"),
    ));
    ways.push(way(
        "Python: requests, httpx, urllib",
        &[format!("export REQUESTS_CA_BUNDLE={file} SSL_CERT_FILE={file}")],
        &["unset REQUESTS_CA_BUNDLE SSL_CERT_FILE".to_owned()],
        Some("in this shell; Python then trusts nothing else, not even the sites of the internet"),
    ));
    ways.push(way(
        "Node",
        &[format!("export NODE_EXTRA_CA_CERTS={file}")],
        &["unset NODE_EXTRA_CA_CERTS".to_owned()],
        Some("in this shell"),
    ));
    ways
}

fn way(who: &'static str, trust: &[String], untrust: &[String], note: Option<&'static str>) -> Way {
    Way { who, trust: trust.to_vec(), untrust: untrust.to_vec(), note }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_system_gets_its_own_ways_and_what_is_trusted_can_be_taken_back() {
        let ways = |system| ways(system, "/home/a b/cert.pem".into(), "Our authority 1");
        let who = |system| ways(system).into_iter().map(|way| way.who).collect::<Vec<_>>();
        assert_eq!(
            who(System::Debian(Some(12))),
            [
                "Debian, Ubuntu: curl, wget, git, OpenSSL",
                "Chromium, Chrome",
                "Firefox",
                "curl, once",
                "Python: requests, httpx, urllib",
                "Node"
            ]
        );
        assert_eq!(who(System::MacOs)[..2], ["macOS: Safari, Chrome, curl", "Firefox"]);
        assert_eq!(who(System::Fedora)[0], "Fedora: curl, wget, git, OpenSSL");
        for system in [System::Debian(None), System::Ubuntu, System::Fedora, System::MacOs, System::Other] {
            for way in ways(system) {
                let alone = ["curl, once", "Firefox"].contains(&way.who);
                assert!(alone || (!way.trust.is_empty() && !way.untrust.is_empty()), "{way:?}");
                for line in way.trust.iter().filter(|line| line.contains("cert.pem")) {
                    assert!(line.contains("'/home/a b/cert.pem'"), "{line}");
                }
            }
        }
    }
}
