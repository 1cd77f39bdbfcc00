//! Which ends of processes are the work of the kernel's out-of-memory killer: its counter goes in, time is a parameter.
//!
//! The kernel tells nobody whom it has killed; it counts. A process that was killed while the count rose, and not by us, was meant.

use std::time::Duration;

/// What is said of a process that the kernel has killed because there was no memory left.
pub const OUT_OF_MEMORY: &str = "killed by the kernel for want of memory";

/// A kill is not remembered for longer than this: large processes take a moment to end, but no more.
const MEMORY: Duration = Duration::from_secs(10);

/// The kills that were counted and belong to no process yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shortage {
    /// The kernel's count when it was last read; `None` before that, and where it does not count.
    counted: Option<u64>,
    open: u64,
    /// When it rose last.
    rose: Duration,
}

impl Shortage {
    /// Takes in the kernel's count of kills at this time.
    pub fn counted(&mut self, kills: Option<u64>, now: Duration) {
        if now.saturating_sub(self.rose) > MEMORY {
            self.open = 0;
        }
        if let (Some(before), Some(kills)) = (self.counted, kills)
            && kills > before
        {
            self.open += kills - before;
            self.rose = now;
        }
        self.counted = kills.or(self.counted);
    }

    /// Whether a process that was killed just now was killed for want of memory. Every kill explains one end.
    pub fn explains(&mut self) -> bool {
        let explained = self.open > 0;
        self.open = self.open.saturating_sub(1);
        explained
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn only_a_kill_since_the_first_look_explains_an_end_and_only_one() {
        let mut shortage = Shortage::default();
        shortage.counted(Some(7), at(0));
        assert!(!shortage.explains(), "those from before are nobody's of ours");
        shortage.counted(Some(7), at(1));
        assert!(!shortage.explains());
        shortage.counted(Some(9), at(2));
        assert!(shortage.explains() && shortage.explains());
        assert!(!shortage.explains(), "somebody's kill -9");
    }

    #[test]
    fn an_old_kill_explains_nothing() {
        let mut shortage = Shortage::default();
        shortage.counted(Some(0), at(0));
        // One that had been started by a server, and that nobody misses.
        shortage.counted(Some(1), at(5));
        shortage.counted(Some(1), at(15));
        assert!(shortage.clone().explains(), "a large process takes a moment to end");
        shortage.counted(Some(1), at(16));
        assert!(!shortage.explains());
    }

    #[test]
    fn where_nobody_counts_nothing_is_explained() {
        let mut shortage = Shortage::default();
        shortage.counted(None, at(0));
        assert!(!shortage.explains());
        shortage.counted(Some(5), at(1));
        shortage.counted(None, at(2));
        shortage.counted(Some(5), at(3));
        assert!(!shortage.explains());
    }
}
