use std::net::SocketAddr;

use crate::tls::Certified;

/// Who is at the other end of a connection to this node's port; among the extensions of every
/// request that comes over it.
#[derive(Clone, Debug)]
pub struct Caller {
    pub(crate) address: SocketAddr,
    pub(crate) certified: Option<Certified>,
}

impl Caller {
    /// Where the connection comes from.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whose certificate was shown; `None` if the connection is not encrypted.
    #[must_use]
    pub fn identity(&self) -> Option<&str> {
        self.certified.as_ref().map(|certified| &*certified.identity)
    }
}
