use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;

/// What a run of a handler has begun outside of its VM, by numbers that mean nothing to any other run.
///
/// It ends with the run: what a script forgets, or is stopped in, holds no connection.
#[derive(Default)]
pub(crate) struct Unfinished {
    numbers: Cell<i64>,
    open: RefCell<HashMap<i64, Box<dyn Any>>>,
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

    /// Ends all of it: the run is over.
    pub(crate) fn give_up(&self) {
        self.is_over.set(true);
        // Outside of the borrow: ending may run code.
        drop(self.open.take());
    }
}
