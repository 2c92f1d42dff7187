//! How a node comes to a coordinator: its hello, its promise, and its report.

use std::collections::BTreeSet;
use std::time::Duration;

use stage_proto::ticket::v1 as proto;

use super::{Attached, HelloError, Holder, Outcome, Stage};
use crate::wire::{self, VERSION};
use crate::{CategoryId, ClockMap, Shard, Time};

impl Holder {
    pub(in crate::remote) fn hello(
        &self,
        now: Time,
        name: &str,
        shard: Shard,
    ) -> proto::ClientFrame {
        let hello = proto::ClientHello {
            protocol_version: VERSION,
            node: self.node.0,
            promised: self.promised,
            heartbeat: Some(proto::Heartbeat { sent_ns: now.0 }),
            name: name.to_owned(),
            shard: wire::shard_message(shard),
        };
        proto::ClientFrame { hello: Some(hello), ..proto::ClientFrame::default() }
    }

    /// Stays with a server that leads: promises to take no grants of an older epoch, and reports.
    /// Returns the frame to be sent before any other.
    pub(in crate::remote) fn attach(
        &mut self,
        now: Time,
        hello: &proto::ServerHello,
    ) -> Result<proto::ClientFrame, HelloError> {
        if hello.protocol_version != VERSION {
            return Err(HelloError::Version(hello.protocol_version));
        }
        if hello.epoch < self.promised {
            return Err(HelloError::Past { epoch: hello.epoch, promised: self.promised });
        }
        let echo = hello.echo.ok_or(HelloError::NoTime)?;
        self.promised = hello.epoch;
        self.grant = Duration::from_nanos(hello.grant_ns);
        self.max_grant = Duration::from_nanos(hello.max_grant_ns);
        let mut clock = ClockMap::new(self.drift);
        clock.observe(Time(echo.sent_ns), Time(echo.server_ns));
        self.out.clear();
        let report = Some(self.report(now));
        let used: BTreeSet<CategoryId> =
            self.requests.iter().map(|(_, entry)| entry.category).collect();
        let names = used.iter().filter_map(|id| self.categories.get(id));
        let uses = names.map(|known| known.name.as_str().to_owned()).collect();
        self.attached = Some(Attached { clock, used });
        Ok(proto::ClientFrame { report, uses, ..proto::ClientFrame::default() })
    }

    fn report(&self, now: Time) -> proto::Report {
        let mut report = proto::Report::default();
        let mut used = BTreeSet::new();
        for (count, entry) in self.requests.iter() {
            used.insert(entry.category);
            match entry.stage {
                Stage::Holding { token, until } => report.grants.push(proto::ReportedGrant {
                    count,
                    token: Some(wire::token_message(token)),
                    remaining_ns: wire::nanos(until.since(now)),
                }),
                Stage::Waiting { arrival, .. } => report.waiters.push(proto::ReportedWaiter {
                    count,
                    category: entry.category.0,
                    arrival: arrival.map(wire::arrival_message),
                }),
            }
        }
        let known = used.iter().filter_map(|id| self.categories.get(id));
        let known = known.filter(|known| known.described);
        report.categories = known
            .map(|known| proto::ReportedCategory {
                name: known.name.as_str().to_owned(),
                limit: wire::written(known.limit),
                version: Some(wire::stamp_message(known.version)),
                closes_in_ns: known.closes_at.map(|at| wire::nanos(at.since(now))),
            })
            .collect();
        report
    }

    /// Notes that the connection is gone. Grants live on until their deadlines and waiters keep
    /// waiting; whoever would not wait is told.
    pub(in crate::remote) fn detach(&mut self) {
        if self.attached.take().is_none() {
            return;
        }
        self.out.clear();
        self.cut(|waits| !waits);
        self.outcomes.push(Outcome::ExtensionsCut);
    }

    /// Ends requests that have no grant yet, by whether they would wait.
    pub(super) fn cut(&mut self, which: impl Fn(bool) -> bool) {
        let is_cut = |stage: &Stage| matches!(stage, Stage::Waiting { waits, .. } if which(*waits));
        let cut = self.requests.iter().filter(|(_, entry)| is_cut(&entry.stage));
        let cut: Vec<u64> = cut.map(|(count, _)| count).collect();
        for count in cut {
            self.requests.remove(count);
            self.outcomes.push(Outcome::Cut { count });
        }
    }
}
