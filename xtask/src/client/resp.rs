//! RESP, the language of Redis: requests out, replies in. Bytes come from a stranger until proven otherwise, so everything is bounded.

use std::io::{self, BufRead, Read};

/// A line, such as a status or a length.
const MAX_LINE: u64 = 4 * 1024;
/// A string: `INFO` has about 5 KB.
const MAX_BULK: u64 = 1024 * 1024;
/// A whole reply, whatever is nested in it.
const MAX_REPLY: u64 = 4 * MAX_BULK;
/// Elements of an array, and how deep arrays nest.
const MAX_ITEMS: i64 = 4096;
const MAX_DEPTH: u8 = 4;

/// What a server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    Status(String),
    Error(String),
    Integer(i64),
    Text(String),
    Nothing,
    Array(Vec<Reply>),
}

/// A command with its arguments.
pub fn request(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
    bytes
}

/// Reads one reply. `InvalidData`: this is not RESP.
pub fn reply(input: &mut impl BufRead) -> io::Result<Reply> {
    let mut bounded = input.take(MAX_REPLY);
    let reply = nested(&mut bounded, 0);
    match reply {
        // Not the server has ended it, but our patience.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && bounded.limit() == 0 => {
            Err(invalid("a reply too large"))
        }
        other => other,
    }
}

fn nested(input: &mut impl BufRead, depth: u8) -> io::Result<Reply> {
    let line = line(input)?;
    let mut chars = line.chars();
    let kind = chars.next();
    let rest = chars.as_str();
    match kind {
        Some('+') => Ok(Reply::Status(rest.to_owned())),
        Some('-') => Ok(Reply::Error(rest.to_owned())),
        Some(':') => Ok(Reply::Integer(number(rest)?)),
        Some('$') => match number(rest)? {
            -1 => Ok(Reply::Nothing),
            length => text(input, length).map(Reply::Text),
        },
        Some('*') => match number(rest)? {
            -1 => Ok(Reply::Nothing),
            items if (0..=MAX_ITEMS).contains(&items) && depth < MAX_DEPTH => {
                // Collected one by one: an announced length allocates nothing.
                let mut all = Vec::new();
                for _ in 0..items {
                    all.push(nested(input, depth + 1)?);
                }
                Ok(Reply::Array(all))
            }
            _ => Err(invalid("an array too large or too deep")),
        },
        _ => Err(invalid("it begins with something else")),
    }
}

fn line(input: &mut impl BufRead) -> io::Result<String> {
    let mut bytes = Vec::new();
    input.take(MAX_LINE).read_until(b'\n', &mut bytes)?;
    match bytes.strip_suffix(b"\r\n") {
        Some(line) => Ok(String::from_utf8_lossy(line).into_owned()),
        None if bytes.ends_with(b"\n") || bytes.len() as u64 == MAX_LINE => {
            Err(invalid("a line without an end"))
        }
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn text(input: &mut impl BufRead, length: i64) -> io::Result<String> {
    let length = u64::try_from(length).map_err(|_| invalid("a negative length"))?;
    if length > MAX_BULK {
        return Err(invalid("a string too large"));
    }
    let mut bytes = Vec::new();
    input.take(length + 2).read_to_end(&mut bytes)?;
    if (bytes.len() as u64) < length + 2 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    match bytes.strip_suffix(b"\r\n") {
        Some(text) => Ok(String::from_utf8_lossy(text).into_owned()),
        None => Err(invalid("a string without an end")),
    }
}

fn number(text: &str) -> io::Result<i64> {
    text.parse().map_err(|_| invalid("a length that is no number"))
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Reply, io::ErrorKind> {
        reply(&mut io::BufReader::with_capacity(3, bytes)).map_err(|error| error.kind())
    }

    #[test]
    fn every_kind_of_reply() {
        assert_eq!(read(b"+OK\r\n"), Ok(Reply::Status("OK".into())));
        assert_eq!(read(b"-ERR no\r\n"), Ok(Reply::Error("ERR no".into())));
        assert_eq!(read(b":-7\r\n"), Ok(Reply::Integer(-7)));
        assert_eq!(read(b"$3\r\na\r\n\r\n"), Ok(Reply::Text("a\r\n".into())));
        assert_eq!(read(b"$-1\r\n"), Ok(Reply::Nothing));
        assert_eq!(
            read(b"*2\r\n$1\r\nk\r\n*0\r\n"),
            Ok(Reply::Array(vec![Reply::Text("k".into()), Reply::Array(vec![])]))
        );
    }

    #[test]
    fn a_request_counts_bytes_not_characters() {
        assert_eq!(request(&["AUTH", "kůň"]), "*2\r\n$4\r\nAUTH\r\n$5\r\nkůň\r\n".as_bytes());
    }

    #[test]
    fn whatever_is_cut_off_is_worth_asking_again() {
        let whole = b"*2\r\n$4\r\nname\r\n:12\r\n";
        for end in 0..whole.len() {
            assert_eq!(read(&whole[..end]), Err(io::ErrorKind::UnexpectedEof), "{end} bytes");
        }
    }

    #[test]
    fn huge_lengths_and_garbage_are_refused_without_allocating() {
        let many = [
            b"*9\r\n".as_slice(),
            &[b"$1000000\r\n", vec![b'x'; 1_000_000].as_slice(), b"\r\n"].concat().repeat(9),
        ]
        .concat();
        let deep = b"*1\r\n".repeat(100);
        let long = [b"+".as_slice(), &[b'x'; 10_000]].concat();
        for bytes in [
            b"$99999999999\r\n".as_slice(),
            b"$-5\r\n",
            b"$9223372036854775807\r\n",
            b"*2147483647\r\n",
            b"$x\r\n",
            b"$1\r\nabc\r\n",
            b"+OK\n",
            b"\x00\x01\x02\n",
            b"HTTP/1.1 400 Bad Request\r\n",
            &many,
            &deep,
            &long,
        ] {
            assert_eq!(read(bytes), Err(io::ErrorKind::InvalidData), "{:?}", &bytes[..bytes.len().min(20)]);
        }
    }
}
