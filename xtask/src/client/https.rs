//! HTTPS to a server behind our own front: our authority is the only root, and the server must have the name that only this place's
//! certificate has.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use camino::Utf8Path;
use ecosystem_core::endpoint::Endpoint;
use ecosystem_core::tls::own_name;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use ureq::http::Uri;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

use super::CONNECT;
use super::http::{MAX_BODY, Reply, config, error};

/// What the front does not write down: asked many times a second while a server starts.
const AGENT: &str = "ecosystem-probe";

/// Whether the application behind a front listens. To be asked first: the front writes down every request that it cannot pass on.
pub fn listens(endpoint: &Endpoint, role: &str) -> io::Result<()> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, endpoint.port(role)));
    TcpStream::connect_timeout(&address, CONNECT).map(drop)
}

/// A client for one port of one server. The identity of its endpoint is the path of its certificate.
pub struct Https {
    agent: ureq::Agent,
    base: String,
    /// What an application takes for its own address.
    host: String,
}

/// The address is known: nothing is looked up.
#[derive(Debug)]
struct Fixed(SocketAddr);

impl Resolver for Fixed {
    fn resolve(
        &self,
        _: &Uri,
        _: &ureq::config::Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut found = self.empty();
        found.push(self.0);
        Ok(found)
    }
}

impl Https {
    /// A client for the port of a role; each call may take this long. `NotFound`: there is no certificate yet.
    pub fn new(endpoint: &Endpoint, role: &str, limit: Duration) -> io::Result<Self> {
        let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidInput, text);
        let file = Utf8Path::new(&endpoint.identity);
        let text = crate::sys::fs::read_optional(file).map_err(|error| invalid(error.to_string()))?;
        let text =
            text.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("there is no {file}")))?;
        // The authority is the last one: behind what it has signed.
        let root = CertificateDer::pem_slice_iter(text.as_bytes()).last().and_then(Result::ok);
        let root = root.ok_or_else(|| invalid(format!("{file} is damaged")))?;
        let root = Certificate::from_der(&root).to_owned();
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::Specific(Arc::new(vec![root])))
            .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()))
            .build();
        let host = endpoint.address(role);
        let address = host.parse().map_err(|_| invalid(format!("{host} is no address")))?;
        let config = config(limit).tls_config(tls).https_only(true).user_agent(AGENT).build();
        Ok(Self {
            agent: ureq::Agent::with_parts(config, DefaultConnector::default(), Fixed(address)),
            base: format!("https://{}:{}", own_name(file), endpoint.port(role)),
            host,
        })
    }

    /// One request. `InvalidData`: no HTTPS, or somebody else's.
    pub fn get(&self, path: &str) -> io::Result<Reply> {
        let request = self.agent.get(format!("{}{path}", self.base)).header("Host", &self.host);
        let mut answer = request.call().map_err(error)?;
        let status = answer.status().as_u16();
        let body = answer.body_mut().with_config().limit(MAX_BODY).read_to_vec().map_err(error)?;
        Ok(Reply { status, body })
    }
}
