mod listing;
#[cfg(feature = "etcd")]
mod writing;

use std::sync::{Arc, Weak};
use std::time::Duration;

use stage_proto::ticket::v1 as proto;
use tokio::sync::Notify;
use tokio::time::Instant;
use tonic::Status;

use super::ServerConfig;
use super::state::{Ended, Seat, State};
use super::wants::Wants;
use crate::coordinator::{Coordinator, Event, NodeId, Report};
use crate::lock::Lock;
use crate::{CategoryId, CategoryName, Limit, Shard, Time};

/// One term of a coordinator, shared by its streams, its timer and whoever extends its authority.
#[derive(Debug)]
pub(crate) struct Hub {
    state: Lock<State>,
    origin: Instant,
    timer: Arc<Notify>,
    wanted: Notify,
    pub(super) config: ServerConfig,
}

impl Hub {
    /// Starts the timer of a coordinator; `origin` is when its clock read zero.
    pub(crate) fn start(
        coordinator: Coordinator,
        shard: Shard,
        config: &ServerConfig,
        wants: Wants,
        origin: Instant,
    ) -> Arc<Self> {
        let hub = Arc::new(Self {
            state: Lock::new(State::new(coordinator, shard, config, wants)),
            origin,
            timer: Arc::new(Notify::new()),
            wanted: Notify::new(),
            config: config.clone(),
        });
        tokio::spawn(run_timer(Arc::downgrade(&hub), hub.timer.clone()));
        hub
    }

    /// Runs `act` under the lock, and wakes the timer if it is to come earlier.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut State, Time) -> T) -> T {
        let now = self.now();
        let mut state = self.state.lock();
        let result = act(&mut state, now);
        let rearm = std::mem::take(&mut state.rearm);
        let pressing = state.wants.is_pressing();
        drop(state);
        if rearm {
            self.timer.notify_one();
        }
        if pressing {
            self.wanted.notify_one();
        }
        result
    }

    pub(crate) fn now(&self) -> Time {
        Time::ZERO.after(self.origin.elapsed())
    }

    /// Seats a node once the cluster has it written down.
    pub(super) async fn attach(
        &self,
        node: NodeId,
        name: Arc<str>,
    ) -> Result<(Seat, Arc<Notify>), Ended> {
        loop {
            // In one step, so that the node is not struck off between the two.
            let seated = self.with(|state, _| match state.wants.arrived(node) {
                Some(written) => Err(written),
                None => Ok(state.attach(node, name.clone())),
            });
            match seated {
                Ok(seated) => return seated,
                // A sender that is dropped belongs to a hub that has closed.
                Err(written) => written.await.map_err(|_| Ended::Closed)?,
            }
        }
    }

    pub(super) fn detach(&self, seat: Seat) {
        self.with(|state, now| state.detach(now, seat));
    }

    pub(super) fn report(&self, seat: Seat, report: Report, uses: &[String]) -> Result<(), Ended> {
        self.with(|state, now| state.report(now, seat, report, uses))
    }

    pub(super) fn frame(&self, seat: Seat, frame: proto::ClientFrame) -> Result<(), Ended> {
        self.with(|state, now| state.frame(now, seat, frame))
    }

    pub(super) fn take(&self, seat: Seat) -> Result<Option<proto::ServerFrame>, Ended> {
        self.with(|state, _| state.take(seat))
    }

    pub(super) fn set_category(
        &self,
        name: &CategoryName,
        limit: Limit,
        close_after: Option<Duration>,
    ) -> Result<(), Status> {
        self.with(|state, now| {
            let id = name.id();
            state.step(now, Event::Set { name: name.clone(), limit, close_after });
            state.route();
            let known = state.coordinator.category(id).is_some_and(|known| known.name() == name);
            if !known {
                return Err(Status::resource_exhausted("no room for another category"));
            }
            state.announce(now, id);
            if let Some(at) = state.coordinator.next_timeout() {
                state.arm(at);
            }
            Ok(())
        })
    }

    pub(super) fn close_category(&self, category: CategoryId) {
        self.with(|state, now| {
            state.step(now, Event::Closed { category });
            state.route();
            state.announce(now, category);
        });
    }

    pub(super) fn broadcast(&self, category: CategoryId, message: &[u8]) -> u32 {
        self.with(|state, now| state.broadcast(now, category, message.into()))
    }

    pub(super) fn epoch(&self) -> u64 {
        self.with(|state, _| state.coordinator.epoch())
    }

    /// Lets the coordinator issue until then, by its own clock.
    pub(crate) fn extend_authority(&self, until: Time) {
        self.with(|state, now| {
            state.step(now, Event::AuthorityExtended { until });
            state.route();
        });
    }

    /// Ends the term: its streams end, and nothing is issued any more.
    pub(crate) fn close(&self) {
        self.with(|state, _| state.close());
        self.timer.notify_one();
    }
}

/// Expires what is due, until the hub is dropped or closed.
async fn run_timer(hub: Weak<Hub>, timer: Arc<Notify>) {
    while let Some(next) = tick(&hub) {
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

fn tick(hub: &Weak<Hub>) -> Option<Option<Instant>> {
    let hub = hub.upgrade()?;
    let next = hub.with(|state, now| (!state.closed).then(|| state.time_passed(now)))?;
    Some((next < Time::NEVER).then(|| hub.origin + next.since(Time::ZERO)))
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.timer.notify_one();
    }
}
