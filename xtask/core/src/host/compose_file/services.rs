//! What people's Compose files say of their services: files laid over each other, with `extends`, aliases and variables followed.
//!
//! Nothing is followed without end, and what is not followed is told with its line.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::port::{Ports, ports_of, short_port};
use super::variables::{Variables, filled};
use super::yaml::{self, Document, Leaf};

/// A file that was named, or that one of these extends.
#[derive(Debug, Clone, Copy)]
pub struct File<'a> {
    /// As people are shown it.
    pub name: &'a str,
    pub text: &'a str,
    /// A person named it; it is no file that was only found beside one.
    pub named: bool,
}

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Where {
    pub file: String,
    /// Counted from one.
    pub line: usize,
}

/// A value with the place where it stands; variables are filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    pub text: String,
    pub at: Where,
}

/// A port that is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Within the container.
    pub inside: u16,
    /// On the machine; `None` where that is left to chance or to a variable.
    pub outside: Option<u16>,
    /// Other machines reach it.
    pub open: bool,
    pub at: Where,
}

/// A service with everything that it takes over from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    pub name: String,
    pub at: Where,
    pub image: Option<Text>,
    /// Its image is made from a folder.
    pub builds: bool,
    /// It is started where one of its profiles is asked for only.
    pub optional: bool,
    /// Its ports are those of the machine.
    pub host_network: bool,
    pub ports: Vec<Port>,
    pub environment: BTreeMap<String, Text>,
    /// What replaces the command of the image, word by word where it is a list.
    pub command: Vec<Text>,
    /// Every other key, where it stands first.
    pub others: BTreeMap<String, Where>,
}

/// What the files describe together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Described {
    /// In the order in which they stand.
    pub services: Vec<Service>,
    /// What could not be read or followed.
    pub unread: Vec<(Where, String)>,
}

/// So many services are looked at.
const SERVICES: usize = 200;
/// How often aliases are followed within aliases, and services within `extends`.
const DEEPEST: usize = 8;
/// So many values are read again because something refers to them: enough for any file that a person wrote.
const BUDGET: usize = 50_000;
const MUCH: &str = "too much is taken over from elsewhere; the rest is left out";

impl fmt::Display for Where {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// The files beside this one that services of it extend. Anything but a plain name is not followed.
pub fn siblings(text: &str) -> BTreeSet<String> {
    yaml::read(text).leaves.iter().filter_map(extended_file).map(ToOwned::to_owned).collect()
}

/// The file that an `extends` names, where it lies beside this one.
fn extended_file(leaf: &Leaf) -> Option<&str> {
    let path: Vec<&str> = leaf.path.iter().map(String::as_str).collect();
    let (["services", _, "extends", "file"], text) = (path.as_slice(), &leaf.text) else { return None };
    let name = text.strip_prefix("./").unwrap_or(text);
    let plain = |c: char| c.is_alphanumeric() || "._- ".contains(c);
    (!name.starts_with('.') && !name.is_empty() && name.chars().all(plain)).then_some(name)
}

/// Reads files as Compose does where they are named in this order. One that another named one extends brings only what is extended.
pub fn describe(files: &[File<'_>], variables: &Variables) -> Described {
    let mut reader =
        Reader { files: BTreeMap::new(), variables, budget: BUDGET, described: Described::default() };
    for file in files {
        reader.read(file);
    }
    let named: Vec<&Read<'_>> =
        files.iter().filter(|f| f.named).filter_map(|f| reader.files.get(f.name)).collect();
    let extended = |name: &str| named.iter().any(|file| file.name != name && file.extends.contains(name));
    // Two that extend each other are both meant.
    let all = named.iter().all(|file| extended(file.name));
    let chosen: Vec<&str> =
        named.iter().map(|file| file.name).filter(|name| all || !extended(name)).collect();
    for name in chosen {
        reader.services_of(name);
    }
    let mut described = reader.described;
    described.unread.sort();
    described.unread.dedup();
    described
}

/// The folder of a file, with the slash behind it.
fn folder(name: &str) -> &str {
    &name[..name.rfind('/').map_or(0, |slash| slash + 1)]
}

/// A file, its values by service.
struct Read<'a> {
    name: &'a str,
    order: Vec<String>,
    /// The line where it begins, and its values.
    services: BTreeMap<String, (usize, Vec<Leaf>)>,
    /// Files that services of it extend, named as it is.
    extends: BTreeSet<String>,
}

struct Reader<'a> {
    files: BTreeMap<&'a str, Read<'a>>,
    variables: &'a Variables,
    budget: usize,
    described: Described,
}

/// What aliases of a file can lead to.
struct Aliases<'a> {
    file: &'a str,
    document: &'a Document,
    /// Every key that stands there.
    own: BTreeSet<&'a [String]>,
}

impl<'a> Reader<'a> {
    fn read(&mut self, file: &File<'a>) {
        let document = yaml::read(file.text);
        let at = |line: usize| Where { file: file.name.to_owned(), line };
        let unread = document.unread.iter().map(|unread| (at(unread.line), unread.what.clone()));
        self.described.unread.extend(unread);
        let keys = |leaf: &'_ Leaf| (2..=leaf.path.len()).collect::<Vec<_>>();
        let own =
            document.leaves.iter().flat_map(|leaf| keys(leaf).into_iter().map(|length| &leaf.path[..length]));
        let aliases = Aliases { file: file.name, document: &document, own: own.collect() };
        let extends = document
            .leaves
            .iter()
            .filter_map(extended_file)
            .map(|name| format!("{}{name}", folder(file.name)));
        let mut read = Read {
            name: file.name,
            order: Vec::new(),
            services: BTreeMap::new(),
            extends: extends.collect(),
        };
        for leaf in &document.leaves {
            match leaf.path.as_slice() {
                [include, ..] if include == "include" => {
                    self.cannot(at(leaf.line), "include: the files that it names are not read".to_owned());
                }
                [services, name, ..] if services == "services" => {
                    let values = self.follow(leaf.clone(), &aliases, 0, &[]);
                    if !read.services.contains_key(name) {
                        read.order.push(name.clone());
                    }
                    let (_, all) = read.services.entry(name.clone()).or_insert((leaf.line, Vec::new()));
                    all.extend(values);
                }
                _ => {}
            }
        }
        self.files.insert(file.name, read);
    }

    /// A value, or those that an alias stands for. What is merged yields to keys that stand at one of the `places` that led here.
    fn follow(
        &mut self,
        leaf: Leaf,
        aliases: &Aliases<'_>,
        depth: usize,
        places: &[Vec<String>],
    ) -> Vec<Leaf> {
        let Some(name) = leaf.text.strip_prefix('*') else { return vec![leaf] };
        let at = Where { file: aliases.file.to_owned(), line: leaf.line };
        let Some(target) = aliases.document.anchors.get(name).filter(|_| depth < DEEPEST) else {
            self.cannot(at, format!("{} is not followed", leaf.text));
            return Vec::new();
        };
        // To look for what it stands for takes its time as well.
        let looking = 1 + aliases.document.leaves.len() / 50;
        if self.budget < looking {
            self.cannot(at, MUCH.to_owned());
            return Vec::new();
        }
        self.budget -= looking;
        let merged = leaf.path.iter().position(|step| step == "<<");
        let above = &leaf.path[..merged.unwrap_or(leaf.path.len())];
        let places = if places.is_empty() { vec![above.to_vec()] } else { places.to_vec() };
        let further = [places.clone(), vec![target.clone()]].concat();
        let mut found = Vec::new();
        for other in aliases.document.leaves.iter().filter(|other| other.path.starts_with(target)) {
            if self.budget == 0 {
                self.cannot(at, MUCH.to_owned());
                break;
            }
            self.budget -= 1;
            let below = &other.path[target.len()..];
            let again = merged.is_some() && below.first().is_some_and(|key| key == "<<");
            // A merge is shallow: a key that stands there hides the one of that name as a whole.
            let key = below.first().filter(|_| merged.is_some() && !again);
            let hidden = |key: &String| {
                places.iter().any(|place| {
                    let path = [place.as_slice(), std::slice::from_ref(key)].concat();
                    aliases.own.contains(path.as_slice())
                })
            };
            if !key.is_some_and(hidden) {
                let leaf = Leaf { path: [above, below].concat(), ..other.clone() };
                found.extend(self.follow(leaf, aliases, depth + 1, if again { &further } else { &[] }));
            }
        }
        found
    }

    fn cannot(&mut self, at: Where, what: String) {
        self.described.unread.push((at, what));
    }

    fn services_of(&mut self, file: &str) {
        let Some(read) = self.files.get(file) else { return };
        for name in read.order.clone() {
            let known = self.described.services.iter().position(|service| service.name == name);
            if known.is_none() && self.described.services.len() == SERVICES {
                let at = self.begin(file, &name);
                self.cannot(at, format!("more than {SERVICES} services; the rest is left out"));
                return;
            }
            let at = self.begin(file, &name);
            let mut service = match known {
                Some(index) => self.described.services[index].clone(),
                None => blank(&name, at),
            };
            self.lay(&mut service, file, &name, &mut Vec::new());
            match known {
                Some(index) => self.described.services[index] = service,
                None => self.described.services.push(service),
            }
        }
    }

    /// The line where a service begins to say something.
    fn begin(&self, file: &str, service: &str) -> Where {
        let line =
            self.files.get(file).and_then(|read| read.services.get(service)).map_or(1, |(line, _)| *line);
        Where { file: file.to_owned(), line }
    }

    /// Lays what a file says of a service over it, after what that extends.
    fn lay(&mut self, service: &mut Service, file: &str, name: &str, path: &mut Vec<(String, String)>) {
        let Some(read) = self.files.get(file) else { return };
        let (file, leaves) =
            (read.name, read.services.get(name).map(|(_, all)| all.clone()).unwrap_or_default());
        if self.budget < leaves.len() {
            let at = self.begin(file, name);
            return self.cannot(at, MUCH.to_owned());
        }
        self.budget -= leaves.len();
        path.push((file.to_owned(), name.to_owned()));
        if let Some((base_file, base, at)) = Self::extended(file, &leaves) {
            let there =
                self.files.get(base_file.as_str()).is_some_and(|read| read.services.contains_key(&base));
            if path.len() > DEEPEST || path.contains(&(base_file.clone(), base.clone())) {
                self.cannot(
                    at,
                    format!("{name} extends itself, or too many others; it is not followed further"),
                );
            } else if there {
                self.lay(service, &base_file, &base, path);
            } else {
                self.cannot(at, format!("{name} extends {base} of {base_file}, which is not there to read"));
            }
        }
        path.pop();
        self.lay_own(service, file, &leaves);
    }

    /// What a service extends: a file, a service of it, and where that is said.
    fn extended(file: &str, leaves: &[Leaf]) -> Option<(String, String, Where)> {
        let of = |field: &[&str]| {
            leaves
                .iter()
                .rev()
                .find(|leaf| leaf.path[2..].iter().map(String::as_str).eq(field.iter().copied()))
        };
        let (base, other) = match of(&["extends"]) {
            Some(short) => (short, None),
            None => (of(&["extends", "service"])?, of(&["extends", "file"])),
        };
        let at = Where { file: file.to_owned(), line: base.line };
        let other = match other {
            None => file.to_owned(),
            // Names are shown from where the person is; what lies beside a file has the same folder.
            Some(leaf) => match extended_file(leaf) {
                Some(sibling) => format!("{}{sibling}", folder(file)),
                None => leaf.text.clone(),
            },
        };
        Some((other, base.text.clone(), at))
    }

    fn lay_own(&mut self, service: &mut Service, file: &str, leaves: &[Leaf]) {
        let mut long: BTreeMap<&str, Vec<&Leaf>> = BTreeMap::new();
        if leaves.iter().any(|leaf| leaf.path.get(2).is_some_and(|key| key == "command")) {
            service.command.clear();
        }
        for leaf in leaves {
            let at = Where { file: file.to_owned(), line: leaf.line };
            let text = filled(&leaf.text, self.variables);
            let path: Vec<&str> = leaf.path[2..].iter().map(String::as_str).collect();
            match path.as_slice() {
                ["image"] => service.image = Some(Text { text, at }),
                ["build", ..] => service.builds = true,
                ["profiles", ..] => service.optional = true,
                ["network_mode"] if text == "host" => service.host_network = true,
                ["command"] => {
                    service
                        .command
                        .extend(words(&text).into_iter().map(|text| Text { text, at: at.clone() }));
                }
                ["command", _] => service.command.push(Text { text, at }),
                ["environment", item] => {
                    let (name, value) = match (item.strip_prefix('#'), text.split_once('=')) {
                        (Some(_), Some((name, value))) => (name.to_owned(), value.to_owned()),
                        (Some(_), None) => (text, String::new()),
                        (None, _) => ((*item).to_owned(), text),
                    };
                    service.environment.insert(name, Text { text: value, at });
                }
                ["ports", _] => match short_port(&text) {
                    Some(ports) => service.publish(ports, &at),
                    None => self.unknown(service, &at),
                },
                ["ports", item, _] => long.entry(item).or_default().push(leaf),
                // Where they could be read, they were followed.
                ["extends", ..] | [] => {}
                [key, ..] => {
                    service.others.entry((*key).to_owned()).or_insert(at);
                }
            }
        }
        for fields in long.into_values() {
            let at = Where { file: file.to_owned(), line: fields.first().map_or(1, |leaf| leaf.line) };
            let field = |name: &str| {
                let leaf = fields.iter().find(|leaf| leaf.path.last().is_some_and(|key| key == name))?;
                Some(filled(&leaf.text, self.variables))
            };
            let written = [field("host_ip").unwrap_or_default(), field("published").unwrap_or_default()];
            let ports = field("target").filter(|_| field("protocol").is_none_or(|p| p == "tcp"));
            match ports.and_then(|target| ports_of(&written[0], &written[1], &target)) {
                Some(ports) => service.publish(ports, &at),
                None => self.unknown(service, &at),
            }
        }
    }

    fn unknown(&mut self, service: &Service, at: &Where) {
        self.cannot(at.clone(), format!("which port {} publishes there cannot be told", service.name));
    }
}

fn blank(name: &str, at: Where) -> Service {
    Service {
        name: name.to_owned(),
        at,
        image: None,
        builds: false,
        optional: false,
        host_network: false,
        ports: Vec::new(),
        environment: BTreeMap::new(),
        command: Vec::new(),
        others: BTreeMap::new(),
    }
}

impl Service {
    /// A later line about the same port within the container holds.
    fn publish(&mut self, ports: Ports, at: &Where) {
        for (inside, outside, open) in ports {
            self.ports.retain(|port| port.inside != inside);
            self.ports.push(Port { inside, outside, open, at: at.clone() });
        }
    }
}

/// The words of a command line. One with a quote that is not closed is a single word.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in text.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    if quote.is_some() { vec![text.to_owned()] } else { words }
}

#[cfg(test)]
#[path = "services_tests.rs"]
mod tests;
