//! The user's authority and the certificate of a project: reading, making, and judging them as a client would.
//!
//! An authority that is there is never replaced: what trusts it would not trust the next one. A certificate is, whenever it is of no use.

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use camino::Utf8Path;
use ecosystem_core::artifact::{Key, hex};
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::log::Time;
use ecosystem_core::place::Place;
use ecosystem_core::process::quoted;
use ecosystem_core::tls::{self, AUTHORITY_DAYS, DAY, Pair, RENEW_DAYS, Seen};
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, NameConstraints,
};
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;

use crate::event::{Event, Events};
use crate::sys::clock;
use crate::sys::fs::{create_private_dir, read_optional, write_lasting};

/// The authority of a user.
#[derive(Debug)]
pub struct Authority {
    /// Under which it is listed where it is trusted.
    pub name: String,
    /// When it ends, in seconds since 1970.
    pub until: i64,
    pem: String,
    der: CertificateDer<'static>,
    key: KeyPair,
}

impl Authority {
    /// The SHA-256 of its certificate, as browsers show it.
    pub fn fingerprint(&self) -> String {
        use sha2::Digest;
        hex(&sha2::Sha256::digest(&self.der))
    }
}

/// What tells the certificate of a place from the one before it; empty where there is none.
pub fn present(place: &Place) -> String {
    let text = read_optional(&tls::certificate(place).certificate).ok().flatten();
    text.map_or_else(String::new, |text| Key::of([text.as_str()]).to_string())
}

/// The user's authority; `None` where there is none yet.
pub fn authority(store: &Utf8Path) -> Result<Option<Authority>, Failure> {
    read(store, now())
}

/// Makes what is missing, and the certificate of this place anew where it is of no use. The caller holds the place's lock.
pub fn ensure(place: &Place, bind: &str, events: &dyn Events) -> anyhow::Result<()> {
    ensure_at(place, bind, now(), events)
}

fn ensure_at(place: &Place, bind: &str, now: i64, events: &dyn Events) -> anyhow::Result<()> {
    let fact = |title, text| events.emit(Event::Fact { title, text });
    let authority = if let Some(authority) = read(&place.store, now)? {
        authority
    } else {
        let made = make_authority(&place.store, now)?;
        let file = tls::authority(&place.store).certificate;
        fact("Authority", format!("{file}: made now; `trust` tells how browsers come to trust it"));
        made
    };
    let pair = tls::certificate(place);
    let names = tls::names(&pair.certificate, bind);
    let seen = look(&pair, &authority, &names, now);
    let Some(why) = tls::why_anew(seen.as_ref(), now) else { return Ok(()) };
    make_certificate(&pair, &authority, &names, now)?;
    let seen = look(&pair, &authority, &names, now);
    if let Some(why) = tls::why_anew(seen.as_ref(), now) {
        return Err(unusable(&place.store, &format!("what it has signed is not accepted: {why}")).into());
    }
    if seen.is_some() && why != "there was none" {
        fact("Certificate", format!("made anew: {why}"));
    }
    Ok(())
}

fn now() -> i64 {
    clock::now().seconds()
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn unusable(store: &Utf8Path, why: &str) -> Failure {
    let folder = tls::authority_folder(store);
    Failure::new(Kind::Host, "authority-unusable", format!("the local authority in {folder} cannot be used: {why}"))
        .hint("put the folder back from a backup")
        .hint(format!(
            "or take the trust in it back (`{{program}} trust` tells how), remove it, and the next `up` makes another one: rm -r {}",
            quoted(folder.as_str())
        ))
}

fn read(store: &Utf8Path, now: i64) -> Result<Option<Authority>, Failure> {
    let unusable = |why: &str| unusable(store, why);
    let folder = tls::authority_folder(store);
    if folder.symlink_metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
        return Ok(None);
    }
    let Pair { certificate, key } = tls::authority(store);
    let text = |file: &Utf8Path| match read_optional(file) {
        Ok(Some(text)) => Ok(text),
        Ok(None) => Err(unusable(&format!("{file} is missing"))),
        Err(error) => Err(unusable(&error.to_string())),
    };
    let (pem, secret) = (text(&certificate)?, text(&key)?);
    let mode = std::fs::metadata(&key).map(|meta| meta.permissions().mode()).unwrap_or_default();
    if mode & 0o077 != 0 {
        return Err(unusable(&format!("others may read its key {key}")));
    }
    let der = CertificateDer::from_pem_slice(pem.as_bytes());
    let der = der.map_err(|_| unusable(&format!("{certificate} is not a certificate")))?;
    // What the parser says could quote the key.
    let key = KeyPair::from_pem(&secret).map_err(|_| unusable(&format!("{key} is not a key")))?;
    let public = key.public_key_raw();
    if !der.windows(public.len()).any(|bytes| bytes == public) {
        return Err(unusable("its key is another one's"));
    }
    let Some((_, until)) = tls::validity(&der) else {
        return Err(unusable(&format!("{certificate} is damaged")));
    };
    if until - now < RENEW_DAYS * DAY {
        return Err(unusable(&format!("it ends on {}", Time::from_seconds(until).day())));
    }
    let name = tls::authority_name(&hex(public));
    Ok(Some(Authority { name, until, pem, der, key }))
}

/// What an authority says of itself, and what it may do: vouch for servers on this machine's loopback, and for nothing else.
fn authority_params(key: &KeyPair, begin: i64, end: i64) -> CertificateParams {
    let mut params = params(begin, end);
    params.distinguished_name.push(DnType::CommonName, tls::authority_name(&hex(key.public_key_raw())));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![
            GeneralSubtree::DnsName("localhost".to_owned()),
            GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix([127, 0, 0, 0], 8)),
            GeneralSubtree::IpAddress(CidrSubnet::from_v6_prefix(
                std::net::Ipv6Addr::LOCALHOST.octets(),
                128,
            )),
        ],
        excluded_subtrees: vec![],
    });
    params
}

fn params(begin: i64, end: i64) -> CertificateParams {
    let at = |seconds: i64| {
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
    };
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    (params.not_before, params.not_after) = (at(begin), at(end));
    params
}

/// Makes an authority beside its place and moves it there whole: several commands may do so at once, and one of them wins.
fn make_authority(store: &Utf8Path, now: i64) -> anyhow::Result<Authority> {
    let key = KeyPair::generate().context("cannot make a key")?;
    let begin = now - DAY;
    let params = authority_params(&key, begin, begin + AUTHORITY_DAYS * DAY);
    let certificate = params.self_signed(&key).context("cannot make an authority")?;
    let temporary = store.join(format!(".authority.{}.tmp", std::process::id()));
    let clear = || std::fs::remove_dir_all(&temporary);
    let _never_made = clear();
    create_private_dir(&temporary)?;
    write_lasting(&temporary.join("key.pem"), key.serialize_pem().as_bytes(), 0o600)?;
    write_lasting(&temporary.join("cert.pem"), certificate.pem().as_bytes(), 0o644)?;
    let folder = tls::authority_folder(store);
    match std::fs::rename(&temporary, &folder) {
        Err(error) if matches!(error.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists) => {
            let _left_behind = clear();
        }
        moved => moved.with_context(|| format!("cannot make {folder}"))?,
    }
    read(store, now)?.with_context(|| format!("{folder} has gone again"))
}

fn make_certificate(pair: &Pair, authority: &Authority, names: &[String], now: i64) -> anyhow::Result<()> {
    let key = KeyPair::generate().context("cannot make a key")?;
    let (begin, end) = tls::lifetime(now, authority.until);
    let mut params = params(begin, end);
    params.distinguished_name.push(DnType::CommonName, "localhost");
    params.subject_alt_names = CertificateParams::new(names)?.subject_alt_names;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let issuer = Issuer::new(authority_params(&authority.key, begin, end), &authority.key);
    let certificate = params.signed_by(&key, &issuer).context("cannot sign a certificate")?;
    // The key first: a certificate without its key is told, and made anew.
    write_lasting(&pair.key, key.serialize_pem().as_bytes(), 0o600)?;
    let chain = format!("{}{}", certificate.pem(), authority.pem);
    write_lasting(&pair.certificate, chain.as_bytes(), 0o600)
}

/// What the certificate of a place is good for; `None` where there is none.
fn look(pair: &Pair, authority: &Authority, names: &[String], now: i64) -> Option<Seen> {
    let damaged = Seen { until: None, key_fits: false, accepted: false };
    let text = match read_optional(&pair.certificate) {
        Ok(None) => return None,
        Ok(Some(text)) => text,
        Err(_) => return Some(damaged),
    };
    let Ok(chain) = CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<Vec<_>, _>>() else {
        return Some(damaged);
    };
    let [leaf, root] = chain.as_slice() else { return Some(damaged) };
    let key = read_optional(&pair.key).ok().flatten();
    let key = key.and_then(|text| PrivateKeyDer::from_pem_slice(text.as_bytes()).ok());
    let fits = |key| CertifiedKey::from_der(vec![leaf.clone()], key, &provider()).is_ok();
    Some(Seen {
        until: tls::validity(leaf).map(|(_, until)| until),
        key_fits: key.is_some_and(fits),
        accepted: *root == authority.der && accepts(&authority.der, leaf, names, now).is_ok(),
    })
}

/// Whether a client that trusts this authority alone takes a certificate for that of each of these names.
fn accepts(
    authority: &CertificateDer<'static>,
    leaf: &CertificateDer<'_>,
    names: &[String],
    now: i64,
) -> anyhow::Result<()> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone())?;
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build()?;
    let now = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now).unwrap_or_default()));
    for name in names {
        let server = ServerName::try_from(name.as_str())?;
        verifier.verify_server_cert(leaf, &[], &server, &[], now).with_context(|| name.clone())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
