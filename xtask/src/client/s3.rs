//! An object store that speaks S3, as MinIO does: does it know this project's password, and the verbs for objects.
//!
//! A MinIO of ours tells its deployment id besides, which stands in the data folder that we gave it.
//! Every request is signed with the digest of its body, so a server that checks it stores what was meant or nothing. Objects are never as a whole
//! in memory.

mod account;
mod answer;
mod owner;
mod sign;
mod upload;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::time::Duration;

use anyhow::Context as _;
use ecosystem_core::artifact::hex;
use ecosystem_core::endpoint::{Attempt, Endpoint, Secret, encoded};
use ecosystem_core::failure::{Failure, Kind};
use ecosystem_core::pack::objects::OWN_KEYS;
use ecosystem_core::tenant;
use sha2::{Digest as _, Sha256};
use ureq::http::{HeaderValue, Request, Response};
use ureq::{Body, SendBody};

pub(super) use account::furnish;
pub use answer::{Listed, Page, begun, buckets, page, unfinished};

use super::http::{MAX_BODY, Reply, agent, error};
use super::{Effort, trouble, unusable};
use crate::sys::{clock, interrupt};
use sign::{NOTHING, REGION, Signed, Signer};

const ROLE: &str = "s3";

/// What goes in one request may take long on a busy disk; Ctrl-C ends it.
const PATIENCE: Duration = Duration::from_mins(10);

/// Where a probe writes, where the manifest names no bucket; deleted after each use.
const PROBE_BUCKET: &str = "ecosystem-probe";

/// What metadata is called in headers.
const METADATA: &str = "x-amz-meta-";

/// Whether the server is ours and knows this project's password, and with a write: has what the manifest wants, and stores what it is given.
pub(super) fn check(endpoint: &Endpoint, effort: Effort) -> Result<(), Attempt> {
    let store = Store::new(endpoint, effort.limit());
    let said = |error: io::Error| trouble(&error, "S3", &endpoint.address(ROLE));
    let reply = store.ask(&Call::new("GET", "", "")).map_err(said)?;
    if reply.ok() {
        buckets(&reply.body).map_err(said)?;
    } else {
        let code = answer::refusal(&reply.body).unwrap_or_default().code;
        match code.as_str() {
            "InvalidAccessKeyId" | "SignatureDoesNotMatch" => {
                return Err(Attempt::Never(format!("it does not know this project's password ({code})")));
            }
            // It knows us, and who may not list buckets may still use one.
            "AccessDenied" => {}
            _ => return Err(Attempt::NotYet(reason(&reply))),
        }
    }
    store.is_ours(endpoint)?;
    if effort == Effort::Write {
        furnish(endpoint)?;
        // It is the application that will write.
        Store::new(&endpoint.of_application(), effort.limit()).write(endpoint)?;
    }
    Ok(())
}

/// An object store that is ours.
pub struct Store {
    agent: ureq::Agent,
    /// `host:port`
    host: String,
    /// Whose buckets these are, where they are not the main instance's.
    tenant: Option<String>,
    login: Option<(String, Secret)>,
}

/// What a server says of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Head {
    pub bytes: u64,
    pub media_type: Option<String>,
    /// By lower-case name.
    pub metadata: BTreeMap<String, String>,
}

/// What is put under a key.
#[derive(Debug, Clone)]
pub struct Content<'a> {
    pub key: &'a str,
    pub bytes: u64,
    pub sha256: &'a str,
    pub media_type: Option<&'a str>,
    pub metadata: &'a BTreeMap<String, String>,
}

/// One request.
struct Call<'a> {
    method: &'a str,
    bucket: &'a str,
    key: &'a str,
    query: Vec<(&'a str, &'a str)>,
    /// By lower-case name; signed.
    headers: Vec<(String, String)>,
    sha256: &'a str,
    bytes: u64,
}

impl<'a> Call<'a> {
    fn new(method: &'a str, bucket: &'a str, key: &'a str) -> Self {
        Self { method, bucket, key, query: Vec::new(), headers: Vec::new(), sha256: NOTHING, bytes: 0 }
    }

    /// One of MinIO's own.
    fn admin(method: &'a str, path: &'a str) -> Self {
        Self::new(method, "", path)
    }

    fn with(mut self, name: &'a str, value: &'a str) -> Self {
        self.query.push((name, value));
        self
    }

    /// With the headers that say what an object is.
    fn saying(mut self, content: &Content<'_>) -> Self {
        self.headers.extend(content.media_type.map(|kind| ("content-type".to_owned(), kind.to_owned())));
        let metadata =
            content.metadata.iter().map(|(name, value)| (format!("{METADATA}{name}"), value.clone()));
        self.headers.extend(metadata);
        self
    }

    /// `bucket` is what the server calls it.
    fn path(&self, bucket: &str) -> String {
        let parts = [bucket].into_iter().filter(|bucket| !bucket.is_empty() || self.key.is_empty());
        // A bucket itself has no slash behind it.
        let key = Some(self.key).filter(|key| !key.is_empty()).into_iter().flat_map(|key| key.split('/'));
        let path: Vec<String> = parts.chain(key).map(encoded).collect();
        format!("/{}", path.join("/"))
    }

    fn query(&self) -> String {
        let mut pairs: Vec<String> =
            self.query.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
        pairs.sort();
        pairs.join("&")
    }
}

impl Store {
    fn new(endpoint: &Endpoint, limit: Duration) -> Self {
        let login = endpoint.secret.clone().map(|secret| (endpoint.user.clone().unwrap_or_default(), secret));
        Self { agent: agent(limit), host: endpoint.address(ROLE), tenant: endpoint.database.clone(), login }
    }

    /// Connects, and makes sure that the server knows us.
    pub fn open(endpoint: &Endpoint) -> anyhow::Result<Self> {
        check(endpoint, Effort::Look).map_err(|attempt| unusable(endpoint, attempt))?;
        Ok(Self::new(endpoint, PATIENCE))
    }

    /// Whether a MinIO that was started by us has the id that it wrote into its data folder.
    fn is_ours(&self, endpoint: &Endpoint) -> Result<(), Attempt> {
        if endpoint.is_elsewhere() {
            return Ok(());
        }
        let text = |bytes: &[u8], name: &str| {
            let value: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
            value[name].as_str().map(ToOwned::to_owned)
        };
        let written = std::fs::read(&endpoint.identity).unwrap_or_default();
        let Some(wanted) = text(&written, "id") else {
            return Err(Attempt::NotYet("its data folder has no deployment id yet".to_owned()));
        };
        let reply = self.ask(&Call::admin("GET", "minio/admin/v3/info"));
        let reply = reply.map_err(|error| trouble(&error, "S3", &self.host))?;
        match text(&reply.body, "deploymentID") {
            Some(id) if id == wanted => Ok(()),
            Some(id) => Err(Attempt::Never(format!("the MinIO of the deployment {id} answers, not ours"))),
            None => Err(Attempt::NotYet(format!("it does not tell its deployment id: {}", reply.reason()))),
        }
    }

    /// What the server calls a bucket.
    fn named<'a>(&self, bucket: &'a str) -> Cow<'a, str> {
        match &self.tenant {
            Some(tenant) if !bucket.is_empty() => tenant::bucket(bucket, tenant).into(),
            _ => bucket.into(),
        }
    }

    /// The names of all buckets as the server has them, in their order, but for that of an interrupted probe.
    pub fn buckets(&self) -> anyhow::Result<Vec<String>> {
        let reply = self.insist("list buckets", &Call::new("GET", "", ""))?;
        let mut names = buckets(&reply.body).context("MinIO cannot list buckets")?;
        names.retain(|name| name != PROBE_BUCKET);
        names.sort();
        Ok(names)
    }

    /// Makes a bucket, where it is not there yet.
    pub fn create(&self, bucket: &str) -> anyhow::Result<()> {
        let what = format!("make the bucket {bucket}");
        let reply =
            self.ask(&Call::new("PUT", bucket, "")).with_context(|| format!("MinIO cannot {what}"))?;
        let there = answer::refusal(&reply.body).is_some_and(|refusal| {
            ["BucketAlreadyOwnedByYou", "BucketAlreadyExists"].contains(&&*refusal.code)
        });
        if reply.ok() || there { Ok(()) } else { Err(rejected(&what, &reply).into()) }
    }

    /// A page of the objects of a bucket, in the order of their keys. `None`: there is no such bucket.
    pub fn list(&self, bucket: &str, from: Option<&str>) -> anyhow::Result<Option<Page>> {
        let mut call = Call::new("GET", bucket, "").with("list-type", "2").with("encoding-type", "url");
        if let Some(from) = from {
            call = call.with("continuation-token", from);
        }
        let what = format!("list the bucket {bucket}");
        let reply = self.ask(&call).with_context(|| format!("MinIO cannot {what}"))?;
        match reply.status {
            404 => Ok(None),
            200..300 => Ok(Some(page(&reply.body).with_context(|| format!("MinIO was asked to {what}"))?)),
            _ => Err(rejected(&what, &reply).into()),
        }
    }

    /// What the server says of an object; `None`: it is not there.
    pub fn head(&self, bucket: &str, key: &str) -> anyhow::Result<Option<Head>> {
        let what = || format!("look at {bucket}/{key}");
        let answer = self.run(&Call::new("HEAD", bucket, key), SendBody::none());
        let answer = answer.with_context(|| format!("MinIO cannot {}", what()))?;
        match answer.status().as_u16() {
            404 => Ok(None),
            200..300 => Ok(Some(head(&answer))),
            status => Err(rejected(&what(), &Reply { status, body: Vec::new() }).into()),
        }
    }

    /// Writes the content of an object somewhere; `None`: it is not there.
    pub fn get(&self, bucket: &str, key: &str, to: &mut dyn Write) -> anyhow::Result<Option<Head>> {
        let what = || format!("MinIO cannot read {bucket}/{key}");
        let mut answer = self.run(&Call::new("GET", bucket, key), SendBody::none()).with_context(what)?;
        match answer.status().as_u16() {
            404 => return Ok(None),
            200..300 => {}
            _ => return Err(rejected(&format!("read {bucket}/{key}"), &whole(answer)?).into()),
        }
        let head = head(&answer);
        let (mut reader, mut buffer, mut bytes) = (answer.body_mut().as_reader(), vec![0; 64 * 1024], 0);
        loop {
            interrupt::check()?;
            let count = reader.read(&mut buffer).with_context(what)?;
            if count == 0 {
                break;
            }
            bytes += count as u64;
            // Nobody sends more than he has announced, and nobody makes us take it.
            if bytes > head.bytes {
                break;
            }
            to.write_all(&buffer[..count])?;
        }
        if bytes != head.bytes {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof)).with_context(what);
        }
        Ok(Some(head))
    }

    /// The content of a small object; `None`: it is not there.
    pub fn read(&self, bucket: &str, key: &str) -> anyhow::Result<Option<Vec<u8>>> {
        let what = format!("read {bucket}/{key}");
        let reply =
            self.ask(&Call::new("GET", bucket, key)).with_context(|| format!("MinIO cannot {what}"))?;
        match reply.status {
            404 => Ok(None),
            200..300 => Ok(Some(reply.body)),
            _ => Err(rejected(&what, &reply).into()),
        }
    }

    /// Puts an object there, in one request or in several. What was there under its key is gone once the new one is whole.
    pub fn put(&self, bucket: &str, content: &Content<'_>, from: &mut dyn Read) -> anyhow::Result<()> {
        if content.bytes > upload::SINGLE {
            return self.upload(bucket, content, from);
        }
        let mut call = Call::new("PUT", bucket, content.key).saying(content);
        (call.sha256, call.bytes) = (content.sha256, content.bytes);
        let what = format!("store {bucket}/{}", content.key);
        let answer = self.run(&call, SendBody::from_reader(from)).and_then(whole);
        let reply = answer.with_context(|| format!("MinIO cannot {what}"))?;
        if reply.ok() { Ok(()) } else { Err(rejected(&what, &reply).into()) }
    }

    /// Deletes an object, if it is there.
    pub fn delete(&self, bucket: &str, key: &str) -> anyhow::Result<()> {
        self.insist(&format!("delete {bucket}/{key}"), &Call::new("DELETE", bucket, key)).map(drop)
    }

    /// One object in, out, and away again.
    fn write(&self, endpoint: &Endpoint) -> Result<(), Attempt> {
        let own = endpoint.storage.buckets.first();
        let (bucket, key) =
            (own.map_or(PROBE_BUCKET, String::as_str), format!("{OWN_KEYS}probe-{}", std::process::id()));
        let done = || -> io::Result<(Reply, Reply)> {
            if own.is_none() {
                self.ask(&Call::new("PUT", bucket, ""))?;
            }
            let sha256 = hex(&Sha256::digest(b"ready"));
            let mut call = Call::new("PUT", bucket, &key);
            (call.sha256, call.bytes) = (&sha256, 5);
            let put = whole(self.run(&call, SendBody::from_reader(&mut b"ready".as_slice()))?)?;
            let got = self.ask(&Call::new("GET", bucket, &key))?;
            self.ask(&Call::new("DELETE", bucket, &key))?;
            if own.is_none() {
                self.ask(&Call::new("DELETE", bucket, ""))?;
            }
            Ok((put, got))
        };
        let (put, got) = done().map_err(|error| trouble(&error, "S3", &endpoint.address(ROLE)))?;
        if !put.ok() {
            return Err(Attempt::NotYet(format!("it refuses a write: {}", reason(&put))));
        }
        if got.body == b"ready" {
            return Ok(());
        }
        Err(Attempt::NotYet("a write could not be read back".to_owned()))
    }

    fn insist(&self, what: &str, call: &Call<'_>) -> anyhow::Result<Reply> {
        let reply = self.ask(call).with_context(|| format!("MinIO cannot {what}"))?;
        if reply.ok() { Ok(reply) } else { Err(rejected(what, &reply).into()) }
    }

    /// Sends a request without a body.
    fn ask(&self, call: &Call<'_>) -> io::Result<Reply> {
        self.run(call, SendBody::none()).and_then(whole)
    }

    fn run(&self, call: &Call<'_>, body: SendBody<'_>) -> io::Result<Response<Body>> {
        let (path, query) = (call.path(&self.named(call.bucket)), call.query());
        let at = clock::now().to_the_second().replace(['-', ':'], "");
        let mut headers = call.headers.clone();
        headers.extend(
            [("host", self.host.as_str()), ("x-amz-content-sha256", call.sha256), ("x-amz-date", &at)]
                .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        headers.sort();
        let authorization = self.login.as_ref().map(|(user, secret)| {
            let signer = Signer { user, secret: secret.reveal(), region: REGION };
            let method = call.method;
            let (path, query, headers, sha256) = (&*path, &*query, &*headers, call.sha256);
            signer.sign(&Signed { method, path, query, headers, sha256, at: &at })
        });
        let mark = if query.is_empty() { "" } else { "?" };
        let mut request =
            Request::builder().method(call.method).uri(format!("http://{}{path}{mark}{query}", self.host));
        let authorization = authorization.map(|value| ("authorization".to_owned(), value));
        for (name, value) in headers.iter().chain(&authorization) {
            let value = HeaderValue::from_str(value)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
            request = request.header(name, value);
        }
        if matches!(call.method, "PUT" | "POST") {
            request = request.header("content-length", call.bytes);
        }
        let invalid = |error: ureq::http::Error| io::Error::new(io::ErrorKind::InvalidInput, error);
        self.agent.run(request.body(body).map_err(invalid)?).map_err(error)
    }
}

/// The whole answer.
fn whole(mut answer: Response<Body>) -> io::Result<Reply> {
    let status = answer.status().as_u16();
    let body = answer.body_mut().with_config().limit(MAX_BODY).read_to_vec().map_err(error)?;
    Ok(Reply { status, body })
}

fn head(answer: &Response<Body>) -> Head {
    let mut head = Head::default();
    for (name, value) in answer.headers() {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        match name.as_str() {
            "content-length" => head.bytes = value.parse().unwrap_or(0),
            "content-type" => head.media_type = Some(value),
            name => {
                if let Some(name) = name.strip_prefix(METADATA) {
                    head.metadata.insert(name.to_owned(), value);
                }
            }
        }
    }
    head
}

fn reason(reply: &Reply) -> String {
    match answer::refusal(&reply.body) {
        Some(refusal) if refusal.message.is_empty() => format!("{} {}", reply.status, refusal.code),
        Some(refusal) => format!("{} {}: {}", reply.status, refusal.code, refusal.message),
        None => reply.reason(),
    }
}

fn rejected(what: &str, reply: &Reply) -> Failure {
    let text = format!("MinIO refuses to {what}: {}", reason(reply));
    Failure::new(Kind::Data, "data-rejected", ecosystem_core::failure::harmless(&text))
}

#[cfg(test)]
mod tests {
    use ecosystem_core::catalog;

    use super::super::tests::{endpoint, server};
    use super::*;

    #[test]
    fn a_key_is_one_path_whatever_is_in_it() {
        let path = |bucket, key| Call::new("GET", bucket, key).path(bucket);
        assert_eq!(Call::admin("GET", "minio/admin").path(""), "/minio/admin");
        assert_eq!(path("", ""), "/");
        assert_eq!(path("b", ""), "/b");
        assert_eq!(path("b", "a b/\u{10d}?#%2F+//"), "/b/a%20b/%C4%8D%3F%23%252F%2B//");
        let call = Call::new("GET", "b", "").with("list-type", "2").with("continuation-token", "a/=");
        assert_eq!(call.query(), "continuation-token=a%2F%3D&list-type=2");
    }

    #[test]
    fn a_minio_of_another_deployment_is_never_ours() {
        let folder = tempfile::tempdir().unwrap();
        let format = folder.path().join("format.json");
        crate::sys::fs::write_atomic(format.to_str().unwrap().into(), br#"{"id": "ours"}"#, 0o600).unwrap();
        let look = |id: &str, identity: &str| {
            let answer = |body: String| {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close", body.len());
                format!("{head}\r\n\r\n{body}").into_bytes()
            };
            let list = "<ListAllMyBucketsResult><Buckets/></ListAllMyBucketsResult>".to_owned();
            let (port, _) = server(vec![answer(list), answer(format!("{{\"deploymentID\": \"{id}\"}}"))]);
            let identity = identity.to_owned();
            check(
                &Endpoint { identity, database: None, ..endpoint(catalog::Kind::Minio, port) },
                Effort::Look,
            )
        };
        assert_eq!(look("ours", format.to_str().unwrap()), Ok(()));
        let other = look("theirs", format.to_str().unwrap());
        assert!(matches!(&other, Err(Attempt::Never(reason)) if reason.contains("theirs")), "{other:?}");
        assert!(matches!(look("ours", "/nowhere"), Err(Attempt::NotYet(_))));
    }

    #[test]
    fn a_server_that_does_not_know_our_password_is_never_ours_and_does_not_get_it() {
        let look = |status: &str, code: &str| {
            let body = format!("<Error><Code>{code}</Code><Message>m</Message></Error>");
            let length = body.len();
            let answer =
                format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
            let (port, seen) = server(vec![answer.into_bytes()]);
            let asked = Endpoint { identity: String::new(), ..endpoint(catalog::Kind::Minio, port) };
            let asked = Endpoint { database: None, ..asked };
            (check(&asked, Effort::Look), seen)
        };
        let (answer, seen) = look("403 no", "SignatureDoesNotMatch");
        assert!(matches!(&answer, Err(Attempt::Never(reason)) if reason.contains("password")), "{answer:?}");
        let seen = String::from_utf8(seen.join().unwrap()).unwrap();
        assert!(seen.contains("AWS4-HMAC-SHA256 Credential=invenio/"), "{seen}");
        assert!(!seen.contains("our password"), "{seen}");
        // Who may not list buckets is known all the same.
        assert_eq!(look("403 no", "AccessDenied").0, Ok(()));
        let (answer, _) = look("503 no", "ServerNotInitialized");
        assert_eq!(answer, Err(Attempt::NotYet("503 ServerNotInitialized: m".into())));
        let (answer, _) = look("200 OK", "x");
        assert!(matches!(answer, Err(Attempt::Never(_))), "{answer:?}");
    }
}
