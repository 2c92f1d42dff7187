use std::cell::{RefCell, RefMut};
use std::collections::HashSet;

use tokio::sync::watch;

use crate::handlers::Handlers;
use crate::vm::Handler;

/// One run of a stage's script, or of a module of it.
///
/// What it registers and starts goes when the script is begun anew from a changed file.
pub(crate) struct Generation {
    end: End,
    /// What it has registered before it is known to start; the handlers of the run before go on meanwhile.
    staged: RefCell<Option<Handlers<Handler>>>,
    /// The variables that it has said it shares.
    declared: RefCell<HashSet<Box<str>>>,
}

/// Keeps a generation going until it is dropped.
pub(crate) struct Alive(watch::Sender<()>);

/// When a generation ends.
#[derive(Clone)]
pub(crate) struct End(watch::Receiver<()>);

impl Default for Alive {
    fn default() -> Self {
        Self(watch::Sender::new(()))
    }
}

impl Alive {
    pub(crate) fn end(&self) -> End {
        End(self.0.subscribe())
    }
}

impl End {
    /// Waits until the generation ends.
    pub(crate) async fn reached(mut self) {
        while self.0.changed().await.is_ok() {}
    }
}

/// Waits until a generation ends; for ever without one.
pub(crate) async fn end_of(end: Option<End>) {
    match end {
        Some(end) => end.reached().await,
        None => std::future::pending().await,
    }
}

impl Generation {
    /// A run whose handlers are there at once.
    pub(crate) fn open(end: End) -> Self {
        Self { end, staged: RefCell::new(None), declared: RefCell::default() }
    }

    /// A run whose handlers are put aside until [`Generation::take_staged`].
    pub(crate) fn staged(end: End) -> Self {
        Self { staged: RefCell::new(Some(Handlers::default())), ..Self::open(end) }
    }

    pub(crate) fn end(&self) -> End {
        self.end.clone()
    }

    /// The handlers that were put aside; from here on those it registers are there at once.
    pub(crate) fn take_staged(&self) -> Handlers<Handler> {
        self.staged.borrow_mut().take().unwrap_or_default()
    }

    /// The handlers that it puts aside, if it does.
    pub(crate) fn aside(&self) -> Option<RefMut<'_, Handlers<Handler>>> {
        RefMut::filter_map(self.staged.borrow_mut(), Option::as_mut).ok()
    }

    pub(crate) fn declare(&self, name: &str) {
        self.declared.borrow_mut().insert(name.into());
    }

    pub(crate) fn has_declared(&self, name: &str) -> bool {
        self.declared.borrow().contains(name)
    }
}
