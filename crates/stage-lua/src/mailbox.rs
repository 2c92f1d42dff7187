use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc;

/// The bounded queue in front of a VM, with a count of what runs behind it.
pub(crate) struct Mailbox<T> {
    sender: mpsc::Sender<T>,
    running: Arc<AtomicUsize>,
}

impl<T> Clone for Mailbox<T> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), running: Arc::clone(&self.running) }
    }
}

impl<T> Mailbox<T> {
    /// A mailbox for so many waiting items, and the end that its VM reads.
    pub(crate) fn new(capacity: usize) -> (Self, mpsc::Receiver<T>) {
        let (sender, receiver) = mpsc::channel(capacity.max(1));
        (Self { sender, running: Arc::default() }, receiver)
    }

    /// Room for one item; `None` if the mailbox is full or its VM has stopped.
    pub(crate) fn room(&self) -> Option<mpsc::Permit<'_, T>> {
        self.sender.try_reserve().ok()
    }

    /// Leaves an item; whether there was room.
    pub(crate) fn post(&self, item: T) -> bool {
        self.room().map(|room| room.send(item)).is_some()
    }

    /// Whether its VM has stopped.
    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// How many items wait.
    pub(crate) fn waiting(&self) -> usize {
        self.sender.max_capacity() - self.sender.capacity()
    }

    /// How many handlers run or sleep.
    pub(crate) fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }

    /// Counts a handler as running until the guard is dropped.
    pub(crate) fn enter(&self) -> Running {
        self.running.fetch_add(1, Ordering::Relaxed);
        Running(Arc::clone(&self.running))
    }
}

/// A handler that runs or sleeps.
pub(crate) struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
