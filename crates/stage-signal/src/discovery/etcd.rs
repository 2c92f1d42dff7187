//! Nodes that find each other through etcd: each is listed under a lease and watches the others.
//!
//! A session is one connection to one member: register, read what has changed, watch. When it
//! ends, for whatever reason, the next one begins where the watch stood; only if etcd has
//! forgotten that revision everything is read again. What is known meanwhile stays.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{
    Client, ConnectOptions, EventType, GetOptions, LeaseKeepAliveStream, LeaseKeeper, PutOptions,
    WatchOptions, WatchResponse, WatchStream,
};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::Etcd;
use super::table::{Table, record};
use crate::dial::{Pause, chain};
use crate::mesh::Shared;

/// The name of this source.
const SOURCE: &str = "etcd";

/// Why a session has ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("{0}")]
    Etcd(#[from] etcd_client::Error),
    #[error("no answer within {0:?}")]
    Silent(Duration),
    #[error("the lease was lost")]
    Lease,
    #[error("the watch ended: {0}")]
    Watch(String),
    #[error("a record cannot be written: {0}")]
    Record(#[from] serde_json::Error),
}

/// Keeps this node listed, and what etcd lists known, for as long as the node runs.
pub(super) async fn watch(shared: Arc<Shared>, config: Etcd) {
    let mut pause = Pause::new(shared.config.redial_min, shared.config.redial_max);
    let mut table = Table::default();
    let mut said = String::new();
    for turn in 0_usize.. {
        let Some(endpoint) = config.endpoints.get(turn % config.endpoints.len().max(1)) else {
            return;
        };
        let mut session = Session { shared: &shared, config: &config, table: &mut table };
        let (was_up, ended) = session.run(endpoint).await;
        let Err(ended) = ended else { return };
        if was_up {
            said.clear();
            pause.reset();
        }
        let why = chain(&ended);
        if said != why {
            tracing::warn!(endpoint, why, "no use of etcd; what it last listed stays");
            said = why;
        }
        sleep(pause.next(&mut fastrand::Rng::new())).await;
    }
}

struct Session<'a> {
    shared: &'a Shared,
    config: &'a Etcd,
    table: &'a mut Table,
}

/// What keeps this node listed.
struct Listed {
    lease: i64,
    keeper: LeaseKeeper,
    answers: LeaseKeepAliveStream,
    value: Vec<u8>,
}

impl Session<'_> {
    /// Runs a session to its end; whether it came to watch, and why it ended. `Ok`: the node stops.
    async fn run(&mut self, endpoint: &str) -> (bool, Result<(), Ended>) {
        let opened = self.within(self.open(endpoint)).await;
        let (mut client, mut listed) = match opened.and_then(|opened| opened) {
            Ok(opened) => opened,
            Err(ended) => return (false, Err(ended)),
        };
        let watch = match self.catch_up(&mut client).await {
            Ok(watch) => watch,
            Err(ended) => return (false, Err(ended)),
        };
        let ended = self.follow(&mut client, listed.as_mut(), watch).await;
        if let (Ok(()), Some(listed)) = (&ended, listed) {
            // If etcd does not hear it, the lease ends by itself.
            drop(self.within(client.lease_revoke(listed.lease)).await);
        }
        (true, ended)
    }

    async fn open(&self, endpoint: &str) -> Result<(Client, Option<Listed>), Ended> {
        let beat = self.config.lease / 3;
        let options = ConnectOptions::new().with_connect_timeout(beat).with_keep_alive(beat, beat);
        let mut client = Client::connect([endpoint], Some(options)).await?;
        let listed = match &self.shared.identity.address {
            Some(address) => Some(self.register(&mut client, address).await?),
            None => None,
        };
        Ok((client, listed))
    }

    async fn register(&self, client: &mut Client, address: &str) -> Result<Listed, Ended> {
        let seconds = i64::try_from(self.config.lease.as_secs()).unwrap_or(i64::MAX).max(1);
        let lease = client.lease_grant(seconds, None).await?.id();
        let value = self.value(address)?;
        let options = PutOptions::new().with_lease(lease);
        client.put(self.own_key(), value.clone(), Some(options)).await?;
        let (keeper, answers) = client.lease_keep_alive(lease).await?;
        tracing::info!(address, "listed in etcd");
        Ok(Listed { lease, keeper, answers, value })
    }

    fn value(&self, address: &str) -> Result<Vec<u8>, Ended> {
        let stages = self.shared.locals.names();
        Ok(serde_json::to_vec(&record(&self.shared.identity, address, &stages))?)
    }

    /// Reads everything if that must be, and watches from there on.
    async fn catch_up(&mut self, client: &mut Client) -> Result<WatchStream, Ended> {
        if self.table.revision() == 0 {
            let options = GetOptions::new().with_prefix();
            let read = self.within(client.get(self.prefix(), Some(options))).await??;
            let revision = read.header().map_or(0, etcd_client::ResponseHeader::revision);
            self.table.reset(read.kvs().iter().map(|kv| (kv.key(), kv.value())), revision);
        }
        self.publish();
        let from = self.table.revision() + 1;
        let options =
            WatchOptions::new().with_prefix().with_start_revision(from).with_progress_notify();
        Ok(self.within(client.watch(self.prefix(), Some(options))).await??)
    }

    /// Keeps the lease and takes in what changes.
    async fn follow(
        &mut self,
        client: &mut Client,
        mut listed: Option<&mut Listed>,
        mut watch: WatchStream,
    ) -> Result<(), Ended> {
        let mut beats = interval(self.config.lease / 3);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.shared.stopping.cancelled() => return Ok(()),
                heard = watch.message() => {
                    let heard = heard?.ok_or_else(|| Ended::Watch("etcd closed it".into()))?;
                    self.take(&heard)?;
                    self.check_own(listed.as_deref())?;
                }
                _ = beats.tick() => if let Some(listed) = &mut listed {
                    self.beat(client, listed).await?;
                },
            }
        }
    }

    fn take(&mut self, heard: &WatchResponse) -> Result<(), Ended> {
        if heard.canceled() {
            // Mostly because the revision was compacted away.
            self.table.forget_revision();
            return Err(Ended::Watch(heard.cancel_reason().to_owned()));
        }
        for event in heard.events() {
            let Some(kv) = event.kv() else { continue };
            match event.event_type() {
                EventType::Put => self.table.put(kv.key(), kv.value(), kv.mod_revision()),
                EventType::Delete => self.table.delete(kv.key(), kv.mod_revision()),
            }
        }
        // Only a notice of progress says that all is told up to its revision: others may be ahead of what they bring.
        let is_progress = !heard.created() && heard.events().is_empty();
        if let Some(header) = heard.header().filter(|_| is_progress) {
            self.table.advance(header.revision());
        }
        self.publish();
        Ok(())
    }

    /// Whether this node is still listed as itself.
    fn check_own(&self, listed: Option<&Listed>) -> Result<(), Ended> {
        if listed.is_none() {
            return Ok(());
        }
        match self.table.record(self.own_key().as_bytes()) {
            None => Err(Ended::Lease),
            Some(record) if record.incarnation != self.shared.identity.incarnation => {
                let (name, address) = (&record.node, &record.address);
                let what = format!("another node is listed as '{name}' in etcd, at {address}");
                self.shared.complain(SOURCE, &what);
                Ok(())
            }
            Some(_) => Ok(()),
        }
    }

    /// Keeps the lease, and tells new stages.
    async fn beat(&self, client: &mut Client, listed: &mut Listed) -> Result<(), Ended> {
        let kept = async {
            listed.keeper.keep_alive().await?;
            listed.answers.message().await
        };
        let ttl = self.within(kept).await??.map_or(0, |answer| answer.ttl());
        if ttl <= 0 {
            return Err(Ended::Lease);
        }
        let Some(address) = &self.shared.identity.address else { return Ok(()) };
        let value = self.value(address)?;
        if value != listed.value {
            let options = PutOptions::new().with_lease(listed.lease);
            self.within(client.put(self.own_key(), value.clone(), Some(options))).await??;
            listed.value = value;
        }
        Ok(())
    }

    fn publish(&self) {
        let targets = self.table.targets(&self.shared.identity.name);
        self.shared.directory.set(SOURCE, targets);
    }

    async fn within<T>(&self, work: impl Future<Output = T>) -> Result<T, Ended> {
        let patience = self.config.lease / 3;
        timeout(patience, work).await.map_err(|_| Ended::Silent(patience))
    }

    fn prefix(&self) -> String {
        format!("{}/nodes/", self.config.prefix.trim_end_matches('/'))
    }

    fn own_key(&self) -> String {
        format!("{}{}", self.prefix(), self.shared.identity.name)
    }
}
