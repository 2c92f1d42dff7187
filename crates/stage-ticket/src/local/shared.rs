use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::state::{Effects, State};
use crate::lock::Lock;
use crate::{CategoryName, Limit, Rules, Time, Token};

/// What the handles, the tickets and the timer of one coordinator share.
#[derive(Debug)]
pub(super) struct Shared {
    state: Lock<State>,
    rules: Rules,
    origin: Instant,
    timer: Arc<Notify>,
    /// The greatest sequence of a grant that ended without its holder: what is above is held.
    revoked: AtomicU64,
}

impl Shared {
    pub(super) fn new(state: State, rules: Rules) -> Self {
        let timer = Arc::new(Notify::new());
        Self {
            state: Lock::new(state),
            rules,
            origin: Instant::now(),
            timer,
            revoked: AtomicU64::new(0),
        }
    }

    /// Runs `act` under the lock; what it set off is done after the lock is given back, so that no
    /// woken task finds it taken.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut State, Time, &mut Effects) -> T) -> T {
        let now = self.now();
        let mut effects = Effects::default();
        let mut state = self.state.lock();
        let result = act(&mut state, now, &mut effects);
        if effects.revoked > 0 {
            self.revoked.fetch_max(effects.revoked, Ordering::Release);
        }
        drop(state);
        if effects.rearm {
            self.timer.notify_one();
        }
        effects.answer_all();
        result
    }

    /// False when the grant surely lives, at the price of one load: grants are picked up in the
    /// order in which they were made, and hardly ever expire before.
    pub(super) fn may_be_revoked(&self, token: Token) -> bool {
        token.stamp.sequence <= self.revoked.load(Ordering::Acquire)
    }

    fn now(&self) -> Time {
        Time::ZERO.after(self.origin.elapsed())
    }

    pub(super) fn instant(&self, time: Time) -> Instant {
        self.origin + time.since(Time::ZERO)
    }

    pub(super) fn rules(&self) -> &Rules {
        &self.rules
    }

    pub(super) fn limit(&self, category: &CategoryName) -> Option<Limit> {
        self.with(|state, _, _| Some(state.coordinator.category(category.id())?.limit()))
    }

    /// Expires what is due, as long as anybody holds a handle or a ticket.
    pub(super) fn run_timer(self: &Arc<Self>) -> impl Future<Output = ()> + Send + 'static {
        let (shared, timer) = (Arc::downgrade(self), self.timer.clone());
        async move {
            while let Some(next) = tick(&shared) {
                let sleep = async {
                    match next {
                        Some(next) => tokio::time::sleep_until(next).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = sleep => {}
                    () = timer.notified() => {}
                }
            }
        }
    }
}

fn tick(shared: &Weak<Shared>) -> Option<Option<Instant>> {
    let shared = shared.upgrade()?;
    let next = shared.with(|state, now, effects| state.time_passed(now, effects));
    Some((next < Time::NEVER).then(|| shared.instant(next)))
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.timer.notify_one();
    }
}
