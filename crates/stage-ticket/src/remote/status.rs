/// Whether a node has a coordinator.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// It looks for one. Requests wait; those that would not wait are refused.
    Connecting {
        /// Why the last attempt failed, or the last connection ended.
        why: Option<String>,
    },
    /// It has one.
    Attached {
        /// Where the coordinator listens.
        address: String,
        /// The epoch of its grants.
        epoch: u64,
    },
}
