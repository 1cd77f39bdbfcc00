//! Certificates as clients see them: OpenSSL and rustls accept those of this machine, and nothing else that the authority signs.

use camino::Utf8PathBuf;
use ecosystem_core::tls::CERTIFICATE_DAYS;

use super::*;
use crate::event::Silent;
use crate::site::State;
use crate::sys::cmd::Cmd;
use crate::sys::fs::write_atomic;

const NOW: i64 = 1_796_000_000;

fn place(folder: &tempfile::TempDir, name: &str) -> Place {
    let path = |name: &str| Utf8PathBuf::from_path_buf(folder.path().join(name)).unwrap();
    let root = path(name);
    State::at(root.join(".ecosystem")).create(&root, &path("store"), 0).unwrap()
}

fn text(file: &Utf8Path) -> String {
    std::fs::read_to_string(file).unwrap()
}

fn mode(file: &Utf8Path) -> u32 {
    std::fs::metadata(file).unwrap().permissions().mode() & 0o777
}

fn ensured(place: &Place, bind: &str, now: i64) -> String {
    ensure_at(place, bind, now, &Silent).unwrap();
    text(&tls::certificate(place).certificate)
}

#[test]
fn one_authority_serves_every_place_and_each_has_a_certificate_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (place(&folder, "one"), place(&folder, "other"));
    let first = ensured(&one, "127.0.0.1", NOW);
    assert_eq!(first, ensured(&one, "127.0.0.1", NOW + 300 * DAY), "it is kept as long as it is good");
    let authority = text(&tls::authority(&one.store).certificate);
    let second = ensured(&other, "127.0.0.1", NOW);
    assert_eq!(authority, text(&tls::authority(&one.store).certificate));
    assert!(first != second && first.ends_with(&authority) && second.ends_with(&authority));
    assert_eq!(mode(&tls::authority(&one.store).key), 0o600);
    assert_eq!(mode(&tls::certificate(&one).key), 0o600);
    let leaf = CertificateDer::from_pem_slice(first.as_bytes()).unwrap();
    let (from, until) = tls::validity(&leaf).unwrap();
    assert_eq!((until - from) / DAY, CERTIFICATE_DAYS);
    let (from, until) = tls::validity(&read(&one.store, NOW).unwrap().unwrap().der).unwrap();
    assert_eq!((until - from) / DAY, AUTHORITY_DAYS);
}

#[test]
fn a_certificate_is_made_anew_before_it_ends_and_when_it_is_of_no_use() {
    let folder = tempfile::tempdir().unwrap();
    let place = place(&folder, "p");
    let pair = tls::certificate(&place);
    let mut last = ensured(&place, "127.0.0.1", NOW);
    let mut anew = |what: &str, bind: &str, now: i64| {
        let present = ensured(&place, bind, now);
        assert_ne!(present, last, "{what}");
        assert_eq!(ensured(&place, bind, now), present, "{what}, and once only");
        last = present;
    };
    anew("another address", "127.0.0.9", NOW);
    let later = NOW + (CERTIFICATE_DAYS - RENEW_DAYS) * DAY;
    anew("it was about to end", "127.0.0.9", later);
    write_atomic(&pair.key, KeyPair::generate().unwrap().serialize_pem().as_bytes(), 0o600).unwrap();
    anew("another key", "127.0.0.9", later);
    write_atomic(&pair.certificate, b"\xff", 0o600).unwrap();
    anew("no text", "127.0.0.9", later);
    write_atomic(&pair.certificate, b"-----BEGIN CERTIFICATE-----\n", 0o600).unwrap();
    anew("half of it", "127.0.0.9", later);
    std::fs::remove_file(&pair.key).unwrap();
    anew("no key", "127.0.0.9", later);
    std::fs::remove_dir_all(tls::authority_folder(&place.store)).unwrap();
    anew("another authority", "127.0.0.9", later);
}

#[test]
fn an_authority_that_is_there_is_never_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let place = place(&folder, "p");
    ensured(&place, "127.0.0.1", NOW);
    let pair = tls::authority(&place.store);
    let (certificate, key) = (text(&pair.certificate), text(&pair.key));
    let other_key = KeyPair::generate().unwrap().serialize_pem();
    let refused = |file: &Utf8Path, content: &str, mode: u32, why: &str| {
        write_atomic(file, content.as_bytes(), mode).unwrap();
        let error = ensure_at(&place, "127.0.0.1", NOW, &Silent).unwrap_err().downcast::<Failure>().unwrap();
        assert_eq!(error.code, "authority-unusable");
        assert!(error.message.contains(why) && error.hints.len() == 2, "{}", error.message);
        assert!(!error.message.contains("PRIVATE"), "{}", error.message);
        assert_eq!(text(file), content);
        write_atomic(&pair.certificate, certificate.as_bytes(), 0o644).unwrap();
        write_atomic(&pair.key, key.as_bytes(), 0o600).unwrap();
    };
    refused(&pair.certificate, "", 0o644, "is not a certificate");
    refused(&pair.key, &certificate, 0o600, "is not a key");
    refused(&pair.key, &other_key, 0o600, "its key is another one's");
    refused(&pair.key, &key, 0o640, "others may read its key");
    std::fs::remove_file(&pair.key).unwrap();
    let error = read(&place.store, NOW).unwrap_err();
    assert!(error.message.contains("is missing"), "{}", error.message);
    write_atomic(&pair.key, key.as_bytes(), 0o600).unwrap();
    let error = read(&place.store, NOW + AUTHORITY_DAYS * DAY).unwrap_err();
    assert!(error.message.contains("it ends on 2036-11-"), "{}", error.message);
    read(&place.store, NOW).unwrap().unwrap();
}

/// Signs whatever is asked for, as somebody would who has stolen the key.
fn stolen(authority: &Authority, names: &[&str]) -> rcgen::Certificate {
    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = params(NOW, NOW + DAY);
    params.subject_alt_names = CertificateParams::new(names).unwrap().subject_alt_names;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let issuer = Issuer::new(authority_params(&authority.key, NOW, NOW + DAY), &authority.key);
    params.signed_by(&key, &issuer).unwrap()
}

#[test]
fn the_authority_can_vouch_for_loopback_alone() {
    let folder = tempfile::tempdir().unwrap();
    let place = place(&folder, "p");
    ensured(&place, "127.0.0.1", NOW);
    let authority = read(&place.store, NOW).unwrap().unwrap();
    let root = tls::authority(&place.store).certificate;
    let openssl = which::which("openssl").is_ok();
    let check = |file: &Utf8Path, flag: &str, name: &str| {
        let at = (NOW + 60).to_string();
        let args =
            ["verify", "-x509_strict", "-purpose", "sslserver", "-attime", &at, "-CAfile", root.as_str()];
        Cmd::new("openssl").args(args).args([flag, name, file.as_str()]).run().unwrap().ok()
    };
    let leaf = tls::certificate(&place).certificate;
    let own = tls::own_name(&leaf);
    for (flag, name) in [
        ("-verify_hostname", "localhost"),
        ("-verify_ip", "127.0.0.1"),
        ("-verify_ip", "::1"),
        ("-verify_hostname", own.as_str()),
    ] {
        assert!(!openssl || check(&leaf, flag, name), "{name}");
    }
    assert!(!openssl || !check(&leaf, "-verify_hostname", "example.org"));
    for name in ["example.org", "localhost.example.org", "192.0.2.1", "128.0.0.1", "::2"] {
        let certificate = stolen(&authority, &[name]);
        let accepted = accepts(&authority.der, certificate.der(), &[name.to_owned()], NOW + 60);
        assert!(accepted.is_err(), "{name}");
        let both = stolen(&authority, &["localhost", name]);
        assert!(accepts(&authority.der, both.der(), &["localhost".to_owned()], NOW + 60).is_err(), "{name}");
        let file = root.with_file_name("stolen.pem");
        write_atomic(&file, certificate.pem().as_bytes(), 0o600).unwrap();
        let flag = if name.parse::<std::net::IpAddr>().is_ok() { "-verify_ip" } else { "-verify_hostname" };
        assert!(!openssl || !check(&file, flag, name), "{name}");
    }
}

#[test]
fn no_bytes_fail_what_reads_the_dates_of_a_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let text = ensured(&place(&folder, "p"), "127.0.0.1", NOW);
    let whole = CertificateDer::from_pem_slice(text.as_bytes()).unwrap();
    assert!(tls::validity(&whole).is_some());
    for at in 0..whole.len() {
        let _cut = tls::validity(&whole[..at]);
        for byte in [0x00, 0x17, 0x18, 0x30, 0x7f, 0x80, 0x83, 0xa0, 0xff] {
            let mut other = whole.to_vec();
            other[at] = byte;
            let _any = tls::validity(&other);
        }
    }
}

#[test]
fn several_that_make_an_authority_at_once_end_with_one() {
    let folder = tempfile::tempdir().unwrap();
    let places: Vec<Place> = (0..4).map(|index| place(&folder, &index.to_string())).collect();
    // Within one process they would share a temporary folder: one after the other, as if each had found none.
    let made: Vec<Authority> =
        places.iter().map(|place| make_authority(&place.store, NOW).unwrap()).collect();
    assert!(made.iter().all(|authority| authority.fingerprint() == made[0].fingerprint()));
    let left = places[0]
        .store
        .read_dir_utf8()
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().contains("tmp"));
    assert_eq!(left.count(), 0);
}
