//! `{port.ROLE}` and `{port.SERVICE.ROLE}` in the words of a process: the only interpolation there is. Any other brace is a brace.

/// What is typed instead of `port`.
const SLIPS: [&str; 4] = ["port", "ports", "prot", "prots"];

/// A port that a text names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PortRef<'a> {
    /// `None`: a port of the service itself.
    pub(crate) service: Option<&'a str>,
    pub(crate) role: &'a str,
}

/// A piece of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece<'a> {
    Plain(&'a str),
    /// As it was written, too.
    Port(PortRef<'a>, &'a str),
    /// Braces that were meant to be a port and are none.
    Slip(&'a str),
}

/// The ports that a text names, and what was meant to be one.
pub(super) fn ports(text: &str) -> (Vec<PortRef<'_>>, Vec<&str>) {
    let (mut ports, mut slips) = (Vec::new(), Vec::new());
    for piece in pieces(text) {
        match piece {
            Piece::Port(port, _) => ports.push(port),
            Piece::Slip(slip) => slips.push(slip),
            Piece::Plain(_) => {}
        }
    }
    (ports, slips)
}

/// The text with its ports put in. A port that `number` does not know stays as it was written; the model has refused it before.
pub(crate) fn fill(text: &str, number: impl Fn(PortRef<'_>) -> Option<u16>) -> String {
    let mut filled = String::new();
    for piece in pieces(text) {
        match piece {
            Piece::Plain(plain) | Piece::Slip(plain) => filled.push_str(plain),
            Piece::Port(port, written) => match number(port) {
                Some(number) => filled.push_str(&number.to_string()),
                None => filled.push_str(written),
            },
        }
    }
    filled
}

fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        let Some(length) = rest[open..].find('}') else { break };
        let whole = &rest[open..=open + length];
        // Only the innermost braces can be one: `{"a": {port.web}}`.
        let inner = whole.rfind('{').unwrap_or(0);
        let (before, braces) = (&rest[..open + inner], &whole[inner..]);
        pieces.push(Piece::Plain(before));
        pieces.push(piece(braces));
        rest = &rest[open + length + 1..];
    }
    pieces.push(Piece::Plain(rest));
    pieces
}

fn piece(braces: &str) -> Piece<'_> {
    let inside = &braces[1..braces.len() - 1];
    let Some((word, names)) = inside.split_once('.') else { return Piece::Plain(braces) };
    match (word, names.split('.').collect::<Vec<_>>().as_slice()) {
        ("port", [role]) => Piece::Port(PortRef { service: None, role }, braces),
        ("port", [service, role]) => Piece::Port(PortRef { service: Some(service), role }, braces),
        // `{prot.web}` and `{ports.web}` would otherwise arrive in a command as they are.
        _ if SLIPS.iter().any(|slip| word.eq_ignore_ascii_case(slip)) => Piece::Slip(braces),
        _ => Piece::Plain(braces),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str) -> String {
        fill(text, |port| match (port.service, port.role) {
            (None, "web") => Some(5555),
            (Some("rabbitmq"), "amqp") => Some(5872),
            _ => None,
        })
    }

    #[test]
    fn ports_are_put_in_wherever_they_stand() {
        assert_eq!(filled("127.0.0.1:{port.web}"), "127.0.0.1:5555");
        assert_eq!(filled("{port.rabbitmq.amqp},{port.web}"), "5872,5555");
        assert_eq!(filled(r#"{"port": {port.web}}"#), r#"{"port": 5555}"#);
        assert_eq!(filled(""), "");
    }

    #[test]
    fn any_other_brace_is_a_brace() {
        for text in [
            "${HOME}",
            "{}",
            "{a}",
            "{a.b}",
            "%{host.name}",
            "{{x}}",
            "{",
            "}",
            "a{port",
            "{port}",
            "{0.name}",
            "é{ž}",
        ] {
            assert_eq!(filled(text), text);
            assert_eq!(ports(text), (vec![], vec![]), "{text}");
        }
    }

    #[test]
    fn what_was_meant_to_be_a_port_is_found() {
        for text in ["{prot.web}", "{ports.web}", "{Port.web}", "{port.a.b.c}"] {
            assert_eq!(ports(text).1, [text]);
            assert_eq!(filled(text), text);
        }
        assert_eq!(ports("{port.}").0, [PortRef { service: None, role: "" }], "refused as an unknown role");
    }
}
