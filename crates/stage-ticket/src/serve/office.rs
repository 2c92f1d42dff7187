use std::sync::{Arc, Mutex, PoisonError};

use super::hub::Hub;

/// Where the streams of one server look for its coordinator, which comes and goes with its terms.
#[derive(Debug)]
pub(crate) struct Office {
    standing: Mutex<Standing>,
}

/// Whether this server leads now.
#[derive(Debug, Clone)]
pub(crate) enum Standing {
    /// It does.
    Leading(Arc<Hub>),
    /// It does not; the leader listens there, as far as is known.
    Following {
        /// The address; empty if nobody is known to lead.
        leader: String,
    },
}

impl Office {
    pub(crate) fn new(standing: Standing) -> Self {
        Self { standing: Mutex::new(standing) }
    }

    pub(crate) fn standing(&self) -> Standing {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends the nodes of the term away without ending it.
    #[cfg(feature = "etcd")]
    pub(crate) fn stand_aside(&self) {
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        let following = Standing::Following { leader: String::new() };
        if let Standing::Leading(hub) = std::mem::replace(&mut *standing, following) {
            hub.dismiss();
        }
    }

    /// Takes the nodes of the term back.
    #[cfg(feature = "etcd")]
    pub(crate) fn stand_back(&self, hub: Arc<Hub>) {
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner) = Standing::Leading(hub);
    }

    /// Ends the term that there was, if any.
    pub(crate) fn stand(&self, new: Standing) {
        let old = {
            let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *standing, new)
        };
        if let Standing::Leading(hub) = old {
            hub.close();
        }
    }
}
