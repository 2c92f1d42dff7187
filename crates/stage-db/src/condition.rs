/// What a connection is good for after a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// As good as before.
    Sound,
    /// The rest of a result is still to come; then it is sound.
    Unread,
    /// To be closed, and the database has nothing left to do for it.
    Ended,
    /// To be closed, and the database may still be at work for it.
    Unknown,
}
