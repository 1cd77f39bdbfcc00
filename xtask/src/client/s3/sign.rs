//! Version 4 of the signatures of AWS, as S3 wants them in the `Authorization` header. The secret itself never travels.
//!
//! The digest of the body is part of what is signed, so the server refuses a body that is another one.

use ecosystem_core::artifact::hex;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest as _, Sha256};

/// The region of a server that was told of none.
pub(super) const REGION: &str = "us-east-1";

/// The digest of no bytes at all.
pub(super) const NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Who signs.
pub(super) struct Signer<'a> {
    pub(super) user: &'a str,
    pub(super) secret: &'a str,
    pub(super) region: &'a str,
}

/// What is signed.
pub(super) struct Signed<'a> {
    pub(super) method: &'a str,
    /// Percent-encoded, with its slashes.
    pub(super) path: &'a str,
    /// Percent-encoded, in the order of its names.
    pub(super) query: &'a str,
    /// By lower-case name, in their order: all of them, `host` and `x-amz-date` among them.
    pub(super) headers: &'a [(String, String)],
    /// The SHA-256 of the body.
    pub(super) sha256: &'a str,
    /// `20130524T000000Z`
    pub(super) at: &'a str,
}

impl Signer<'_> {
    /// The value of the `Authorization` header.
    pub(super) fn sign(&self, request: &Signed<'_>) -> String {
        let Signed { method, path, query, headers, sha256, at } = request;
        let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
        let names = names.join(";");
        let line = |(name, value): &(String, String)| format!("{name}:{}\n", collapsed(value));
        let headers: String = headers.iter().map(line).collect();
        let canonical = format!("{method}\n{path}\n{query}\n{headers}\n{names}\n{sha256}");

        let day = at.get(..8).unwrap_or(at);
        let scope = format!("{day}/{}/s3/aws4_request", self.region);
        let digest = hex(&Sha256::digest(canonical.as_bytes()));
        let text = format!("AWS4-HMAC-SHA256\n{at}\n{scope}\n{digest}");
        let first = format!("AWS4{}", self.secret).into_bytes();
        let key = [day, self.region, "s3", "aws4_request"]
            .iter()
            .fold(first, |key, part| hmac(&key, part.as_bytes()));
        let signature = hex(&hmac(&key, text.as_bytes()));
        format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope},SignedHeaders={names},Signature={signature}",
            self.user
        )
    }
}

/// Several spaces count as one, and those at the ends as none.
fn collapsed(value: &str) -> String {
    value.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    #[expect(clippy::expect_used, reason = "a key of HMAC may have any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length");
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of "Signature Calculations for the Authorization Header" in the API reference of Amazon S3.
    fn signature(method: &str, path: &str, query: &str, more: &[(&str, &str)], sha256: &str) -> String {
        let signer = Signer {
            user: "AKIAIOSFODNN7EXAMPLE",
            secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            region: REGION,
        };
        let at = "20130524T000000Z";
        let host = "examplebucket.s3.amazonaws.com";
        let mut headers: Vec<(String, String)> =
            [("host", host), ("x-amz-content-sha256", sha256), ("x-amz-date", at)]
                .iter()
                .chain(more)
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
        headers.sort();
        let signed = signer.sign(&Signed { method, path, query, headers: &headers, sha256, at });
        assert!(
            signed.starts_with(
                "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders="
            ),
            "{signed}"
        );
        signed.rsplit('=').next().unwrap().to_owned()
    }

    #[test]
    fn the_published_examples_come_out_as_published() {
        let get = signature("GET", "/test.txt", "", &[("range", "bytes=0-9")], NOTHING);
        assert_eq!(get, "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
        let put = [("date", "Fri, 24 May 2013 00:00:00 GMT"), ("x-amz-storage-class", "REDUCED_REDUNDANCY")];
        let body = hex(&Sha256::digest(b"Welcome to Amazon S3."));
        assert_eq!(
            signature("PUT", "/test%24file.text", "", &put, &body),
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
        );
        assert_eq!(
            signature("GET", "/", "lifecycle=", &[], NOTHING),
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
        );
        assert_eq!(
            signature("GET", "/", "max-keys=2&prefix=J", &[], NOTHING),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
        );
    }

    #[test]
    fn nothing_has_the_digest_of_nothing() {
        assert_eq!(hex(&Sha256::digest(b"")), NOTHING);
    }
}
