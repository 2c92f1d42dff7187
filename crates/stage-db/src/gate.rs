use std::future::Future;
use std::pin::Pin;

/// Who says whether a connection may be opened: a limit that holds beyond this process.
///
/// A permit is kept for as long as its connection is open, idle or not, and for 50 ms more, in which the server ends its
/// own side. The drivers do not tell when it has: a server that takes longer, because its processors are busy, counts
/// the connection for that much longer, though nothing runs on it. So that others get their turn, connections of a pool
/// with a gate should neither live nor idle for long: see [`Config::lifetime`](crate::Config::lifetime) and
/// [`Config::idle`](crate::Config::idle).
pub trait Gate: Send + Sync {
    /// Waits for a permit. Dropping the future gives the place in the queue up.
    fn admit(&self) -> Admission;
}

/// A permit that is waited for, or why there is none.
pub type Admission = Pin<Box<dyn Future<Output = Result<Box<dyn Permit>, String>> + Send>>;

/// Allows one connection until it is dropped.
pub trait Permit: Send + Sync {
    /// Whether it still holds. A connection whose permit is gone is closed.
    fn is_held(&self) -> bool;

    /// Resolves when it does not hold any more.
    fn ended(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}
