//! As much AMQP 0-9-1 as it takes to publish with confirms: the management API gives none.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;

use crate::clients::Env;

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const HEARTBEAT: u8 = 8;

/// Class and method numbers of the protocol.
type Method = (u16, u16);

/// A connection with one channel, logged in with what `env` prints.
pub(crate) struct Broker {
    stream: BufReader<TcpStream>,
}

impl Broker {
    /// Logs in. `Err`: the code and the words with which the broker refuses.
    pub(crate) fn login(env: &Env) -> Result<Self, String> {
        let rest = env["AMQP_URL"].strip_prefix("amqp://").unwrap();
        let (login, rest) = rest.split_once('@').unwrap();
        let (user, password) = login.split_once(':').unwrap();
        let (address, vhost) = rest.split_once('/').unwrap();
        let mut broker = Self { stream: BufReader::new(TcpStream::connect(address).unwrap()) };
        broker.stream.get_mut().write_all(b"AMQP\0\0\x09\x01").unwrap();
        broker.expect((10, 10))?;
        // So that a wrong password is told, not a broken connection.
        let capability = [short_text("authentication_failure_close"), b"t\x01".to_vec()].concat();
        let table = [short_text("capabilities"), b"F".to_vec(), long_text(&capability)].concat();
        let plain = long_text(format!("\0{user}\0{password}").as_bytes());
        broker.call(0, (10, 11), &[long_text(&table), short_text("PLAIN"), plain, short_text("en_US")]);
        let tune = broker.expect((10, 30))?;
        broker.call(0, (10, 31), &[tune[..6].to_vec(), vec![0, 0]]);
        broker.call(0, (10, 40), &[short_text(&vhost.replace("%2F", "/")), vec![0, 0]]);
        broker.expect((10, 41))?;
        broker.call(1, (20, 10), &[vec![0]]);
        broker.expect((20, 11))?;
        Ok(broker)
    }

    /// Declares a durable queue; the number of messages in it.
    #[track_caller]
    pub(crate) fn declare(&mut self, queue: &str) -> u32 {
        const DURABLE: u8 = 2;
        self.call(1, (50, 10), &[vec![0, 0], short_text(queue), vec![DURABLE], long_text(b"")]);
        let answer = self.expect((50, 11)).unwrap();
        let numbers = &answer[1 + usize::from(answer[0])..];
        u32::from_be_bytes(numbers[..4].try_into().unwrap())
    }

    /// Publishes persistent messages and waits until the broker has confirmed every one of them.
    #[track_caller]
    pub(crate) fn publish(&mut self, queue: &str, messages: &[String]) {
        self.call(1, (85, 10), &[vec![0]]);
        self.expect((85, 11)).unwrap();
        for message in messages {
            self.call(1, (60, 40), &[vec![0, 0], short_text(""), short_text(queue), vec![0]]);
            let size = u64::try_from(message.len()).unwrap().to_be_bytes();
            // The one property given is the delivery mode: persistent.
            self.frame(HEADER, 1, &[&[0, 60, 0, 0][..], &size, &[0x10, 0x00, 2]].concat());
            self.frame(BODY, 1, message.as_bytes());
        }
        let mut open: Vec<bool> = vec![true; messages.len()];
        while open.contains(&true) {
            let ack = self.expect((60, 80)).unwrap();
            let tag = usize::try_from(u64::from_be_bytes(ack[..8].try_into().unwrap())).unwrap();
            let from = if ack[8] & 1 == 1 { 0 } else { tag - 1 };
            open[from..tag].fill(false);
        }
    }

    /// Takes every message out of a queue.
    #[track_caller]
    pub(crate) fn take_all(&mut self, queue: &str) -> Vec<String> {
        const NO_ACK: u8 = 1;
        let mut messages = Vec::new();
        loop {
            self.call(1, (60, 70), &[vec![0, 0], short_text(queue), vec![NO_ACK]]);
            if self.either((60, 71), (60, 72)).unwrap().0 == (60, 72) {
                return messages;
            }
            let (kind, header) = self.read();
            assert_eq!(kind, HEADER);
            let size = u64::from_be_bytes(header[4..12].try_into().unwrap());
            let mut body = Vec::new();
            while u64::try_from(body.len()).unwrap() < size {
                body.extend(self.read().1);
            }
            messages.push(String::from_utf8(body).unwrap());
        }
    }

    fn call(&mut self, channel: u16, method: Method, arguments: &[Vec<u8>]) {
        let head = [method.0.to_be_bytes(), method.1.to_be_bytes()].concat();
        self.frame(METHOD, channel, &[head, arguments.concat()].concat());
    }

    fn frame(&mut self, kind: u8, channel: u16, payload: &[u8]) {
        let [c0, c1] = channel.to_be_bytes();
        let size = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let bytes = [&[kind, c0, c1][..], &size, payload, &[0xCE]].concat();
        self.stream.get_mut().write_all(&bytes).unwrap();
    }

    /// The next frame that says something.
    fn read(&mut self) -> (u8, Vec<u8>) {
        loop {
            let mut head = [0; 7];
            self.stream.read_exact(&mut head).unwrap();
            let size = u32::from_be_bytes(head[3..].try_into().unwrap());
            let mut payload = vec![0; usize::try_from(size).unwrap() + 1];
            self.stream.read_exact(&mut payload).unwrap();
            assert_eq!(payload.pop(), Some(0xCE), "a frame without its end");
            if head[0] != HEARTBEAT {
                return (head[0], payload);
            }
        }
    }

    fn expect(&mut self, method: Method) -> Result<Vec<u8>, String> {
        self.either(method, method).map(|(_, arguments)| arguments)
    }

    fn either(&mut self, one: Method, other: Method) -> Result<(Method, Vec<u8>), String> {
        let (kind, payload) = self.read();
        assert_eq!(kind, METHOD);
        let number = |at: usize| u16::from_be_bytes(payload[at..at + 2].try_into().unwrap());
        let method = (number(0), number(2));
        match method {
            _ if method == one || method == other => Ok((method, payload[4..].to_vec())),
            (10, 50) | (20, 40) => Err(format!("{} {}", number(4), String::from_utf8_lossy(&payload[7..]))),
            _ => Err(format!("it answers with the method {method:?}")),
        }
    }
}

fn short_text(text: &str) -> Vec<u8> {
    [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
}

fn long_text(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}
