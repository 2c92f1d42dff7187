use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// What a run of a handler has begun outside of its VM, by numbers that mean nothing to any other run.
///
/// It ends with the run: what a script forgets, or is stopped in, holds no connection.
#[derive(Default)]
pub(crate) struct Unfinished {
    numbers: Cell<i64>,
    open: RefCell<HashMap<i64, Box<dyn Any>>>,
    waits: Waits,
    is_over: Cell<bool>,
}

/// What one run may have open at a time.
const MOST: usize = 64;

impl Unfinished {
    /// Keeps something until it is taken or the run is over.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn add<T: 'static>(&self, what: T) -> Result<i64, &'static str> {
        if self.is_over.get() || self.open.borrow().len() >= MOST {
            return Err("too many transactions, results and responses are open in this handler");
        }
        self.numbers.set(self.numbers.get() + 1);
        self.put_back(self.numbers.get(), what);
        Ok(self.numbers.get())
    }

    /// What was kept under a number, which stays there.
    pub(crate) fn find<T: Clone + 'static>(&self, number: i64) -> Option<T> {
        self.open.borrow().get(&number)?.downcast_ref::<T>().cloned()
    }

    pub(crate) fn take<T: 'static>(&self, number: i64) -> Option<T> {
        self.open.borrow_mut().remove(&number)?.downcast::<T>().ok().map(|what| *what)
    }

    /// Keeps what was taken under its number.
    pub(crate) fn put_back<T: 'static>(&self, number: i64, what: T) {
        if !self.is_over.get() {
            self.open.borrow_mut().insert(number, Box::new(what));
        }
    }

    /// A wait that ends with the run.
    ///
    /// A coroutine that nobody resumes any more keeps what it waits for until it is collected, whenever that is;
    /// so it gets no more than a handle, and the run keeps the wait itself.
    pub(crate) fn wait<F: Future + 'static>(&self, future: F) -> Wait<F> {
        let wait = Rc::new(RefCell::new(Some(Box::pin(future))));
        let number = self.numbers.get() + 1;
        self.numbers.set(number);
        if self.is_over.get() {
            wait.borrow_mut().take();
        }
        let kept: Rc<dyn Ends> = wait.clone();
        self.waits.borrow_mut().insert(number, kept);
        Wait { wait, number, waits: Rc::clone(&self.waits) }
    }

    /// Ends all of it: the run is over.
    pub(crate) fn give_up(&self) {
        self.is_over.set(true);
        // Outside of the borrows: ending may run code.
        let (open, waits) = (self.open.take(), self.waits.take());
        waits.values().for_each(|wait| wait.end());
        drop(open);
    }
}

type Waits = Rc<RefCell<HashMap<i64, Rc<dyn Ends>>>>;

/// What can be ended by somebody else than who waits for it.
trait Ends {
    fn end(&self);
}

impl<F> Ends for RefCell<Option<Pin<Box<F>>>> {
    fn end(&self) {
        let ended = self.borrow_mut().take();
        drop(ended);
    }
}

/// A wait that a run keeps; once the run is over, it never ends.
pub(crate) struct Wait<F> {
    wait: Rc<RefCell<Option<Pin<Box<F>>>>>,
    number: i64,
    waits: Waits,
}

impl<F: Future> Future for Wait<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        match &mut *self.wait.borrow_mut() {
            Some(wait) => wait.as_mut().poll(context),
            None => Poll::Pending,
        }
    }
}

impl<F> Drop for Wait<F> {
    fn drop(&mut self) {
        let kept = self.waits.borrow_mut().remove(&self.number);
        drop(kept);
        self.wait.end();
    }
}
