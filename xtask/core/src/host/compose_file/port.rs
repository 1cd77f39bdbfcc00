//! The short form of a published port: `[ADDRESS:][PORT:]PORT[/PROTOCOL]`, with the variables that Compose fills in.

use super::variables::{SOMETHING, expanded};

/// Where a port is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Published {
    /// On this machine only.
    Loopback,
    /// For others: the port, and how the value must be written to keep it to this machine, where that can be told.
    Open { address: String, port: String, instead: Option<String> },
    /// A variable decides that nothing tells the value of.
    Unknown,
}

/// Whom an address lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    Loopback,
    Others,
    Unknown,
}

const LOOPBACK: &str = "127.0.0.1";

/// Whom this address lets in; no address is all of them.
pub(super) fn reach(address: &str) -> Reach {
    let address = expanded(address);
    let bare = address.trim_matches(['[', ']']);
    let is_address = |c: char| c.is_ascii_hexdigit() || c == '.' || c == ':';
    match bare {
        "::1" => Reach::Loopback,
        _ if bare.starts_with("127.") => Reach::Loopback,
        _ if bare.chars().all(is_address) => Reach::Others,
        _ => Reach::Unknown,
    }
}

/// Reads a port as it is written.
pub(super) fn short(written: &str) -> Published {
    let value = expanded(written);
    let (parts, own) = (split(&value), split(written));
    let is_variable = |part: &str| part.contains('$');
    let (address, port, part) = match parts.as_slice() {
        [""] | [] => return Published::Unknown,
        [only] => ("", "some port".to_owned(), *only),
        [host, _] => ("", (*host).to_owned(), *host),
        // An IPv6 address without brackets has colons of its own.
        [.., host, container] => {
            let length = value.len() - host.len() - container.len() - 2;
            (&value[..length], (*host).to_owned(), "")
        }
    };
    // A variable is told by its name.
    let named =
        own.get(own.len().wrapping_sub(2)).filter(|part| own.len() == parts.len() && is_variable(part));
    let port = named.map_or(port, |part| (*part).to_owned());
    let port = if port.is_empty() { "some port".to_owned() } else { port };
    match reach(address) {
        Reach::Loopback => Published::Loopback,
        // It may well hold an address.
        _ if part.contains(SOMETHING) => Published::Unknown,
        Reach::Unknown => Published::Unknown,
        Reach::Others => {
            let everywhere = address.is_empty() || address.trim_matches(['[', ']', '0', ':', '.']).is_empty();
            let address = if everywhere { "all addresses".to_owned() } else { address.to_owned() };
            Published::Open {
                address,
                port: port.replace(SOMETHING, "…"),
                instead: guarded(written, parts.len()),
            }
        }
    }
}

/// The same port for this machine only, as long as the variables hold no more than one part each.
fn guarded(written: &str, parts: usize) -> Option<String> {
    let own = split(written);
    if own.len() != parts {
        return None;
    }
    match own.as_slice() {
        [only] => Some(format!("{LOOPBACK}::{only}")),
        [host, container] => Some(format!("{LOOPBACK}:{host}:{container}")),
        [address @ .., host, container] => {
            let address = address.join(":");
            // The default of a variable is what is wrong: others may have set it for a reason.
            let default = address.find('-').filter(|_| address.starts_with("${") && address.ends_with('}'));
            let address = match default {
                Some(at) => format!("{}{LOOPBACK}}}", &address[..=at]),
                None => LOOPBACK.to_owned(),
            };
            Some(format!("{address}:{host}:{container}"))
        }
        [] => None,
    }
}

/// The address of the long form, for this machine only.
pub(super) fn guarded_address(written: &str) -> String {
    let default = written.find('-').filter(|_| written.starts_with("${") && written.ends_with('}'));
    default.map_or_else(|| LOOPBACK.to_owned(), |at| format!("{}{LOOPBACK}}}", &written[..=at]))
}

/// Parts between colons, but for those within `${…}` and `[…]`.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut from, mut depth) = (Vec::new(), 0, 0_usize);
    for (at, c) in text.char_indices() {
        match c {
            '{' | '[' => depth += 1,
            '}' | ']' => depth = depth.saturating_sub(1),
            ':' if depth == 0 => {
                parts.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    parts
}

/// The most ports of one range that are looked at.
const RANGE: u16 = 32;

/// Ports within a container, each with the one that it has on the machine, if that is told, and whether others reach it.
pub(super) type Ports = Vec<(u16, Option<u16>, bool)>;

/// `[ADDRESS:][PORT:]PORT[/PROTOCOL]` with all variables filled in.
pub(super) fn short_port(text: &str) -> Option<Ports> {
    let text = match text.split_once('/') {
        None => text,
        Some((text, "tcp")) => text,
        Some(_) => return None,
    };
    match split(text).as_slice() {
        [inside] => ports_of("", "", inside),
        [outside, inside] => ports_of("", outside, inside),
        [.., outside, inside] => {
            let length = text.len() - outside.len() - inside.len() - 2;
            ports_of(&text[..length], outside, inside)
        }
        [] => None,
    }
}

/// Ports that are published at this address. One that is left to chance is not told.
pub(super) fn ports_of(address: &str, outside: &str, inside: &str) -> Option<Ports> {
    let (first, last) = range(inside)?;
    let open = match reach(address) {
        Reach::Loopback => false,
        // What a variable without a value holds may be anything.
        Reach::Others | Reach::Unknown => true,
    };
    let from = match range(outside) {
        Some((from, to)) if to - from == last - first => Some(from),
        _ => None,
    };
    let pairs = (first..=last).zip(0..).map(|(inside, step)| (inside, from.map(|from| from + step), open));
    Some(pairs.collect())
}

/// A port, or a range of them.
fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (port(first)?, port(last)?);
    (first <= last && last - first < RANGE).then_some((first, last))
}

fn port(text: &str) -> Option<u16> {
    let digits = text.chars().all(|c| c.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(written: &str) -> String {
        match short(written) {
            Published::Loopback => "loopback".to_owned(),
            Published::Unknown => "unknown".to_owned(),
            Published::Open { address, port, instead } => {
                format!("{port} on {address}, instead {}", instead.unwrap_or_else(|| "?".to_owned()))
            }
        }
    }

    #[test]
    fn every_form_of_a_published_port_is_judged() {
        let all = [
            "5432",
            "5432/tcp",
            "5432:5432",
            "3000-3005:3000-3005",
            "5432:5432/udp",
            "127.0.0.1:5432:5432",
            "127.1.2.3::5432",
            "[::1]:5432:5432",
            "::1:5432:5432",
            "0.0.0.0:5432:5432",
            "[::]:5432:5432",
            ":::5432:5432",
            "192.168.1.5:5432:5432",
            "${DOCKER_SERVICES_IP_BIND:-127.0.0.1}:5432:5432",
            "${DOCKER_SERVICES_IP_BIND-127.0.0.1}:5432:5432",
            "${BIND:-0.0.0.0}:5432:5432",
            "${BIND:-}:5432:5432",
            "${BIND:-${OTHER:-127.0.0.1}}:5432:5432",
            "${BIND}:5432:5432",
            "$BIND:5432:5432",
            "${PORT:-5432}:5432",
            "${DB_PORT}:5432",
            "$DB_PORT:5432",
            "${PORTAL_IP}:5432:5432",
            "${SUPPORT_HOST}:5432:5432",
            "${DB}:5432",
            "${DB:-5432}",
            "${DB:-127.0.0.1:5432}:5432",
            "${DB:-0.0.0.0:5432}:5432",
            "${DB:?set it}:5432:5432",
            "localhost:5432:5432",
            "$$x:1",
            "${never",
            "${A:-${B:-${C:-${D:-${E:-${F:-127.0.0.1}}}}}}:1:1",
            "",
        ];
        let lines: Vec<String> =
            all.iter().map(|written| format!("{written:<50} {}", told(written))).collect();
        insta::assert_snapshot!(lines.join("\n"), @"
        5432                                               some port on all addresses, instead 127.0.0.1::5432
        5432/tcp                                           some port on all addresses, instead 127.0.0.1::5432/tcp
        5432:5432                                          5432 on all addresses, instead 127.0.0.1:5432:5432
        3000-3005:3000-3005                                3000-3005 on all addresses, instead 127.0.0.1:3000-3005:3000-3005
        5432:5432/udp                                      5432 on all addresses, instead 127.0.0.1:5432:5432/udp
        127.0.0.1:5432:5432                                loopback
        127.1.2.3::5432                                    loopback
        [::1]:5432:5432                                    loopback
        ::1:5432:5432                                      loopback
        0.0.0.0:5432:5432                                  5432 on all addresses, instead 127.0.0.1:5432:5432
        [::]:5432:5432                                     5432 on all addresses, instead 127.0.0.1:5432:5432
        :::5432:5432                                       5432 on all addresses, instead 127.0.0.1:5432:5432
        192.168.1.5:5432:5432                              5432 on 192.168.1.5, instead 127.0.0.1:5432:5432
        ${DOCKER_SERVICES_IP_BIND:-127.0.0.1}:5432:5432    loopback
        ${DOCKER_SERVICES_IP_BIND-127.0.0.1}:5432:5432     loopback
        ${BIND:-0.0.0.0}:5432:5432                         5432 on all addresses, instead ${BIND:-127.0.0.1}:5432:5432
        ${BIND:-}:5432:5432                                5432 on all addresses, instead ${BIND:-127.0.0.1}:5432:5432
        ${BIND:-${OTHER:-127.0.0.1}}:5432:5432             loopback
        ${BIND}:5432:5432                                  unknown
        $BIND:5432:5432                                    unknown
        ${PORT:-5432}:5432                                 ${PORT:-5432} on all addresses, instead 127.0.0.1:${PORT:-5432}:5432
        ${DB_PORT}:5432                                    ${DB_PORT} on all addresses, instead 127.0.0.1:${DB_PORT}:5432
        $DB_PORT:5432                                      $DB_PORT on all addresses, instead 127.0.0.1:$DB_PORT:5432
        ${PORTAL_IP}:5432:5432                             unknown
        ${SUPPORT_HOST}:5432:5432                          unknown
        ${DB}:5432                                         unknown
        ${DB:-5432}                                        some port on all addresses, instead 127.0.0.1::${DB:-5432}
        ${DB:-127.0.0.1:5432}:5432                         loopback
        ${DB:-0.0.0.0:5432}:5432                           5432 on all addresses, instead ?
        ${DB:?set it}:5432:5432                            unknown
        localhost:5432:5432                                unknown
        $$x:1                                              $$x on all addresses, instead 127.0.0.1:$$x:1
        ${never                                            unknown
        ${A:-${B:-${C:-${D:-${E:-${F:-127.0.0.1}}}}}}:1:1  unknown
                                                           unknown
        ");
    }

    #[test]
    fn what_is_written_instead_is_closed() {
        for written in [
            "5432",
            "1:1",
            "0.0.0.0:1:1",
            "${X:-0.0.0.0}:1:1",
            "[::]:1:1",
            "8000-8010:8000-8010",
            "${P_PORT}:1",
        ] {
            let Published::Open { instead: Some(instead), .. } = short(written) else { panic!("{written}") };
            assert_eq!(short(&instead), Published::Loopback, "{written} became {instead}");
        }
    }
}
