//! Where a running node spends its time in Lua.
//!
//! A thread asks at a steady rate every VM that is executing to note its stack, by the signal that also preempts: the
//! handler sets Lua's count hook, which notes the stack at the next instruction and is gone. While no profile is taken
//! there is neither thread nor hook. A VM that waits is not asked, so what is counted is time of the processor.
//!
//! Stacks are kept as text of the folded format (B. Gregg, "The Flame Graph", ACM Queue 14(2), 2016): frames
//! from the outermost to the innermost, separated by semicolons.

mod flame;
mod stacks;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::preempt;

pub(crate) use stacks::{Frame, Stacks};

/// Samples all VMs of the process until it is finished or dropped. There is one at a time.
#[derive(Debug)]
pub struct Profiler {
    stacks: Arc<Stacks>,
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Why no profile is taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProfilerError {
    /// Two profiles would count each other's samples.
    #[error("a profile of this process is being taken already: try again when it is done")]
    Busy,
    /// The rate is none, or so high that it would measure itself.
    #[error("{rate} samples a second: use 1 to {most}", most = Profiler::FASTEST)]
    Rate {
        /// What was asked for.
        rate: u32,
    },
    /// There is no thread for it.
    #[error("no thread for the profiler: {0}")]
    Thread(#[from] std::io::Error),
}

impl Profiler {
    /// The most samples a second.
    pub const FASTEST: u32 = 1000;

    /// Begins to sample, so many times a second. A rate that shares no divisor with what the scripts do in a rhythm
    /// (99, say) sees all of it.
    ///
    /// # Errors
    /// [`ProfilerError`]
    pub fn start(rate: u32) -> Result<Self, ProfilerError> {
        if !(1..=Self::FASTEST).contains(&rate) {
            return Err(ProfilerError::Rate { rate });
        }
        let stacks = Arc::<Stacks>::default();
        if !preempt::collect_samples(Arc::clone(&stacks)) {
            return Err(ProfilerError::Busy);
        }
        let (stop, stopped) = mpsc::channel();
        let mut profiler = Self { stacks, stop: Some(stop), thread: None };
        let period = Duration::from_secs(1) / rate;
        let sample = move || {
            while stopped.recv_timeout(period) == Err(RecvTimeoutError::Timeout) {
                preempt::sample();
            }
        };
        let thread = thread::Builder::new().name("stage-profiler".to_owned()).spawn(sample)?;
        profiler.thread = Some(thread);
        Ok(profiler)
    }

    /// Ends it, and tells what was seen.
    #[must_use]
    pub fn finish(mut self) -> Profile {
        self.end();
        self.stacks.take()
    }

    fn end(&mut self) {
        // Once only: another profile may have begun since.
        let Some(stop) = self.stop.take() else { return };
        drop(stop);
        if let Some(thread) = self.thread.take() {
            // It has nothing to say: it only asks.
            let _ = thread.join();
        }
        preempt::collect_no_samples();
    }
}

impl Drop for Profiler {
    fn drop(&mut self) {
        self.end();
    }
}

/// What a profiler has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// How often each stack was seen: its frames from the outermost to the innermost, separated by `;`. The first one is
    /// the thread, which is named for its stage instance or worker.
    pub stacks: BTreeMap<String, u64>,
    /// Samples of further stacks, for which there was no room.
    pub lost: u64,
}

/// A line of a script in a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfiledLine {
    /// File, line and function.
    pub place: String,
    /// Samples in which it was being executed.
    pub own: u64,
    /// Samples in which it or something that it called was.
    pub total: u64,
}

impl Profile {
    /// How many samples there are, the lost ones left out.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.stacks.values().sum()
    }

    /// One line for each stack, with how often it was seen: what tools that draw flame graphs read.
    #[must_use]
    pub fn folded(&self) -> String {
        let mut text = String::new();
        for (stack, count) in &self.stacks {
            let _ = writeln!(text, "{stack} {count}");
        }
        text
    }

    /// The lines that were seen, those that were executed most first.
    #[must_use]
    pub fn lines(&self) -> Vec<ProfiledLine> {
        let mut seen: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for (stack, count) in &self.stacks {
            let mut frames: Vec<_> = stack.split(';').skip(1).collect();
            if let Some(innermost) = frames.last() {
                seen.entry(innermost).or_default().0 += count;
            }
            // One that calls itself counts once.
            frames.sort_unstable();
            frames.dedup();
            for frame in frames {
                seen.entry(frame).or_default().1 += count;
            }
        }
        let line = |(place, (own, total)): (&str, (u64, u64))| ProfiledLine {
            place: place.to_owned(),
            own,
            total,
        };
        let mut lines: Vec<_> = seen.into_iter().map(line).collect();
        lines.sort_by(|a, b| (b.own, b.total, &a.place).cmp(&(a.own, a.total, &b.place)));
        lines
    }

    /// A flame graph as SVG: each frame stands on the one that called it and is as wide as its samples. It tells a frame's
    /// name and share to whoever points at it.
    #[must_use]
    pub fn flame_graph(&self) -> String {
        flame::draw(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_count_what_they_do_themselves_and_with_all_they_call() {
        let stacks = [("lobby;a:1 f;a:9 g", 3), ("lobby;a:1 f", 1), ("lobby;a:9 g;a:9 g", 2)];
        let stacks = stacks.into_iter().map(|(stack, count)| (stack.to_owned(), count)).collect();
        let profile = Profile { stacks, lost: 0 };
        let line = |place: &str, own, total| ProfiledLine { place: place.to_owned(), own, total };
        assert_eq!(profile.lines(), [line("a:9 g", 5, 5), line("a:1 f", 1, 4)]);
        assert_eq!(profile.samples(), 6);
        assert_eq!(profile.folded(), "lobby;a:1 f 1\nlobby;a:1 f;a:9 g 3\nlobby;a:9 g;a:9 g 2\n");
    }

    #[test]
    fn a_rate_that_is_none_or_too_high_is_refused() {
        for rate in [0, 1001] {
            let error = Profiler::start(rate).unwrap_err();
            assert!(matches!(error, ProfilerError::Rate { rate: told } if told == rate));
        }
    }
}
