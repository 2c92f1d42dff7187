use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use stage_db::{RowStream, Transaction};

/// What a run of a handler has begun with a database, by numbers that mean nothing to any other run.
///
/// It ends with the run: what a script forgets, or is stopped in, holds no connection.
#[derive(Default)]
pub(crate) struct Unfinished {
    numbers: Cell<i64>,
    transactions: RefCell<HashMap<i64, Rc<Transaction>>>,
    streams: RefCell<HashMap<i64, RowStream>>,
    is_over: Cell<bool>,
}

/// What one run may have open at a time.
const MOST: usize = 64;

const TOO_MANY: &str = "too many transactions and results are open in this handler";

impl Unfinished {
    pub(crate) fn add_transaction(&self, transaction: Transaction) -> Result<i64, &'static str> {
        let mut transactions = self.transactions.borrow_mut();
        if self.is_over.get() || transactions.len() >= MOST {
            return Err(TOO_MANY);
        }
        let number = self.next();
        transactions.insert(number, Rc::new(transaction));
        Ok(number)
    }

    pub(crate) fn transaction(&self, number: i64) -> Option<Rc<Transaction>> {
        self.transactions.borrow().get(&number).cloned()
    }

    pub(crate) fn take_transaction(&self, number: i64) -> Option<Rc<Transaction>> {
        self.transactions.borrow_mut().remove(&number)
    }

    pub(crate) fn add_stream(&self, stream: RowStream) -> Result<i64, &'static str> {
        let number = self.next();
        if self.streams.borrow().len() >= MOST {
            return Err(TOO_MANY);
        }
        self.return_stream(number, stream);
        Ok(number)
    }

    pub(crate) fn take_stream(&self, number: i64) -> Option<RowStream> {
        self.streams.borrow_mut().remove(&number)
    }

    pub(crate) fn return_stream(&self, number: i64, stream: RowStream) {
        if !self.is_over.get() {
            self.streams.borrow_mut().insert(number, stream);
        }
    }

    /// Rolls all of it back: the run is over.
    pub(crate) fn give_up(&self) {
        self.is_over.set(true);
        let (transactions, streams) = (self.transactions.take(), self.streams.take());
        drop((transactions, streams));
    }

    fn next(&self) -> i64 {
        self.numbers.set(self.numbers.get() + 1);
        self.numbers.get()
    }
}
