//! A few lines on a terminal that are drawn anew in their place, in one write, so that nothing flickers.

use std::cell::Cell;
use std::fmt::Write as _;
use std::io::IsTerminal;

/// The place on the terminal.
#[derive(Debug)]
pub struct Screen {
    /// How many lines were drawn.
    height: Cell<usize>,
}

impl Screen {
    /// `None` where standard output is no terminal; `capable` says whether a terminal can move its cursor.
    pub fn on_terminal(capable: bool) -> Option<Self> {
        (capable && std::io::stdout().is_terminal()).then(|| Self { height: Cell::new(0) })
    }

    /// Replaces what was drawn before. Lines that are longer than the terminal is wide are cut at its edge.
    pub fn draw(&self, text: &str) -> anyhow::Result<()> {
        let out = std::io::stdout();
        // Moving the cursor is no colour: it is wanted where colours are not.
        let plain = anstream::AutoStream::choice(&out) == anstream::ColorChoice::Never;
        let text = if plain { anstream::adapter::strip_str(text).to_string() } else { text.to_owned() };
        super::print(&frame(self.height.replace(text.lines().count()), &text), &mut out.lock())
    }
}

/// The bytes that replace so many lines.
fn frame(height: usize, text: &str) -> String {
    let mut frame = "\u{1b}[?7l".to_owned();
    if height > 0 {
        let _ = write!(frame, "\u{1b}[{height}A\r");
    }
    for line in text.lines() {
        let _ = write!(frame, "{line}\u{1b}[K\r\n");
    }
    frame + "\u{1b}[J\u{1b}[?7h"
}
