//! What the manifest wants to be in an object store: buckets, and the account of applications.
//!
//! MinIO's calls that make a user want a body that is encrypted in a way of its own, and so does the one that makes a service account; its
//! console has lost both; credentials of STS end by themselves. What it imports is a plain archive, as it exports it: that makes the user, its
//! policy and what ties them together in one request, and again whatever of it is there. It is sent to nobody but the server that has just
//! proven to be ours.

use std::io::{self, Cursor, Write as _};

use ecosystem_core::artifact::hex;
use ecosystem_core::endpoint::{Account, Attempt, Endpoint};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use ureq::SendBody;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::super::{Effort, trouble};
use super::{Call, ROLE, Store, reason, whole};

/// What the application may do, by this name.
const POLICY: &str = "ecosystem-application";

/// Reading and writing objects, whole and in parts.
const ACTIONS: [&str; 9] = [
    // Libraries make a bucket before they use it, and take it well that it is there.
    "s3:CreateBucket",
    "s3:GetBucketLocation",
    "s3:ListBucket",
    "s3:ListBucketMultipartUploads",
    "s3:ListMultipartUploadParts",
    "s3:AbortMultipartUpload",
    "s3:GetObject*",
    "s3:PutObject*",
    "s3:DeleteObject*",
];

/// Makes what is missing.
pub(in crate::client) fn furnish(endpoint: &Endpoint) -> Result<(), Attempt> {
    let store = Store::new(endpoint, Effort::Write.limit());
    let said = |error: io::Error| trouble(&error, "S3", &endpoint.address(ROLE));
    for bucket in &endpoint.storage.buckets {
        // Who may not make buckets, nor look at them, may still use one.
        if store.run(&Call::new("HEAD", bucket, ""), SendBody::none()).map_err(said)?.status() != 404 {
            continue;
        }
        let reply = store.ask(&Call::new("PUT", bucket, "")).map_err(said)?;
        let refused = format!("it does not make the bucket {bucket}: {}", reason(&reply));
        match reply.status {
            200..300 | 409 => {}
            403 => return Err(Attempt::Never(refused)),
            _ => return Err(Attempt::NotYet(refused)),
        }
    }
    let Some(account) = &endpoint.storage.application else { return Ok(()) };
    let archive = archive(account, &endpoint.storage.buckets).map_err(said)?;
    let mut call = Call::admin("PUT", "minio/admin/v3/import-iam");
    let sha256 = hex(&Sha256::digest(&archive));
    (call.sha256, call.bytes) = (&sha256, archive.len() as u64);
    let mut body = archive.as_slice();
    let reply = store.run(&call, SendBody::from_reader(&mut body)).and_then(whole).map_err(said)?;
    if reply.ok() {
        return Ok(());
    }
    Err(Attempt::NotYet(format!("it does not make the account {}: {}", account.user, reason(&reply))))
}

/// As MinIO exports users and policies.
fn archive(account: &Account, buckets: &[String]) -> io::Result<Vec<u8>> {
    // What follows the hyphen is the name of a tenant.
    let resources = |bucket: &String| ["", "/*", "-*"].map(|end| format!("arn:aws:s3:::{bucket}{end}"));
    let resources: Vec<String> = buckets.iter().flat_map(resources).collect();
    let statement = json!({"Effect": "Allow", "Action": ACTIONS, "Resource": resources});
    let user = account.user.as_str();
    let files = [
        ("policies", json!({POLICY: {"Version": "2012-10-17", "Statement": [statement]}})),
        ("users", json!({user: {"secretKey": account.secret.reveal(), "status": "enabled"}})),
        ("user_mappings", json!({user: {"version": 1, "policy": POLICY}})),
    ];
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        zip.start_file(format!("iam-assets/{name}.json"), SimpleFileOptions::default())?;
        zip.write_all(content.to_string().as_bytes())?;
    }
    Ok(zip.finish()?.into_inner())
}
