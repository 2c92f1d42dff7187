use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

/// The bounded queue in front of a VM, with a count of what runs behind it.
pub(crate) struct Mailbox<T> {
    sender: UnboundedSender<T>,
    counts: Arc<Counts>,
}

/// The end of a mailbox that its VM reads.
pub(crate) struct Receiver<T> {
    receiver: UnboundedReceiver<T>,
    counts: Arc<Counts>,
}

struct Counts {
    capacity: usize,
    waiting: AtomicUsize,
    running: AtomicUsize,
}

/// Room for one item.
pub(crate) struct Room<'a, T>(&'a Mailbox<T>);

impl<T> Clone for Mailbox<T> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), counts: Arc::clone(&self.counts) }
    }
}

impl<T> Mailbox<T> {
    /// A mailbox for so many waiting items, and the end that its VM reads.
    pub(crate) fn new(capacity: usize) -> (Self, Receiver<T>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let counts = Arc::new(Counts {
            capacity: capacity.max(1),
            waiting: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
        });
        let reader = Receiver { receiver, counts: Arc::clone(&counts) };
        (Self { sender, counts }, reader)
    }

    /// Room for one item; `None` if the mailbox is full or its VM has stopped.
    pub(crate) fn room(&self) -> Option<Room<'_, T>> {
        let before = self.counts.waiting.fetch_add(1, Ordering::Relaxed);
        let room = Room(self);
        (before < self.counts.capacity && !self.sender.is_closed()).then_some(room)
    }

    /// Leaves an item; whether there was room.
    pub(crate) fn post(&self, item: T) -> bool {
        self.room().map(|room| room.send(item)).is_some()
    }

    /// How many items wait.
    pub(crate) fn waiting(&self) -> usize {
        self.counts.waiting.load(Ordering::Relaxed)
    }

    /// How many handlers run or sleep.
    pub(crate) fn running(&self) -> usize {
        self.counts.running.load(Ordering::Relaxed)
    }

    /// Counts a handler as running until the guard is dropped.
    pub(crate) fn enter(&self) -> Running {
        self.counts.running.fetch_add(1, Ordering::Relaxed);
        Running(Arc::clone(&self.counts))
    }
}

impl<T> Room<'_, T> {
    /// Leaves an item. A VM that stops in this moment drops it.
    pub(crate) fn send(self, item: T) {
        let mailbox = self.0;
        if mailbox.sender.send(item).is_ok() {
            std::mem::forget(self);
        }
    }
}

impl<T> Drop for Room<'_, T> {
    fn drop(&mut self) {
        self.0.counts.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<T> Receiver<T> {
    /// The next item; `None` once nobody can leave any.
    pub(crate) async fn recv(&mut self) -> Option<T> {
        let item = self.receiver.recv().await;
        if item.is_some() {
            self.counts.waiting.fetch_sub(1, Ordering::Relaxed);
        }
        item
    }
}

/// A handler that runs or sleeps.
pub(crate) struct Running(Arc<Counts>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_mailbox_has_room_again_once_an_item_was_taken() {
        let (mailbox, mut receiver) = Mailbox::new(2);
        assert!(mailbox.post(1) && mailbox.post(2));
        assert!(!mailbox.post(3));
        assert_eq!(mailbox.waiting(), 2);
        assert_eq!(receiver.recv().await, Some(1));
        assert!(mailbox.post(4));
        assert_eq!(receiver.recv().await, Some(2));
        assert_eq!(receiver.recv().await, Some(4));
        assert_eq!(mailbox.waiting(), 0);
    }

    #[test]
    fn nothing_can_be_left_for_a_vm_that_has_stopped() {
        let (mailbox, receiver) = Mailbox::new(2);
        drop(receiver);
        assert!(!mailbox.post(1));
        assert_eq!(mailbox.waiting(), 0);
    }
}
