//! What a coordinator tells operators of its categories.

use std::time::Duration;

use stage_proto::ticket::v1 as proto;

use super::Hub;
use crate::Time;
use crate::coordinator::{CategoryView, Holding};
use crate::serve::state::State;
use crate::wire;

/// The most holders that are listed of one category, and of all together.
const MOST_OF_ONE: usize = 1000;
const MOST_OF_ALL: usize = 10_000;

impl Hub {
    /// Every category by name, with at most `holders` of those who hold a ticket of it.
    pub(in crate::serve) fn list(&self, holders: u32) -> Vec<proto::CategoryState> {
        let each = (holders as usize).min(MOST_OF_ONE);
        self.with(|state, now| {
            let mut categories: Vec<_> = state.coordinator.categories().collect();
            categories.sort_by_key(|category| category.name().as_str());
            let mut room = MOST_OF_ALL;
            let listed = categories.into_iter().map(|category| {
                let holders = category.oldest_holders(each.min(room));
                room -= holders.len();
                let listed = holders.iter().map(|holding| holder(state, holding, now)).collect();
                proto::CategoryState { listed, ..category_state(category, now) }
            });
            listed.collect()
        })
    }
}

fn category_state(category: CategoryView<'_>, now: Time) -> proto::CategoryState {
    let oldest = category.holders().map(|holding| now.since(holding.issued)).max();
    let waiting = category.waiting_since().map(|since| now.since(since));
    let totals = category.totals();
    proto::CategoryState {
        name: category.name().as_str().to_owned(),
        limit: wire::written(category.limit()),
        closed: category.is_closed(now),
        holders: category.holder_count(),
        waiters: category.waiter_count(),
        oldest_ms: oldest.map(millis),
        granted: totals.granted,
        refused: totals.refused,
        expired: totals.expired,
        waiting_ms: waiting.map(millis),
        listed: Vec::new(),
    }
}

fn holder(state: &State, holding: &Holding, now: Time) -> proto::Holder {
    proto::Holder {
        token: Some(wire::token_message(holding.token)),
        node: holding.node.0,
        name: state.name(holding.node).to_owned(),
        age_ms: millis(now.since(holding.issued)),
        left_ms: millis(holding.expires.since(now)),
    }
}

fn millis(age: Duration) -> u64 {
    u64::try_from(age.as_millis()).unwrap_or(u64::MAX)
}
