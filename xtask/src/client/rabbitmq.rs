//! RabbitMQ: is it usable and ours. Identity is the cluster name that the broker tells before anybody has logged in.
//!
//! A node that was not given another cluster name calls itself `<name>@<name of the host>`, and the host's name changes with the
//! network. So only what stands before the `@` is compared here; the management API, where there is one, must show the whole node name.
//! Settings and definitions are `management`.

mod management;

use std::io::{self, BufReader, Write};
use std::time::Duration;

use ecosystem_core::endpoint::{Attempt, Endpoint};

pub(super) use management::describe;
pub use management::{Definitions, Management, ROLE as MANAGEMENT};

use super::amqp::{BODY, Frame, HEADER, HEARTBEAT, METHOD, PROTOCOL, Reader, Value, Writer};
use super::wire::Wire;
use super::{Effort, trouble};

const ROLE: &str = "amqp";

/// Class and method numbers of the protocol.
type Method = (u16, u16);
const START: Method = (10, 10);
const START_OK: Method = (10, 11);
const TUNE: Method = (10, 30);
const TUNE_OK: Method = (10, 31);
const OPEN: Method = (10, 40);
const OPEN_OK: Method = (10, 41);
const CLOSE: Method = (10, 50);
const CLOSE_OK: Method = (10, 51);
const BLOCKED: Method = (10, 60);
const CHANNEL_OPEN: Method = (20, 10);
const CHANNEL_OPEN_OK: Method = (20, 11);
const CHANNEL_CLOSE: Method = (20, 40);
const DECLARE: Method = (50, 10);
const DECLARE_OK: Method = (50, 11);
const PUBLISH: Method = (60, 40);
const GET: Method = (60, 70);
const GET_OK: Method = (60, 71);

pub(super) fn check(endpoint: &Endpoint, effort: Effort) -> Result<(), Attempt> {
    let mut session = Session::login(endpoint, effort.limit())?;
    if effort == Effort::Write {
        session.write()?;
    }
    session.close();
    // Management is a listener of its own; it opens a moment before or after the broker's.
    if endpoint.ports.contains_key(management::ROLE) {
        management::check(endpoint, effort.limit())
    } else {
        Ok(())
    }
}

/// What stands before the `@` of a node or cluster name.
fn name(node: &str) -> &str {
    node.split('@').next().unwrap_or(node)
}

/// A connection to a broker that is ours.
struct Session {
    wire: BufReader<Wire>,
    address: String,
}

impl Session {
    /// The whole handshake. The password is sent only to a broker with our name.
    fn login(endpoint: &Endpoint, limit: Duration) -> Result<Self, Attempt> {
        let address = endpoint.address(ROLE);
        let opened = Wire::open(endpoint, ROLE, limit).and_then(|mut wire| {
            wire.write_all(&PROTOCOL)?;
            Ok(wire)
        });
        let wire = opened.map_err(|error| trouble(&error, "AMQP", &address))?;
        let mut session = Self { wire: BufReader::new(wire), address };

        let start = session.expect(START)?;
        let server = session.parse(|| {
            let mut reader = Reader(&start);
            reader.short()?;
            reader.table()
        })?;
        let text = |key: &str| match server.get(key) {
            Some(Value::Text(text)) => text.as_str(),
            _ => "",
        };
        let cluster = text("cluster_name");
        if !endpoint.identity.is_empty() && name(cluster) != name(&endpoint.identity) {
            let called =
                if cluster.is_empty() { "without a name".to_owned() } else { format!("named {cluster}") };
            return Err(Attempt::Never(format!(
                "a {} {} {called} answers, not ours",
                text("product"),
                text("version")
            )));
        }

        let (class, method) = START_OK;
        let start_ok = Writer::method(class, method)
            .properties(
                &[("product", "ecosystem"), ("connection_name", "ecosystem")],
                // Without the first, a wrong password looks like a broken connection.
                &["authentication_failure_close", "connection.blocked"],
            )
            .short_text("PLAIN")
            .long_text(&format!("\0{}\0{}", endpoint.user.as_deref().unwrap_or("guest"), endpoint.password()))
            .short_text("en_US");
        session.send(0, start_ok)?;
        let tune = session.expect(TUNE)?;
        let (channels, frame) = session.parse(|| {
            let mut reader = Reader(&tune);
            Ok((reader.short()?, reader.long()?))
        })?;
        session.send(0, Writer::method(TUNE_OK.0, TUNE_OK.1).short(channels).long(frame).short(0))?;
        let vhost = endpoint.database.as_deref().unwrap_or("/");
        session.send(0, Writer::method(OPEN.0, OPEN.1).short_text(vhost).short_text("").octet(0))?;
        session.expect(OPEN_OK)?;
        Ok(session)
    }

    /// One message through a queue that only this connection sees and that ends with it.
    fn write(&mut self) -> Result<(), Attempt> {
        const EXCLUSIVE_AUTO_DELETE: u8 = 0b0000_1100;
        const NO_ACK: u8 = 1;
        self.send(1, Writer::method(CHANNEL_OPEN.0, CHANNEL_OPEN.1).short_text(""))?;
        self.expect(CHANNEL_OPEN_OK)?;
        let declare = Writer::method(DECLARE.0, DECLARE.1).short(0).short_text("");
        self.send(1, declare.octet(EXCLUSIVE_AUTO_DELETE).empty_table())?;
        let declared = self.expect(DECLARE_OK)?;
        let queue = self.parse(|| Reader(&declared).short_text())?;

        let publish =
            Writer::method(PUBLISH.0, PUBLISH.1).short(0).short_text("").short_text(&queue).octet(0);
        self.send(1, publish)?;
        // A content header has the shape of a method: class, weight, size of the body, no properties.
        self.frame(HEADER, 1, Writer::method(PUBLISH.0, 0).long_long(5).short(0).payload())?;
        self.frame(BODY, 1, b"ready".to_vec())?;
        // The same channel: the broker keeps the order, so the message is there.
        self.send(1, Writer::method(GET.0, GET.1).short(0).short_text(&queue).octet(NO_ACK))?;
        self.expect(GET_OK).map_err(|error| match error {
            Attempt::NotYet(reason) => Attempt::NotYet(format!("a message could not be read back: {reason}")),
            never => never,
        })?;
        loop {
            let frame = self.next()?;
            if frame.kind == BODY {
                return if frame.payload == b"ready" {
                    Ok(())
                } else {
                    Err(Attempt::NotYet("a message came back changed".to_owned()))
                };
            }
        }
    }

    /// Says goodbye, so that the broker's log shows no broken connection. Nothing depends on it.
    fn close(mut self) {
        let close = Writer::method(CLOSE.0, CLOSE.1).short(200).short_text("bye").short(0).short(0);
        let _bye = self.send(0, close).and_then(|()| self.expect(CLOSE_OK));
    }

    fn send(&mut self, channel: u16, method: Writer) -> Result<(), Attempt> {
        self.frame(METHOD, channel, method.payload())
    }

    fn frame(&mut self, kind: u8, channel: u16, payload: Vec<u8>) -> Result<(), Attempt> {
        let bytes = Frame { kind, channel, payload }.encode();
        self.wire.get_mut().write_all(&bytes).map_err(|error| trouble(&error, "AMQP", &self.address))
    }

    fn next(&mut self) -> Result<Frame, Attempt> {
        Frame::read(&mut self.wire).map_err(|error| trouble(&error, "AMQP", &self.address))
    }

    /// Waits for one method; its arguments. The broker may say something else first, or instead.
    fn expect(&mut self, wanted: Method) -> Result<Vec<u8>, Attempt> {
        loop {
            let frame = self.next()?;
            if frame.kind == HEARTBEAT {
                continue;
            }
            let mut reader = Reader(&frame.payload);
            let method = self.parse(|| Ok((reader.short()?, reader.short()?)))?;
            match method {
                _ if frame.kind == METHOD && method == wanted => return Ok(reader.0.to_vec()),
                CLOSE | CHANNEL_CLOSE => {
                    let (code, text) = self.parse(|| Ok((reader.short()?, reader.short_text()?)))?;
                    return Err(closed(code, &text));
                }
                BLOCKED => {
                    let reason = self.parse(|| reader.short_text())?;
                    return Err(Attempt::NotYet(format!("it accepts no messages: {reason}")));
                }
                (class, method) => {
                    return Err(Attempt::NotYet(format!("it answers with the method {class}.{method}")));
                }
            }
        }
    }

    fn parse<T>(&self, read: impl FnOnce() -> io::Result<T>) -> Result<T, Attempt> {
        read().map_err(|error| trouble(&error, "AMQP", &self.address))
    }
}

/// What it means that the broker closed the connection with this code.
fn closed(code: u16, text: &str) -> Attempt {
    const ACCESS_REFUSED: u16 = 403;
    const NOT_ALLOWED: u16 = 530;
    match code {
        ACCESS_REFUSED => {
            Attempt::Never(format!("a RabbitMQ that does not accept our login answers, not ours ({text})"))
        }
        NOT_ALLOWED if text.contains("not found") => {
            Attempt::Never(format!("it lacks our virtual host: {text}"))
        }
        _ => Attempt::NotYet(format!("{code} {text}")),
    }
}

#[cfg(test)]
mod tests {
    use ecosystem_core::catalog::Kind;

    use super::super::tests::look;
    use super::*;

    fn method(writer: Writer) -> Vec<u8> {
        Frame { kind: METHOD, channel: 0, payload: writer.payload() }.encode()
    }

    fn start(cluster: &str) -> Vec<u8> {
        let texts = [("cluster_name", cluster), ("product", "RabbitMQ"), ("version", "3.10.8")];
        method(
            Writer::method(10, 10)
                .octet(0)
                .octet(9)
                .properties(&texts, &[])
                .long_text("PLAIN")
                .long_text("en_US"),
        )
    }

    fn close(code: u16, text: &str) -> Vec<u8> {
        method(Writer::method(10, 50).short(code).short_text(text).short(0).short(0))
    }

    #[test]
    fn the_name_of_the_host_does_not_matter() {
        let answer = [start("ours@some.laptop"), close(320, "CONNECTION_FORCED - shutting down")].concat();
        let attempt = look(Kind::Rabbitmq, &answer);
        assert_eq!(attempt, Attempt::NotYet("320 CONNECTION_FORCED - shutting down".into()));
    }

    #[test]
    fn strangers_and_refused_logins_are_never_ours() {
        let Attempt::Never(reason) = look(Kind::Rabbitmq, &start("rabbit@vm")) else { panic!() };
        assert_eq!(reason, "a RabbitMQ 3.10.8 named rabbit@vm answers, not ours");
        let answer = [start("ours@x"), close(403, "ACCESS_REFUSED - Login was refused")].concat();
        assert!(
            matches!(look(Kind::Rabbitmq, &answer), Attempt::Never(reason) if reason.contains("ACCESS_REFUSED"))
        );
        let tune = method(Writer::method(10, 30).short(2047).long(131_072).short(60));
        let answer = [start("ours@x"), tune, close(530, "NOT_ALLOWED - vhost x not found")].concat();
        assert!(
            matches!(look(Kind::Rabbitmq, &answer), Attempt::Never(reason) if reason.contains("virtual host"))
        );
    }
}
