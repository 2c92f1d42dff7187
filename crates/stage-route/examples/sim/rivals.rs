//! What else a node could do, each with the constants that its authors publish.

use stage_route::State;

use crate::policy::{Policy, Seen};

pub(crate) struct Nothing;

impl Policy for Nothing {}

/// Leaves when the smoothed wait is over the threshold, comes back when it is under half of it.
pub(crate) struct Ewma {
    threshold: f64,
    wait: f64,
    is_out: bool,
}

impl Ewma {
    pub(crate) fn new(threshold: f64) -> Self {
        Self { threshold, wait: 0.0, is_out: false }
    }
}

fn standing(is_out: bool) -> State {
    if is_out { State::Isolated } else { State::Joined }
}

impl Policy for Ewma {
    fn window(&mut self, seen: &Seen) {
        self.wait += (seen.mean_wait - self.wait) * 0.3;
        self.is_out = self.wait > self.threshold * if self.is_out { 0.5 } else { 1.0 };
    }

    fn state(&self) -> State {
        standing(self.is_out)
    }
}

/// Out in every window that is over the threshold.
pub(crate) struct Literal {
    threshold: f64,
    is_out: bool,
}

impl Literal {
    pub(crate) fn new(threshold: f64) -> Self {
        Self { threshold, is_out: false }
    }
}

impl Policy for Literal {
    fn window(&mut self, seen: &Seen) {
        self.is_out = seen.delay > self.threshold;
    }

    fn state(&self) -> State {
        standing(self.is_out)
    }
}

/// Zhou et al., "Overload Control for Scaling WeChat Microservices", 2018: the mean wait of a window
/// against 20 ms moves the share that is admitted by 5 % down or 1 % up. Tuned: its window is as
/// short as ours, where the paper has a second.
pub(crate) struct Dagor {
    share: f64,
    fraction: f64,
}

impl Dagor {
    pub(crate) fn new() -> Self {
        Self { share: 1.0, fraction: 0.0 }
    }
}

impl Policy for Dagor {
    fn admit(&mut self, _: f64, _: usize) -> bool {
        self.fraction += self.share;
        let is_whole = self.fraction >= 1.0;
        self.fraction -= f64::from(u8::from(is_whole));
        is_whole
    }

    fn window(&mut self, seen: &Seen) {
        let is_over = seen.mean_wait > 0.02;
        self.share = if is_over { self.share * 0.95 } else { (self.share + 0.01).min(1.0) };
    }
}

/// CoDel for servers, after Maurer, "Fail at Scale", 2015: 5 ms may be waited while the queue has not
/// been empty for 100 ms, else 100 ms. The drop law for networks (RFC 8289) gets nothing through
/// here: senders that do not slow down outrun it.
#[derive(Default)]
pub(crate) struct Codel {
    above_since: Option<f64>,
}

impl Policy for Codel {
    fn starts(&mut self, now: f64, waited: f64) -> bool {
        const INTERVAL: f64 = 0.1;
        if waited < 0.005 {
            self.above_since = None;
            return true;
        }
        let is_standing = now - *self.above_since.get_or_insert(now) > INTERVAL;
        !is_standing && waited < INTERVAL
    }
}

/// Netflix's concurrency-limits, `Gradient2Limit`: how many may be inside, from the ratio of long to
/// recent latency.
pub(crate) struct Gradient {
    limit: f64,
    long: f64,
}

impl Gradient {
    pub(crate) fn new() -> Self {
        Self { limit: 20.0, long: 0.0 }
    }
}

impl Policy for Gradient {
    fn admit(&mut self, _: f64, inside: usize) -> bool {
        (inside as f64) < self.limit
    }

    fn finished(&mut self, latency: f64, inside: usize) {
        if self.long == 0.0 {
            self.long = latency;
        }
        self.long += (latency - self.long) * 2.0 / 601.0;
        if self.long / latency > 2.0 {
            self.long *= 0.95;
        }
        if (inside as f64) < self.limit / 2.0 {
            return;
        }
        let gradient = (1.5 * self.long / latency).clamp(0.5, 1.0);
        let wanted = self.limit * gradient + 4.0;
        self.limit = (self.limit * 0.8 + wanted * 0.2).clamp(4.0, 200.0);
    }
}
