//! As much of YAML as Compose files use, with the place of every value in the text: what is rewritten must stand where it stood.
//!
//! It reads block and flow collections, all kinds of scalars and comments. It notes where anchors are and merges nothing; what it cannot
//! read it names with its line, and goes on behind it.

use std::collections::BTreeMap;
use std::ops::Range;

/// A scalar value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Leaf {
    /// Keys from the top; an item of a list is `#` and a number of its own.
    pub(super) path: Vec<String>,
    /// Without its quotes. An alias begins with `*`.
    pub(super) text: String,
    /// Where the text is, without quotes.
    pub(super) at: Range<usize>,
    pub(super) line: usize,
    pub(super) place: Place,
}

/// Where a key could be put beside that of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// On a line below, in this column; `end` is where the line ends.
    Block {
        column: usize,
        end: usize,
    },
    /// Behind the opening brace, which ends there.
    Flow {
        from: usize,
    },
    Nowhere,
}

/// Something that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    pub line: usize,
    pub what: String,
}

/// The deepest nesting that is followed, of brackets and of lines.
const DEEPEST: usize = 32;

/// A file as it was read.
#[derive(Debug, Default)]
pub(super) struct Document {
    pub(super) leaves: Vec<Leaf>,
    pub(super) unread: Vec<Unread>,
    /// Where each anchor stands, by its name.
    pub(super) anchors: BTreeMap<String, Vec<String>>,
}

pub(super) fn read(text: &str) -> Document {
    let newlines = text.match_indices('\n').map(|(at, _)| at).collect();
    let mut reader = Reader { text, newlines, ..Reader::default() };
    let mut at = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    while at < text.len() {
        let end = reader.end_of_line(at);
        at = reader.line(at, end).max(end);
        at += text[at..].find('\n').map_or(text.len() - at, |newline| newline + 1);
    }
    reader.read
}

#[derive(Debug, Default)]
struct Reader<'a> {
    text: &'a str,
    newlines: Vec<usize>,
    read: Document,
    levels: Vec<Level>,
    items: usize,
}

#[derive(Debug)]
struct Level {
    column: usize,
    step: String,
    item: bool,
}

impl Reader<'_> {
    /// Where the line ends that this is in, without what ends it.
    fn end_of_line(&self, at: usize) -> usize {
        let line = self.text[at..].split('\n').next().unwrap_or_default();
        at + line.trim_end_matches('\r').len()
    }

    fn number(&self, at: usize) -> usize {
        self.newlines.partition_point(|newline| *newline < at) + 1
    }

    fn cannot(&mut self, at: usize, what: &str) {
        let line = self.number(at);
        self.read.unread.push(Unread { line, what: what.to_owned() });
    }

    /// Reads what stands on a line; returns where to go on.
    fn line(&mut self, start: usize, end: usize) -> usize {
        let line = &self.text[start..end];
        let content = line.trim_start_matches(' ');
        let column = line.len() - content.len();
        if content.trim().is_empty() || content.starts_with('#') {
            return end;
        }
        if content.starts_with('\t') {
            self.cannot(start, "a tab where YAML wants blanks");
            return end;
        }
        if column == 0 && (is_word(content, "---") || is_word(content, "...") || content.starts_with('%')) {
            self.levels.clear();
            return end;
        }
        self.node(start + column, column, end)
    }

    fn node(&mut self, start: usize, indent: usize, end: usize) -> usize {
        let (mut at, mut column) = (start, indent);
        while is_word(&self.text[at..end], "-") {
            while self.levels.last().is_some_and(|l| l.column > column || (l.item && l.column == column)) {
                self.levels.pop();
            }
            if self.levels.len() > DEEPEST {
                self.cannot(at, "too many lists in each other");
                return end;
            }
            self.items += 1;
            self.levels.push(Level { column, step: format!("#{}", self.items), item: true });
            let rest = self.text[at + 1..end].trim_start_matches(' ');
            if rest.is_empty() || rest.starts_with('#') {
                return end;
            }
            column += end - rest.len() - at;
            at = end - rest.len();
        }
        let text = &self.text[at..end];
        if is_word(text, "?") {
            self.cannot(at, "a key that is more than a word");
            return end;
        }
        let Some((key, value)) = key(text) else { return self.value(at, column, end) };
        let key = key.to_owned();
        while self.levels.last().is_some_and(|level| level.column >= column) {
            self.levels.pop();
        }
        if self.levels.len() > DEEPEST {
            self.cannot(at, "too many levels in each other");
            return end;
        }
        self.levels.push(Level { column, step: key, item: false });
        self.value(at + value, column, end)
    }

    /// Reads the value that begins on this line; `column` is that of its key or item.
    fn value(&mut self, from: usize, column: usize, end: usize) -> usize {
        let mut at = from;
        let path: Vec<String> = self.levels.iter().map(|level| level.step.clone()).collect();
        loop {
            at += self.text[at..end].len() - self.text[at..end].trim_start().len();
            if !self.text[at..end].starts_with(['&', '!']) {
                break;
            }
            let length = self.text[at..end].find(' ').unwrap_or(end - at);
            if let Some(name) = self.text[at..at + length].strip_prefix('&') {
                self.read.anchors.insert(name.to_owned(), path.clone());
            }
            at += length;
        }
        let text = &self.text[at..end];
        let place = Place::Block { column, end };
        match text.chars().next() {
            None | Some('#') => end,
            Some('|' | '>') => self.behind_block(end),
            Some('[' | '{') => match self.flow(at, &path, 0) {
                Ok(behind) => behind,
                Err((at, what)) => {
                    self.cannot(at, what);
                    end
                }
            },
            Some(quote @ ('"' | '\'')) => {
                let Some(length) = closing(&self.text[at + 1..], quote) else {
                    self.cannot(at, "a quote that is not closed");
                    return end;
                };
                self.leaf(path, at + 1..at + 1 + length, place);
                at + length + 2
            }
            Some(_) => {
                let length = without_comment(text).len();
                self.leaf(path, at..at + length, place);
                end
            }
        }
    }

    fn leaf(&mut self, path: Vec<String>, at: Range<usize>, place: Place) {
        let leaf =
            Leaf { path, text: self.text[at.clone()].to_owned(), line: self.number(at.start), at, place };
        self.read.leaves.push(leaf);
    }

    /// Where the text ends that `|` or `>` announced: it is indented deeper than what it belongs to.
    fn behind_block(&self, end: usize) -> usize {
        let column = self.levels.last().map_or(0, |level| level.column);
        let mut behind = end;
        loop {
            let Some(newline) = self.text[behind..].find('\n') else { return self.text.len() };
            let start = behind + newline + 1;
            if start >= self.text.len() {
                return behind;
            }
            let stop = self.end_of_line(start);
            let line = &self.text[start..stop];
            let indent = line.len() - line.trim_start_matches(' ').len();
            if !line.trim().is_empty() && indent <= column {
                return behind;
            }
            behind = stop;
        }
    }

    /// Reads a collection in brackets; returns what is behind it.
    fn flow(&mut self, open: usize, path: &[String], depth: usize) -> Result<usize, (usize, &'static str)> {
        if depth > DEEPEST {
            return Err((open, "too many brackets in each other"));
        }
        let map = self.text[open..].starts_with('{');
        let mut at = open + 1;
        loop {
            at = self.over_blanks(at);
            let Some(next) = self.text[at..].chars().next() else {
                return Err((open, "a bracket that is not closed"));
            };
            match next {
                ',' => at += 1,
                '}' if map => return Ok(at + 1),
                ']' if !map => return Ok(at + 1),
                '}' | ']' => return Err((at, "a bracket that closes another one")),
                _ => {
                    let mut inner = path.to_vec();
                    let mut place = Place::Nowhere;
                    if map {
                        let key = self.flow_scalar(at)?;
                        inner.push(self.text[key.0.clone()].to_owned());
                        at = self.over_blanks(key.1);
                        place = Place::Flow { from: open + 1 };
                        if !self.text[at..].starts_with(':') {
                            continue;
                        }
                        at = self.over_blanks(at + 1);
                    } else {
                        self.items += 1;
                        inner.push(format!("#{}", self.items));
                    }
                    at = match self.text[at..].chars().next() {
                        Some('[' | '{') => self.flow(at, &inner, depth + 1)?,
                        Some(',' | '}' | ']') => at,
                        _ => {
                            let (value, behind) = self.flow_scalar(at)?;
                            self.leaf(inner, value, place);
                            behind
                        }
                    };
                }
            }
        }
    }

    /// A scalar between brackets, without its quotes, and where it ends.
    fn flow_scalar(&self, at: usize) -> Result<(Range<usize>, usize), (usize, &'static str)> {
        let text = &self.text[at..];
        if let Some(quote) = text.chars().next().filter(|c| matches!(c, '"' | '\'')) {
            let length = closing(&text[1..], quote).ok_or((at, "a quote that is not closed"))?;
            return Ok((at + 1..at + 1 + length, at + length + 2));
        }
        let mut length = text.find([',', '[', ']', '{', '}', '\n']).unwrap_or(text.len());
        for (index, _) in text[..length].match_indices(':') {
            let behind = &text[index + 1..];
            if behind.is_empty() || behind.starts_with([' ', ',', ']', '}', '\r', '\n']) {
                length = index;
                break;
            }
        }
        let value = without_comment(&text[..length]);
        if value.is_empty() {
            return Err((at, "something unexpected between brackets"));
        }
        Ok((at..at + value.len(), at + value.len()))
    }

    fn over_blanks(&self, from: usize) -> usize {
        let mut at = from;
        loop {
            at += self.text[at..].len() - self.text[at..].trim_start().len();
            if !self.text[at..].starts_with('#') {
                return at;
            }
            at = self.end_of_line(at);
        }
    }
}

/// Whether a text is this word, or begins with it and a blank.
fn is_word(text: &str, word: &str) -> bool {
    text.strip_prefix(word).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
}

/// The key that a line begins with, and where its value begins.
fn key(text: &str) -> Option<(&str, usize)> {
    let first = text.chars().next()?;
    let ends = |at: usize| text[at..].is_empty() || text[at..].starts_with([' ', '\t']);
    if matches!(first, '[' | '{' | '#' | '|' | '>') {
        return None;
    }
    if matches!(first, '"' | '\'') {
        let length = closing(&text[1..], first)?;
        let behind = length + 2;
        let colon = behind + text[behind..].len() - text[behind..].trim_start_matches(' ').len();
        return (text[colon..].starts_with(':') && ends(colon + 1)).then(|| (&text[1..=length], colon + 1));
    }
    let plain = without_comment(text);
    let colon = plain.match_indices(':').map(|(at, _)| at).find(|at| ends(at + 1))?;
    Some((plain[..colon].trim_end(), colon + 1))
}

/// How long a quoted text is, from behind its opening quote.
fn closing(text: &str, quote: char) -> Option<usize> {
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' if quote == '"' => {
                chars.next();
            }
            '\'' if quote == '\'' && chars.peek().is_some_and(|(_, next)| *next == '\'') => {
                chars.next();
            }
            c if c == quote => return Some(at),
            _ => {}
        }
    }
    None
}

/// A plain text up to the comment behind it.
fn without_comment(text: &str) -> &str {
    let comment = text.match_indices('#').map(|(at, _)| at).find(|at| text[..*at].ends_with([' ', '\t']));
    text[..comment.unwrap_or(text.len())].trim_end()
}
