//! What the route control saw and did lately.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use stage_route::{State, View};

/// Windows that are kept: five minutes.
const WINDOWS: usize = 3000;

/// Changes of standing that are kept.
const CHANGES: usize = 16;

/// The last windows and changes of standing, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct History {
    windows: VecDeque<Window>,
    changes: VecDeque<Change>,
    last: Option<State>,
}

/// One window, at the time since the node's start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Window {
    pub(crate) at: Duration,
    pub(crate) state: State,
    pub(crate) delay: Duration,
    pub(crate) threshold: Duration,
    pub(crate) utilisation: f64,
    pub(crate) credit: f64,
}

/// A change of standing.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Change {
    pub(crate) at: Instant,
    pub(crate) from: State,
    pub(crate) to: State,
    pub(crate) reason: String,
}

impl History {
    /// Takes in the view of a window; the change, if the standing has changed with it.
    pub(crate) fn add(&mut self, view: &View, at: Duration, now: Instant) -> Option<Change> {
        let window = Window {
            at,
            state: view.state,
            delay: view.delay,
            threshold: view.threshold,
            utilisation: view.utilisation,
            credit: view.credit,
        };
        push(&mut self.windows, window, WINDOWS);
        let from = self.last.replace(view.state).filter(|from| *from != view.state)?;
        let change = Change { at: now, from, to: view.state, reason: view.reason.clone() };
        push(&mut self.changes, change.clone(), CHANGES);
        Some(change)
    }

    /// The windows after a time.
    pub(crate) fn windows_after(&self, after: Duration) -> impl Iterator<Item = &Window> {
        let first = self.windows.partition_point(|window| window.at <= after);
        self.windows.range(first..)
    }

    /// The changes, the newest first.
    pub(crate) fn changes(&self) -> impl Iterator<Item = &Change> {
        self.changes.iter().rev()
    }
}

fn push<T>(queue: &mut VecDeque<T>, item: T, most: usize) {
    if queue.len() >= most {
        queue.pop_front();
    }
    queue.push_back(item);
}

#[cfg(test)]
mod tests {
    use stage_route::{Config, Controller, Input, WINDOW};

    use super::*;

    /// The views of a node alone, of which every second is past its threshold.
    fn history(windows: u32) -> History {
        let mut controller = Controller::new("a", Config::default(), Duration::from_millis(1));
        let mut history = History::default();
        for n in 0..windows {
            let delay = Duration::from_millis(if n % 1000 < 500 { 0 } else { 50 });
            let input = Input { now: WINDOW * n, delay, ..Input::default() };
            history.add(&controller.step(&input), WINDOW * n, Instant::now());
        }
        history
    }

    #[test]
    fn only_the_last_windows_and_changes_are_kept() {
        let history = history(20_000);
        assert_eq!(history.windows_after(Duration::ZERO).count(), WINDOWS);
        assert_eq!(history.changes().count(), CHANGES);
        assert_eq!(history.windows.back().map(|window| window.at), Some(WINDOW * 19_999));
    }

    #[test]
    fn whoever_has_seen_a_window_gets_those_after_it() {
        let history = history(100);
        let after: Vec<_> = history.windows_after(WINDOW * 96).map(|window| window.at).collect();
        assert_eq!(after, [WINDOW * 97, WINDOW * 98, WINDOW * 99]);
    }

    #[test]
    fn a_change_is_told_once_with_its_reason_and_the_newest_comes_first() {
        let history = history(1100);
        let changes: Vec<_> = history.changes().map(|change| (change.from, change.to)).collect();
        assert_eq!(changes, [(State::Held, State::Joined), (State::Joined, State::Held)]);
        assert!(history.changes.iter().all(|change| !change.reason.is_empty()));
    }
}
