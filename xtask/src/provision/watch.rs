//! Work on a thread of its own while the caller reports how far it is.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// Often enough for a moving bar, seldom enough to cost nothing.
const TICK: Duration = Duration::from_millis(200);

/// Runs `work`; calls `tick` on this thread until it ends. The end itself is not waited for by the clock.
pub(super) fn watch<T: Send>(
    work: impl FnOnce() -> anyhow::Result<T> + Send,
    mut tick: impl FnMut(),
) -> anyhow::Result<T> {
    std::thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        scope.spawn(move || sender.send(work()));
        loop {
            match receiver.recv_timeout(TICK) {
                Ok(result) => return result,
                Err(RecvTimeoutError::Timeout) => tick(),
                Err(RecvTimeoutError::Disconnected) => anyhow::bail!("the work ended without a result"),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_result_comes_back_without_a_tick() {
        let mut ticks = 0;
        assert_eq!(super::watch(|| Ok(7), || ticks += 1).unwrap(), 7);
        assert_eq!(ticks, 0);
    }
}
