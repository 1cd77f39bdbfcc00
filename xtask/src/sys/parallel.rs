//! The same work on several things, all at once. A panic in one of them goes on in whoever waits.

use std::sync::atomic::{AtomicUsize, Ordering};

/// What came of each, in order.
pub fn map<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let work = &work;
    std::thread::scope(|scope| {
        let threads: Vec<_> = items.iter().map(|item| scope.spawn(move || work(item))).collect();
        let joined = threads.into_iter().map(std::thread::ScopedJoinHandle::join);
        joined.map(|result| result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}

/// The same, but no more than so many at a time.
pub fn map_few<T: Sync, R: Send>(limit: usize, items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let workers = vec![(); limit.min(items.len())];
    let done = map(&workers, |()| {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else { break done };
            done.push((at, work(item)));
        }
    });
    let mut all: Vec<(usize, R)> = done.into_iter().flatten().collect();
    all.sort_unstable_by_key(|(at, _)| *at);
    all.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn no_more_than_a_few_are_at_work_and_all_are_done() {
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let items: Vec<u32> = (0..50).collect();
        let results = super::map_few(3, &items, |number| {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::yield_now();
            now.fetch_sub(1, Ordering::SeqCst);
            number + 1
        });
        assert_eq!(results, (1..51).collect::<Vec<u32>>());
        assert!((1..=3).contains(&most.into_inner()));
    }

    #[test]
    fn results_come_in_the_order_of_the_things() {
        assert_eq!(super::map(&[3, 1, 2], |number| number * 10), [30, 10, 20]);
    }
}
