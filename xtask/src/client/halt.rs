//! A pause that others can cut short: back-off between retries ends at once when the work has become pointless.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Rung once; everybody who pauses on it, now or later, goes on at once.
#[derive(Debug, Default)]
pub struct Halt {
    rung: Mutex<bool>,
    bell: Condvar,
}

impl Halt {
    /// Ends all pauses: another part has failed, or somebody pressed Ctrl-C.
    pub fn ring(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.bell.notify_all();
    }

    /// Waits for the bell, at most this long. True: it rang, give up.
    pub fn pause(&self, limit: Duration) -> bool {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let (rung, _) =
            self.bell.wait_timeout_while(rung, limit, |rung| !*rung).unwrap_or_else(PoisonError::into_inner);
        *rung
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_ends_when_the_bell_rings() {
        let halt = Halt::default();
        assert!(!halt.pause(Duration::from_millis(1)));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| halt.pause(Duration::from_mins(10)));
            halt.ring();
            assert!(waiting.join().unwrap());
        });
        assert!(halt.pause(Duration::from_mins(10)));
    }
}
