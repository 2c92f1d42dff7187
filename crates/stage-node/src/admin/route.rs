//! The node's own delay and standing, now and lately.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};

use crate::history::{Change, Window};
use crate::node::Shared;

/// The node's own delay and standing.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RouteState {
    /// joined, held, draining, isolated or probing.
    pub state: String,
    /// For how long, in milliseconds.
    #[serde(default)]
    pub since_ms: f64,
    /// The delay past which it is in its critical region, in milliseconds.
    pub threshold_ms: f64,
    /// What one message costs when it is calm, in milliseconds.
    pub baseline_ms: f64,
    /// The delay of its slowest queue in the last window, in milliseconds.
    pub delay_ms: f64,
    /// That queue; empty if none was delayed.
    #[serde(default)]
    pub slowest: String,
    /// Busy share of the workers of its busiest queue, 0 to 1.
    pub utilisation: f64,
    /// The share of others' work that it takes, 0 to 1.
    #[serde(default)]
    pub credit: f64,
    /// How often it has left.
    pub leaves: u64,
    /// Leaves that are not made up for yet: each doubles the time away.
    #[serde(default)]
    pub failures: u32,
    /// Why it is in its state.
    pub reason: String,
    /// The last changes of its state, the newest first.
    #[serde(default)]
    pub changes: Vec<ChangeState>,
}

/// A change of state.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChangeState {
    /// How long ago, in milliseconds.
    pub ago_ms: f64,
    /// The state before.
    pub from: String,
    /// The state after.
    pub to: String,
    /// Why.
    pub reason: String,
}

/// What the route control saw in one window.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WindowState {
    /// When it ended, in milliseconds since the node's start.
    pub at_ms: f64,
    /// joined, held, draining, isolated or probing.
    pub state: String,
    /// The delay of the slowest queue, in milliseconds.
    pub delay_ms: f64,
    /// The delay past which the node is in its critical region, in milliseconds.
    pub threshold_ms: f64,
    /// Busy share of the workers of the busiest queue, 0 to 1.
    pub utilisation: f64,
    /// The share of others' work that the node takes, 0 to 1.
    pub credit: f64,
}

impl RouteState {
    pub(super) fn of(shared: &Shared) -> Self {
        let view = shared.route.view();
        let history = shared.history.lock().unwrap_or_else(PoisonError::into_inner);
        Self {
            state: view.state.to_string(),
            since_ms: millis(view.since),
            threshold_ms: millis(view.threshold),
            baseline_ms: millis(view.baseline),
            delay_ms: millis(view.delay),
            slowest: view.slowest,
            utilisation: view.utilisation,
            credit: view.credit,
            leaves: view.leaves,
            failures: view.failures,
            reason: view.reason,
            changes: history.changes().map(ChangeState::of).collect(),
        }
    }
}

impl ChangeState {
    fn of(change: &Change) -> Self {
        Self {
            ago_ms: millis(change.at.elapsed()),
            from: change.from.to_string(),
            to: change.to.to_string(),
            reason: change.reason.clone(),
        }
    }
}

impl WindowState {
    fn of(window: &Window) -> Self {
        Self {
            at_ms: millis(window.at),
            state: window.state.to_string(),
            delay_ms: millis(window.delay),
            threshold_ms: millis(window.threshold),
            utilisation: window.utilisation,
            credit: window.credit,
        }
    }
}

/// Which windows are asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// Those that ended later than this, in milliseconds since the node's start.
    #[serde(default)]
    after_ms: u64,
}

/// The windows of the last five minutes, the oldest first.
pub(super) async fn windows(
    Query(asked): Query<Asked>,
    State(shared): State<Arc<Shared>>,
) -> Json<Vec<WindowState>> {
    let history = shared.history.lock().unwrap_or_else(PoisonError::into_inner);
    let windows = history.windows_after(Duration::from_millis(asked.after_ms));
    Json(windows.map(WindowState::of).collect())
}

/// To the microsecond.
fn millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}
