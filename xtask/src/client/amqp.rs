//! AMQP 0-9-1 as bytes: frames, and the values that methods are made of. Everything read is bounded; garbage is `InvalidData`.
//!
//! Only what a probe needs. Who says what when is `rabbitmq`.

use std::collections::BTreeMap;
use std::io::{self, Read};

/// What a client says first.
pub(super) const PROTOCOL: [u8; 8] = *b"AMQP\0\0\x09\x01";

const END: u8 = 0xCE;
/// Frames larger than the usual agreement are not for us.
const MAX_FRAME: u32 = 128 * 1024;
const MAX_DEPTH: u8 = 8;

/// The kinds of frames.
pub(super) const METHOD: u8 = 1;
pub(super) const HEADER: u8 = 2;
pub(super) const BODY: u8 = 3;
pub(super) const HEARTBEAT: u8 = 8;

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Method, header, body or heartbeat.
    pub kind: u8,
    pub channel: u16,
    pub payload: Vec<u8>,
}

impl Frame {
    /// The frame as it is sent.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![self.kind];
        bytes.extend(self.channel.to_be_bytes());
        bytes.extend(length(self.payload.len()).to_be_bytes());
        bytes.extend(&self.payload);
        bytes.push(END);
        bytes
    }

    /// Reads one frame. `InvalidData`: this is not AMQP, or larger than anything that is asked for here.
    pub fn read(input: &mut impl Read) -> io::Result<Self> {
        let mut head = [0; 7];
        input.read_exact(&mut head)?;
        let [kind, c0, c1, s0, s1, s2, s3] = head;
        let size = u32::from_be_bytes([s0, s1, s2, s3]);
        if ![METHOD, HEADER, BODY, HEARTBEAT].contains(&kind) {
            return Err(invalid("it begins with something else"));
        }
        if size > MAX_FRAME {
            return Err(invalid("a frame too large"));
        }
        let mut payload = Vec::new();
        // The size announced is the most that is read, not what is allocated.
        input.take(u64::from(size)).read_to_end(&mut payload)?;
        let mut end = [0];
        input.read_exact(&mut end)?;
        if end[0] != END {
            return Err(invalid("a frame without its end"));
        }
        Ok(Self { kind, channel: u16::from_be_bytes([c0, c1]), payload })
    }
}

/// Values of a property table. What a probe never looks at is `Other`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Text(String),
    Flag(bool),
    Table(BTreeMap<String, Value>),
    Other,
}

/// Reads the values of a method, in order. `InvalidData`: a value reaches beyond the bytes that are there.
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> io::Result<&'a [u8]> {
        let (head, rest) =
            self.0.split_at_checked(count).ok_or_else(|| invalid("a value longer than its frame"))?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| invalid("a value longer than its frame"))
    }

    /// One byte.
    pub fn octet(&mut self) -> io::Result<u8> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    /// Two bytes, as a number.
    pub fn short(&mut self) -> io::Result<u16> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    /// Four bytes, as a number.
    pub fn long(&mut self) -> io::Result<u32> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// Text after one byte with its length.
    pub fn short_text(&mut self) -> io::Result<String> {
        let length = self.octet()?;
        Ok(String::from_utf8_lossy(self.take(usize::from(length))?).into_owned())
    }

    /// Text after four bytes with its length.
    pub fn long_text(&mut self) -> io::Result<String> {
        Ok(String::from_utf8_lossy(self.block()?).into_owned())
    }

    /// A table of properties.
    pub fn table(&mut self) -> io::Result<BTreeMap<String, Value>> {
        self.nested_table(0)
    }

    /// Bytes after their length.
    fn block(&mut self) -> io::Result<&'a [u8]> {
        let length = self.long()?;
        self.take(usize::try_from(length).map_err(|_| invalid("a length too large"))?)
    }

    fn nested_table(&mut self, depth: u8) -> io::Result<BTreeMap<String, Value>> {
        if depth >= MAX_DEPTH {
            return Err(invalid("tables too deep"));
        }
        let mut inside = Reader(self.block()?);
        let mut table = BTreeMap::new();
        while !inside.0.is_empty() {
            let name = inside.short_text()?;
            table.insert(name, inside.value(depth)?);
        }
        Ok(table)
    }

    fn value(&mut self, depth: u8) -> io::Result<Value> {
        Ok(match self.octet()? {
            b'S' => Value::Text(self.long_text()?),
            b't' => Value::Flag(self.octet()? != 0),
            b'F' => Value::Table(self.nested_table(depth + 1)?),
            b'A' | b'x' => self.skip_block()?,
            b'b' | b'B' => self.skip(1)?,
            b's' | b'u' => self.skip(2)?,
            b'I' | b'i' | b'f' => self.skip(4)?,
            b'D' => self.skip(5)?,
            b'l' | b'L' | b'd' | b'T' => self.skip(8)?,
            b'V' => Value::Other,
            _ => return Err(invalid("a table with a value of an unknown type")),
        })
    }

    fn skip(&mut self, count: usize) -> io::Result<Value> {
        self.take(count).map(|_| Value::Other)
    }

    fn skip_block(&mut self) -> io::Result<Value> {
        self.block().map(|_| Value::Other)
    }
}

/// A method with its arguments, as the payload of a frame.
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn method(class: u16, method: u16) -> Self {
        Self([class.to_be_bytes(), method.to_be_bytes()].concat())
    }

    pub(super) fn octet(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    pub(super) fn short(mut self, value: u16) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(super) fn long(mut self, value: u32) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(super) fn long_long(mut self, value: u64) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    /// At most 255 bytes; the names that this project uses are far shorter.
    pub(super) fn short_text(mut self, text: &str) -> Self {
        let bytes = &text.as_bytes()[..text.len().min(255)];
        self.0.push(u8::try_from(bytes.len()).unwrap_or(u8::MAX));
        self.0.extend(bytes);
        self
    }

    pub(super) fn long_text(self, text: &str) -> Self {
        let mut it = self.long(length(text.len()));
        it.0.extend(text.as_bytes());
        it
    }

    /// A table of texts, with one table of flags called `capabilities`.
    pub(super) fn properties(self, texts: &[(&str, &str)], capabilities: &[&str]) -> Self {
        let mut flags = Self(Vec::new());
        for name in capabilities {
            flags = flags.short_text(name).octet(b't').octet(1);
        }
        let mut table = Self(Vec::new());
        for (name, text) in texts {
            table = table.short_text(name).octet(b'S').long_text(text);
        }
        table = table.short_text("capabilities").octet(b'F').block(&flags.0);
        self.block(&table.0)
    }

    pub(super) fn empty_table(self) -> Self {
        self.long(0)
    }

    pub(super) fn payload(self) -> Vec<u8> {
        self.0
    }

    fn block(self, bytes: &[u8]) -> Self {
        let mut it = self.long(length(bytes.len()));
        it.0.extend(bytes);
        it
    }
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(payload: &[u8]) -> Frame {
        Frame { kind: METHOD, channel: 1, payload: payload.to_vec() }
    }

    fn read(bytes: &[u8]) -> Result<Frame, io::ErrorKind> {
        Frame::read(&mut &*bytes).map_err(|error| error.kind())
    }

    #[test]
    fn what_is_written_can_be_read() {
        let payload = Writer::method(10, 11)
            .properties(&[("product", "ecosystem")], &["connection.blocked"])
            .short_text("PLAIN")
            .long_text("\0user\0pass")
            .short(7)
            .payload();
        let bytes = frame(&payload).encode();
        assert_eq!(read(&bytes), Ok(frame(&payload)));
        let mut reader = Reader(&payload);
        assert_eq!((reader.short().unwrap(), reader.short().unwrap()), (10, 11));
        let table = reader.table().unwrap();
        assert_eq!(table["product"], Value::Text("ecosystem".into()));
        let flags = BTreeMap::from([("connection.blocked".to_owned(), Value::Flag(true))]);
        assert_eq!(table["capabilities"], Value::Table(flags));
        assert_eq!(reader.short_text().unwrap(), "PLAIN");
        assert_eq!(reader.long_text().unwrap(), "\0user\0pass");
        assert_eq!(reader.short().unwrap(), 7);
        assert!(reader.octet().is_err());
    }

    #[test]
    fn a_frame_that_is_cut_off_is_worth_asking_again() {
        let bytes = frame(b"hello").encode();
        for end in 0..bytes.len() {
            assert_eq!(read(&bytes[..end]), Err(io::ErrorKind::UnexpectedEof), "{end} bytes");
        }
    }

    #[test]
    fn garbage_and_huge_frames_are_refused_before_they_are_read() {
        let huge = [&[METHOD, 0, 0][..], &u32::MAX.to_be_bytes()].concat();
        let unended = [&[METHOD, 0, 0, 0, 0, 0, 1, 9, 9][..]].concat();
        for bytes in [b"HTTP/1.1 400 Bad Request".as_slice(), b"AMQP\0\0\x09\x01", &huge, &unended] {
            assert_eq!(read(bytes), Err(io::ErrorKind::InvalidData), "{bytes:?}");
        }
    }

    #[test]
    fn tables_never_reach_beyond_their_frame_or_the_stack() {
        let table = |bytes: &[u8]| Reader(bytes).table().map_err(|error| error.kind());
        let long = [&u32::MAX.to_be_bytes()[..], b"abc"].concat();
        let unknown = [&[0, 0, 0, 3][..], &[1, b'k', b'?']].concat();
        let cut = [&[0, 0, 0, 7][..], &[1, b'k', b'S', 0, 0, 0, 9]].concat();
        let mut deep = Vec::new();
        for _ in 0..1000 {
            let mut outer = vec![1, b'k', b'F'];
            outer.extend(u32::try_from(deep.len()).unwrap().to_be_bytes());
            outer.extend(&deep);
            deep = outer;
        }
        let deep = [&u32::try_from(deep.len()).unwrap().to_be_bytes()[..], &deep].concat();
        for bytes in [long, unknown, cut, deep, vec![0]] {
            assert_eq!(table(&bytes), Err(io::ErrorKind::InvalidData));
        }
    }
}
