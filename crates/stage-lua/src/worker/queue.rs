use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;

/// The most that a worker takes at once.
const BATCH: usize = 32;

/// What waits for any of several workers, first come, first served. Bounded.
///
/// A worker takes a share of what waits, so that many short jobs cost few hand-overs, and never so much that another
/// worker runs dry meanwhile (guided self-scheduling; Polychronopoulos and Kuck, 1987).
pub(crate) struct Queue<T> {
    inside: Mutex<Inside<T>>,
    capacity: usize,
    /// How many wait, to be read without the lock.
    waiting: AtomicUsize,
    /// One permit for each call to a worker that sleeps.
    calls: Semaphore,
}

struct Inside<T> {
    items: VecDeque<T>,
    /// Workers that serve the queue.
    workers: usize,
    /// Those that sleep and were not called.
    asleep: usize,
    is_closed: bool,
}

/// Why an item was not taken up.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused<T> {
    Full(T),
    Closed(T),
}

impl<T> Queue<T> {
    pub(crate) fn new(capacity: usize, workers: usize) -> Self {
        let inside = Inside { items: VecDeque::new(), workers, asleep: 0, is_closed: workers == 0 };
        Self {
            inside: Mutex::new(inside),
            capacity,
            waiting: AtomicUsize::new(0),
            calls: Semaphore::new(0),
        }
    }

    /// Leaves an item for the workers.
    ///
    /// # Errors
    /// The item, if there is no room or nobody serves the queue.
    pub(crate) fn push(&self, item: T) -> Result<(), Refused<T>> {
        let mut inside = self.lock();
        if inside.is_closed {
            return Err(Refused::Closed(item));
        }
        if inside.items.len() >= self.capacity {
            return Err(Refused::Full(item));
        }
        inside.items.push_back(item);
        self.waiting.store(inside.items.len(), Ordering::Relaxed);
        let calls = inside.asleep > 0;
        inside.asleep -= usize::from(calls);
        drop(inside);
        if calls {
            self.calls.add_permits(1);
        }
        Ok(())
    }

    /// Takes a worker's share; sleeps while there is nothing. Takes nothing once the queue is closed and empty.
    pub(crate) async fn take(&self) -> Vec<T> {
        loop {
            {
                let mut inside = self.lock();
                if !inside.items.is_empty() {
                    let share = inside.items.len() / (2 * inside.workers.max(1));
                    let taken = inside.items.drain(..share.clamp(1, BATCH)).collect();
                    self.waiting.store(inside.items.len(), Ordering::Relaxed);
                    return taken;
                }
                if inside.is_closed {
                    return Vec::new();
                }
                inside.asleep += 1;
            }
            if let Ok(call) = self.calls.acquire().await {
                call.forget();
            }
        }
    }

    /// A worker serves the queue no longer; the last one closes it.
    pub(crate) fn leave(&self) {
        let mut inside = self.lock();
        inside.workers = inside.workers.saturating_sub(1);
        if inside.workers == 0 {
            inside.is_closed = true;
            self.waiting.store(0, Ordering::Relaxed);
            let dropped = std::mem::take(&mut inside.items);
            drop(inside);
            // They tell their callers.
            drop(dropped);
        }
    }

    /// Takes in nothing more; the workers end when they have done what waits.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
        self.calls.close();
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Inside<T>> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn a_worker_takes_its_share_and_leaves_the_rest_to_the_others() {
        let queue = Queue::new(1000, 2);
        for item in 0..100 {
            queue.push(item).unwrap();
        }
        assert_eq!(queue.take().await, (0..25).collect::<Vec<_>>());
        assert_eq!(queue.take().await.len(), 18);
        assert_eq!(queue.waiting(), 57);
        for item in 0..400 {
            queue.push(item).unwrap();
        }
        assert_eq!(queue.take().await.len(), BATCH);
    }

    #[tokio::test]
    async fn a_lone_item_is_taken_at_once() {
        let queue = Queue::new(10, 8);
        queue.push(1).unwrap();
        assert_eq!(queue.take().await, [1]);
    }

    #[test]
    fn what_has_no_room_is_given_back() {
        let queue = Queue::new(1, 1);
        queue.push(1).unwrap();
        assert_eq!(queue.push(2), Err(Refused::Full(2)));
    }

    #[tokio::test]
    async fn a_closed_queue_is_emptied_first() {
        let queue = Queue::new(10, 1);
        queue.push(1).unwrap();
        queue.close();
        assert_eq!(queue.push(2), Err(Refused::Closed(2)));
        assert_eq!(queue.take().await, [1]);
        assert!(queue.take().await.is_empty());
    }

    #[test]
    fn nothing_waits_for_workers_that_are_all_gone() {
        let queue = Queue::new(10, 2);
        queue.leave();
        let item = Arc::new(());
        queue.push(Arc::clone(&item)).unwrap();
        queue.leave();
        assert_eq!(Arc::strong_count(&item), 1);
        assert!(matches!(queue.push(item), Err(Refused::Closed(_))));
    }

    /// Two calls may come before either worker has begun to listen for one.
    #[test]
    fn each_worker_that_sleeps_is_called() {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        runtime.block_on(async {
            for _ in 0..2000 {
                let queue = Arc::new(Queue::new(10, 2));
                let worker = |queue: Arc<Queue<u8>>| async move { queue.take().await };
                let workers =
                    [tokio::spawn(worker(queue.clone())), tokio::spawn(worker(queue.clone()))];
                queue.push(1).unwrap();
                queue.push(2).unwrap();
                for worker in workers {
                    assert_eq!(worker.await.unwrap().len(), 1);
                }
            }
        });
    }
}
