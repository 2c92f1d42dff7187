//! The step on which all depends: giving a key back.

use crate::key::Hashed;
use crate::shard::Shard;
use crate::tally::Tally;

/// The job that ran under this turn has ended: forgets the key if nothing waits, or tells the
/// caller to pass the turn on. Both is decided under one hold of the lock, so that a job which
/// arrives in this instant is either seen here or finds no lane and starts at once.
#[must_use]
pub(crate) fn release(shard: &Shard, at: &Hashed, count: impl FnOnce(&mut Tally)) -> bool {
    let mut state = shard.lock();
    count(&mut state.tally);
    state.lanes.leave(at)
}
