use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

/// What a run of a handler has begun outside of its VM, for that run alone.
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

/// What a script holds of something that its run keeps.
///
/// A script may leave it to another handler. Numbers begin anew in every run, so it knows its run too: by where the waits
/// of that are, a place which is not given to others as long as the handle is there.
pub(crate) struct Handle {
    number: i64,
    waits: Weak<WaitsByNumber>,
}

/// A handle was used in a run that is not its own.
#[derive(Debug, thiserror::Error)]
#[error(
    "a transaction, result or response is for the handler alone that opened it, and ends with it"
)]
pub(crate) struct Elsewhere;

impl Unfinished {
    /// Keeps something until it is taken or the run is over.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn add<T: 'static>(&self, what: T) -> Result<Handle, &'static str> {
        if self.is_over.get() || self.open.borrow().len() >= MOST {
            return Err("too many transactions, results and responses are open in this handler");
        }
        let handle = Handle { number: self.number(), waits: Rc::downgrade(&self.waits) };
        self.put_back(&handle, what);
        Ok(handle)
    }

    /// What was kept, which stays; `None` if it was taken.
    ///
    /// # Errors
    /// If another run keeps it, or did.
    pub(crate) fn find<T: Clone + 'static>(&self, handle: &Handle) -> Result<Option<T>, Elsewhere> {
        self.check(handle)?;
        let open = self.open.borrow();
        Ok(open.get(&handle.number).and_then(|what| what.downcast_ref::<T>()).cloned())
    }

    /// Takes what was kept; `None` if it was taken before.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub(crate) fn take<T: 'static>(&self, handle: &Handle) -> Result<Option<T>, Elsewhere> {
        self.check(handle)?;
        let taken = self.open.borrow_mut().remove(&handle.number);
        Ok(taken.and_then(|what| what.downcast::<T>().ok()).map(|what| *what))
    }

    /// Keeps what was taken from here.
    pub(crate) fn put_back<T: 'static>(&self, handle: &Handle, what: T) {
        if !self.is_over.get() {
            self.open.borrow_mut().insert(handle.number, Box::new(what));
        }
    }

    fn check(&self, handle: &Handle) -> Result<(), Elsewhere> {
        if handle.waits.as_ptr() == Rc::as_ptr(&self.waits) { Ok(()) } else { Err(Elsewhere) }
    }

    fn number(&self) -> i64 {
        self.numbers.set(self.numbers.get() + 1);
        self.numbers.get()
    }

    /// A wait that ends with the run.
    ///
    /// A coroutine that nobody resumes any more keeps what it waits for until it is collected, whenever that is;
    /// so it gets no more than a handle, and the run keeps the wait itself.
    pub(crate) fn wait<F: Future + 'static>(&self, future: F) -> Wait<F> {
        let wait = Rc::new(RefCell::new(Some(Box::pin(future))));
        let number = self.number();
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

type Waits = Rc<WaitsByNumber>;
type WaitsByNumber = RefCell<HashMap<i64, Rc<dyn Ends>>>;

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
