//! What an object store answers in XML: lists, ids of uploads, refusals. It may be somebody else's server: other forms are told, not trusted.

use std::io;

/// An object of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub key: String,
    pub bytes: u64,
    /// It changes with the content; what it is made of is the server's business.
    pub tag: String,
}

/// A page of a list, and where the next one begins.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Page {
    pub objects: Vec<Listed>,
    pub next: Option<String>,
}

/// A refusal in the server's words, as far as it has any.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: String,
    pub(super) message: String,
}

/// A page of a thousand objects has a tenth of it.
const MAX_NODES: u32 = 200_000;

type Node<'a> = roxmltree::Node<'a, 'a>;

/// The names of buckets.
pub fn buckets(body: &[u8]) -> io::Result<Vec<String>> {
    read(body, "ListAllMyBucketsResult", |root| {
        let buckets = child(root, "Buckets").into_iter().flat_map(|list| children(list, "Bucket"));
        buckets.map(|bucket| text(bucket, "Name").ok_or_else(|| unknown("a bucket without a name"))).collect()
    })
}

/// A page of a list of objects, whose keys are percent-encoded.
pub fn page(body: &[u8]) -> io::Result<Page> {
    read(body, "ListBucketResult", |root| {
        let objects = children(root, "Contents").map(|object| {
            let key = text(object, "Key").map(|key| decoded(&key)).transpose()?;
            let bytes = text(object, "Size").and_then(|size| size.parse().ok());
            let (Some(key), Some(bytes)) = (key, bytes) else {
                return Err(unknown("an object without key or size"));
            };
            Ok(Listed { key, bytes, tag: text(object, "ETag").unwrap_or_default() })
        });
        let more = text(root, "IsTruncated").as_deref() == Some("true");
        let next = text(root, "NextContinuationToken").filter(|_| more);
        if more && next.is_none() {
            return Err(unknown("a list that goes on nowhere"));
        }
        Ok(Page { objects: objects.collect::<io::Result<_>>()?, next })
    })
}

/// The id of an upload that was begun.
pub fn begun(body: &[u8]) -> io::Result<String> {
    read(body, "InitiateMultipartUploadResult", |root| {
        text(root, "UploadId").ok_or_else(|| unknown("an upload without an id"))
    })
}

/// The ids of uploads of a key that were begun and not ended. Keys are percent-encoded.
pub fn unfinished(body: &[u8], key: &str) -> io::Result<Vec<String>> {
    read(body, "ListMultipartUploadsResult", |root| {
        let of_key = |upload: &Node<'_>| {
            text(*upload, "Key").and_then(|key| decoded(&key).ok()).as_deref() == Some(key)
        };
        Ok(children(root, "Upload").filter(of_key).filter_map(|upload| text(upload, "UploadId")).collect())
    })
}

/// What the server has against a request. Some refusals come with a good status, after it was already sent.
pub(super) fn refusal(body: &[u8]) -> Option<Refusal> {
    read(body, "Error", |root| {
        let of = |name| text(root, name).unwrap_or_default();
        Ok(Refusal { code: of("Code"), message: of("Message") })
    })
    .ok()
}

fn read<T>(body: &[u8], root: &str, take: impl FnOnce(Node<'_>) -> io::Result<T>) -> io::Result<T> {
    let body = std::str::from_utf8(body).map_err(|_| unknown("bytes that are no text"))?;
    // Entities of its own a document cannot declare: that is off unless asked for.
    let options = roxmltree::ParsingOptions { nodes_limit: MAX_NODES, ..Default::default() };
    let document = roxmltree::Document::parse_with_options(body, options)
        .map_err(|error| unknown(&error.to_string()))?;
    let found = document.root_element();
    if found.tag_name().name() != root {
        return Err(unknown(&format!("{}, not {root}", found.tag_name().name())));
    }
    take(found)
}

/// Whatever name space it is in: servers differ.
fn children<'a>(of: Node<'a>, name: &'a str) -> impl Iterator<Item = Node<'a>> {
    of.children().filter(move |node| node.tag_name().name() == name)
}

fn child<'a>(of: Node<'a>, name: &'a str) -> Option<Node<'a>> {
    children(of, name).next()
}

fn text(of: Node<'_>, name: &str) -> Option<String> {
    of.children()
        .find(|node| node.tag_name().name() == name)
        .map(|node| node.text().unwrap_or_default().to_owned())
}

/// A key as `encoding-type=url` writes it: a plus is a space.
fn decoded(text: &str) -> io::Result<String> {
    let wrong = || unknown("a key that is not percent-encoded UTF-8");
    let mut parts = text.split('%');
    let plus = |part: &str| part.replace('+', " ").into_bytes();
    let mut bytes = plus(parts.next().unwrap_or_default());
    for part in parts {
        let digits = part.get(..2).ok_or_else(wrong)?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| wrong())?);
        bytes.extend(plus(&part[2..]));
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

fn unknown(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("an answer in an unknown form: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_tells_its_objects_and_where_it_goes_on() {
        let body = br#"<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><IsTruncated>true</IsTruncated>
<Contents><Key>a+b/%C4%8D%2B%0A</Key><Size>3</Size><ETag>&#34;0a&#34;</ETag></Contents>
<NextContinuationToken>x=</NextContinuationToken></ListBucketResult>"#;
        let listed = Listed { key: "a b/č+\n".into(), bytes: 3, tag: "\"0a\"".into() };
        assert_eq!(page(body).unwrap(), Page { objects: vec![listed], next: Some("x=".into()) });
    }

    #[test]
    fn names_ids_and_refusals_are_read() {
        let list = b"<ListAllMyBucketsResult><Owner/><Buckets><Bucket><Name>a</Name></Bucket></Buckets></ListAllMyBucketsResult>";
        assert_eq!(buckets(list).unwrap(), ["a"]);
        assert_eq!(
            begun(b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>")
                .unwrap(),
            "u"
        );
        let uploads = b"<ListMultipartUploadsResult><Upload><Key>a</Key><UploadId>1</UploadId></Upload><Upload><Key>ab</Key><UploadId>2</UploadId></Upload></ListMultipartUploadsResult>";
        assert_eq!(unfinished(uploads, "a").unwrap(), ["1"]);
        let refused = refusal(b"<Error><Code>NoSuchKey</Code><Message>gone</Message></Error>").unwrap();
        assert_eq!(refused, Refusal { code: "NoSuchKey".into(), message: "gone".into() });
    }

    #[test]
    fn other_forms_are_told() {
        for body in [
            "",
            "hello",
            "<html/>",
            "<ListBucketResult><Contents><Key>%zz</Key><Size>1</Size></Contents></ListBucketResult>",
            "<ListBucketResult><Contents><Key>a</Key></Contents></ListBucketResult>",
            "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
            "<!DOCTYPE x [<!ENTITY a \"b\">]><ListBucketResult>&a;</ListBucketResult>",
        ] {
            assert_eq!(page(body.as_bytes()).unwrap_err().kind(), io::ErrorKind::InvalidData, "{body}");
        }
        // As long as answers may be.
        for part in ["<a>", "<a/>", "a", "<a x=''/>"] {
            let body = format!("<ListBucketResult>{}", part.repeat(8 * 1024 * 1024 / part.len()));
            assert_eq!(page(body.as_bytes()).unwrap_err().kind(), io::ErrorKind::InvalidData, "{part}");
        }
        assert_eq!(refusal(b"<html/>"), None);
    }
}
