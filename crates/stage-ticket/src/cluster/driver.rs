#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::leadership::{Leadership, Step, Write};
use super::share::Share;
use super::store::{Store, StoreError, Written};
use super::{ClusterConfig, Standing};
use crate::coordinator::{Coordinator, NodeId};
use crate::serve::{self, Hub, Office, Wanted, Wants};
use crate::{Shard, Time};

/// Carries out what a member's [`Leadership`] decides: asks the store, starts and ends the terms of
/// the coordinator. One task does all of it, one thing after the other.
pub(super) struct Driver {
    pub(super) leadership: Leadership,
    pub(super) store: Store,
    pub(super) office: Arc<Office>,
    pub(super) shard: Shard,
    pub(super) share: Share,
    pub(super) config: ClusterConfig,
    pub(super) origin: Instant,
    pub(super) standing: watch::Sender<Standing>,
    pub(super) hub: Option<Arc<Hub>>,
    /// A term that was won and whose nodes are not known yet.
    pub(super) won: Option<Won>,
    /// The last write may have happened or not.
    pub(super) uncertain: bool,
    pub(super) until: Time,
    /// The authority of the term has ended and its nodes were sent away.
    pub(super) aside: bool,
    /// The cluster counts over another number of shards now.
    pub(super) moved: bool,
}

/// Why a member takes part in a shard no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It was told to stop.
    Stopped,
    /// The shard is no longer one of those there are.
    Moved,
}

/// A term, before it starts.
pub(super) struct Won {
    epoch: u64,
    over: Time,
    longest: Duration,
}

/// The longest pause between two looks of a follower at the record.
const LONGEST_LOOK: Duration = Duration::from_millis(250);

impl Driver {
    /// Takes part until `stop`.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) -> End {
        loop {
            if let Err(error) = self.turn().await {
                self.uncertain = true;
                tracing::warn!(%error, "the ticket cluster's store cannot be reached");
            }
            self.share.set(self.leadership.leads().is_some());
            if self.moved {
                let nobody = String::new();
                self.standing.send_replace(Standing::Following { leader: nobody.clone() });
                self.office.stand(serve::Standing::Following { leader: nobody });
                return End::Moved;
            }
            self.stand_aside_or_back();
            let (hub, pause) = (self.hub.clone(), self.pause());
            let pressed = async {
                match hub {
                    Some(hub) => hub.pressed().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                // A store that fails is asked again at its own pace, whoever presses.
                () = pressed, if !self.uncertain => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        self.office.stand(serve::Standing::Following { leader: String::new() });
        if let Err(error) = self.resign().await {
            tracing::warn!(%error, "the next member leads when this one's authority has ended");
        }
        End::Stopped
    }

    /// Lets the next member lead at once. The term has ended by now.
    async fn resign(&mut self) -> Result<(), StoreError> {
        if self.uncertain {
            let (record, revision) = self.store.read().await?;
            let steps = self.leadership.observed(self.now(), record, revision);
            self.carry_out(steps);
        }
        let Some((_, recorded)) = self.leadership.leads() else { return Ok(()) };
        // A term whose nodes are not known yet keeps what its predecessor promised.
        let (wanted, longest) = match &self.hub {
            Some(hub) => hub.last_write(recorded),
            None => (Wanted::default(), recorded),
        };
        if let Some(write) = self.leadership.resign(longest) {
            let (shard, epoch) = (self.shard, write.record.epoch);
            if let Written::At(_) = self.store.write(&write, &wanted).await? {
                tracing::info!(%shard, epoch, "this member leads the tickets no longer");
            }
        }
        Ok(())
    }

    async fn turn(&mut self) -> Result<(), StoreError> {
        if self.uncertain || self.leadership.leads().is_none() {
            let (record, revision) = self.store.read().await?;
            let steps = self.leadership.observed(self.now(), record, revision);
            self.carry_out(steps);
            self.uncertain = false;
        }
        self.write().await?;
        if self.won.is_some() {
            let nodes = self.store.nodes().await?;
            self.begin(&nodes);
        }
        Ok(())
    }

    async fn write(&mut self) -> Result<(), StoreError> {
        let recorded = self.leadership.leads().map(|(_, longest)| longest);
        let now = self.now();
        // A term whose nodes are not known yet keeps what its predecessor promised.
        let pressed = self.hub.as_ref().is_some_and(|hub| hub.is_pressed());
        self.leadership.defer(self.share.courtesy(self.config.authority));
        let probe = self.leadership.due(now, pressed, recorded.unwrap_or_default());
        let Some(mut write) = probe else { return Ok(()) };
        let mut wanted = Wanted::default();
        if let (Some(hub), Some(recorded)) = (&self.hub, recorded) {
            (wanted, write.record.longest) = hub.begin_write(recorded);
        }
        self.share.set(true);
        let sent = self.now();
        match self.store.write(&write, &wanted).await {
            Ok(written) => self.wrote(sent, write, &wanted, written),
            Err(error) => {
                if let Some(hub) = &self.hub {
                    hub.fail_write(&wanted);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    fn wrote(&mut self, sent: Time, write: Write, wanted: &Wanted, written: Written) {
        let now = self.now();
        let longest = write.record.longest;
        match written {
            Written::At(revision) => {
                let steps = self.leadership.written(sent, now, write.record, revision);
                self.carry_out(steps);
                if let Some(hub) = &self.hub {
                    hub.finish_write(wanted, longest);
                }
            }
            Written::Not(record, revision) => {
                // If it was an earlier write of this member that came late, the term goes on.
                if let Some(hub) = &self.hub {
                    hub.fail_write(wanted);
                }
                let steps = self.leadership.observed(now, record, revision);
                self.carry_out(steps);
            }
            Written::Moved => self.moved = true,
        }
    }

    fn carry_out(&mut self, steps: Vec<Step>) {
        for step in steps {
            match step {
                Step::Lead { epoch, over, longest } => {
                    tracing::info!(shard = %self.shard, epoch, "this member leads the tickets");
                    self.won = Some(Won { epoch, over, longest });
                }
                Step::Issue { until } => {
                    self.until = until;
                    if let Some(hub) = &self.hub {
                        hub.extend_authority(until);
                    }
                }
                Step::StepDown => {
                    tracing::warn!(shard = %self.shard, "another member leads the tickets now");
                    self.hub = None;
                    self.won = None;
                }
                Step::Follow { leader } => {
                    self.standing.send_replace(Standing::Following { leader: leader.clone() });
                    self.office.stand(serve::Standing::Following { leader });
                }
            }
        }
    }

    /// Starts a term: every node that is written down is to report.
    fn begin(&mut self, nodes: &BTreeSet<NodeId>) {
        let Some(Won { epoch, over, longest }) = self.won.take() else { return };
        let rules = self.config.server.tickets.rules.clone();
        let mut coordinator = Coordinator::recovering(rules, epoch, nodes.clone(), over);
        if let Err(error) = serve::introduce(&mut coordinator, self.shard, &self.config.server) {
            tracing::error!(%error, "the ticket categories of the configuration");
        }
        let wants = Wants::of_cluster(nodes.clone(), longest);
        let hub = Hub::start(coordinator, self.shard, &self.config.server, wants, self.origin);
        hub.expect(nodes);
        hub.extend_authority(self.until);
        self.office.stand(serve::Standing::Leading(hub.clone()));
        self.standing.send_replace(Standing::Leading { epoch });
        self.hub = Some(hub);
        self.aside = false;
    }

    /// A leader whose authority has ended may have a successor that it cannot see. It sends its nodes
    /// away to look for one, and takes them back if it can write the record again.
    fn stand_aside_or_back(&mut self) {
        let (Some(hub), Some((epoch, _))) = (&self.hub, self.leadership.leads()) else { return };
        let may_issue = self.now() < self.until;
        if may_issue && self.aside {
            self.office.stand_back(hub.clone());
            self.standing.send_replace(Standing::Leading { epoch });
        } else if !may_issue && !self.aside {
            tracing::warn!(shard = %self.shard, "no tickets until the store answers: the authority to issue has ended");
            self.office.stand_aside();
            self.standing.send_replace(Standing::Following { leader: String::new() });
        }
        self.aside = !may_issue;
    }

    /// A follower looks twelve times in the time of an authority, so that a takeover comes soon
    /// after it may, and at least so often that it soon sees a resignation.
    fn pause(&self) -> Duration {
        let look = (self.config.authority / 12).min(LONGEST_LOOK);
        let next = self.leadership.next_timeout().map(|at| at.since(self.now()));
        match (self.leadership.leads(), next) {
            (Some(_), Some(next)) if !self.uncertain && self.won.is_none() => next,
            (None, Some(next)) if !next.is_zero() => next.min(look),
            _ => look,
        }
    }

    fn now(&self) -> Time {
        Time::ZERO.after(self.origin.elapsed())
    }
}
