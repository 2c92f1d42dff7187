//! The tasks of a member: one for each shard.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::driver::{Driver, End};
use super::layout::{Entry, Layout, Verdict};
use super::leadership::{Leadership, Terms};
use super::share::Share;
use super::store::{Store, StoreError};
use super::{ClusterConfig, Standing};
use crate::serve::Office;
use crate::{Shard, Time, local};

/// Starts to take part in every shard, until `stopped`.
pub(super) fn start(
    config: &ClusterConfig,
    offices: &[Arc<Office>],
    stopped: &watch::Receiver<bool>,
) -> Vec<watch::Receiver<Standing>> {
    let led = Arc::new(AtomicU32::new(0));
    let spawn = |(shard, office): (Shard, &Arc<Office>)| {
        let following = Standing::Following { leader: String::new() };
        let (standing, known) = watch::channel(following);
        let part = Part {
            shard,
            config: config.clone(),
            office: office.clone(),
            standing,
            led: led.clone(),
        };
        tokio::spawn(part.run(stopped.clone()));
        known
    };
    config.shards.all().zip(offices).map(spawn).collect()
}

/// A member's part in one shard.
struct Part {
    shard: Shard,
    config: ClusterConfig,
    office: Arc<Office>,
    standing: watch::Sender<Standing>,
    led: Arc<AtomicU32>,
}

impl Part {
    /// Takes part whenever the cluster counts over as many shards as this member is configured for.
    async fn run(self, mut stop: watch::Receiver<bool>) {
        loop {
            let entered = tokio::select! {
                entered = self.enter() => entered,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            if self.driver(entered).run(stop.clone()).await == End::Stopped {
                return;
            }
            tracing::error!(shard = %self.shard, "the ticket cluster counts over another number of shards now");
        }
    }

    /// Waits until the cluster is laid out as configured.
    async fn enter(&self) -> (Store, Layout) {
        let drift = self.config.server.tickets.rules.drift;
        let mut entry = Entry::new(self.config.shards, self.first_epoch(), drift);
        let patience = self.patience();
        let mut store =
            Store::new(self.config.endpoints.clone(), &self.config.prefix, self.shard, patience);
        let origin = Instant::now();
        let mut told = None;
        loop {
            match survey(&mut store, &mut entry, origin).await {
                Ok(Verdict::Agreed { layout, revision }) => {
                    store.take_part(revision);
                    return (store, layout);
                }
                Ok(Verdict::Write { .. }) => continue,
                Ok(Verdict::Wait { theirs }) if told != Some(theirs) => {
                    let (own, theirs_count) =
                        (self.config.shards.count(), theirs.map(|theirs| theirs.shards.count()));
                    tracing::error!(
                        own,
                        theirs = theirs_count,
                        "the ticket cluster counts over another number of shards: this member takes part once \
                         all members with that number have stopped"
                    );
                    told = Some(theirs);
                }
                Ok(Verdict::Wait { .. }) => {}
                Err(error) => {
                    tracing::warn!(%error, "the ticket cluster's store cannot be reached");
                }
            }
            tokio::time::sleep(patience).await;
        }
    }

    fn driver(&self, (store, layout): (Store, Layout)) -> Driver {
        let rules = &self.config.server.tickets.rules;
        let terms = Terms {
            address: self.config.address.clone(),
            incarnation: fastrand::u64(..),
            authority: self.config.authority,
            grant: rules.grant,
            first_epoch: self.first_epoch().max(layout.first_epoch),
            drift: rules.drift,
        };
        Driver {
            leadership: Leadership::new(terms),
            store,
            office: self.office.clone(),
            shard: self.shard,
            share: Share::new(self.led.clone()),
            config: self.config.clone(),
            origin: Instant::now(),
            standing: self.standing.clone(),
            hub: None,
            won: None,
            uncertain: true,
            until: Time::ZERO,
            aside: false,
            moved: false,
        }
    }

    fn first_epoch(&self) -> u64 {
        self.config.server.tickets.epoch.unwrap_or_else(local::epoch_of_today)
    }

    /// How long the store may take to answer.
    fn patience(&self) -> Duration {
        self.config.authority / 8
    }
}

/// Looks at the store once, and writes the layout if it is this member's turn.
async fn survey(
    store: &mut Store,
    entry: &mut Entry,
    origin: Instant,
) -> Result<Verdict, StoreError> {
    let survey = store.survey().await?;
    let verdict = entry.decide(Time::ZERO.after(origin.elapsed()), &survey);
    if let Verdict::Write { layout } = verdict {
        store.lay_out(layout, &survey).await?;
        tracing::info!(shards = layout.shards.count(), "the ticket cluster is laid out");
    }
    Ok(verdict)
}
