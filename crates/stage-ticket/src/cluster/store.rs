use std::collections::BTreeSet;
use std::time::Duration;

use etcd_client::{
    Client, Compare, CompareOp, ConnectOptions, DeleteOptions, GetOptions, Txn, TxnOp,
    TxnOpResponse,
};

use super::layout::{Layout, LayoutError, Survey};
use super::leadership::Write;
use super::record::{Record, RecordError};
use crate::Shard;
use crate::coordinator::NodeId;
use crate::serve::Wanted;

/// The record of one shard and the list of its nodes, in etcd, and the layout of all shards.
///
/// One endpoint is used at a time and the next one after a failure; etcd's own client would go on
/// asking a member that does not answer.
pub(super) struct Store {
    endpoints: Vec<String>,
    next: usize,
    client: Option<Client>,
    prefix: String,
    shard: Shard,
    /// The revision of the layout that this member takes part in.
    layout: i64,
    patience: Duration,
}

/// What a write came to.
pub(super) enum Written {
    /// It is there, with this revision.
    At(i64),
    /// Somebody wrote before; this is what is there.
    Not(Option<Record>, i64),
    /// The cluster counts over another number of shards now.
    Moved,
}

/// Why the store did not do it; a write may have happened all the same.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    #[error("etcd: {0}")]
    Etcd(#[from] etcd_client::Error),
    #[error("etcd does not answer")]
    Silent,
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error("a key of a node that names none")]
    Node,
}

impl Store {
    pub(super) fn new(
        endpoints: Vec<String>,
        prefix: &str,
        shard: Shard,
        patience: Duration,
    ) -> Self {
        let prefix = prefix.trim_end_matches('/').to_owned();
        Self { endpoints, next: 0, client: None, prefix, shard, layout: 0, patience }
    }

    /// The layout and the records of all its shards, as they are at one moment.
    pub(super) async fn survey(&mut self) -> Result<Survey, StoreError> {
        let leaders = self.leaders();
        let skip = leaders.len();
        let all = GetOptions::new().with_prefix();
        let gets = [TxnOp::get(self.layout_key(), None), TxnOp::get(leaders, Some(all))];
        let read = self
            .within(async |client| Ok(client.txn(Txn::new().and_then(gets.clone())).await?))
            .await?;
        let mut survey = Survey::default();
        for response in read.op_responses() {
            let TxnOpResponse::Get(found) = response else { continue };
            for found in found.kvs() {
                let text = std::str::from_utf8(found.value()).unwrap_or_default();
                let index = found.key().get(skip..).and_then(|key| std::str::from_utf8(key).ok());
                let index = index.and_then(|index| index.parse().ok());
                let revision = found.mod_revision();
                if found.key() == self.layout_key().as_bytes() {
                    survey.layout = Some((text.parse()?, revision));
                } else if let Some(index) = index {
                    survey.records.insert(index, (text.parse()?, revision));
                }
            }
        }
        Ok(survey)
    }

    /// From now on writes succeed only in the layout of this revision.
    pub(super) fn take_part(&mut self, layout: i64) {
        self.layout = layout;
    }

    /// Writes a layout and forgets all leaders and nodes of the old one, unless something that was surveyed has changed.
    pub(super) async fn lay_out(
        &mut self,
        layout: Layout,
        survey: &Survey,
    ) -> Result<(), StoreError> {
        let known = survey.layout.map_or(0, |(_, revision)| revision);
        let unchanged =
            |key: String, revision| Compare::mod_revision(key, CompareOp::Equal, revision);
        // One that nobody has led until now must not be led meanwhile either.
        let shards = survey.layout.into_iter().flat_map(|(old, _)| old.shards.all());
        let records = shards.map(|shard| {
            let seen = survey.records.get(&shard.index());
            unchanged(self.record_key_of(shard), seen.map_or(0, |(_, revision)| *revision))
        });
        let compared: Vec<_> =
            std::iter::once(unchanged(self.layout_key(), known)).chain(records).collect();
        let all = || Some(DeleteOptions::new().with_prefix());
        let operations = [
            TxnOp::put(self.layout_key(), layout.to_string(), None),
            TxnOp::delete(self.leaders(), all()),
            TxnOp::delete(format!("{}/nodes/", self.prefix), all()),
        ];
        let txn = Txn::new().when(compared).and_then(operations);
        // Whether it succeeded shows when the store is surveyed again.
        self.within(async |client| Ok(client.txn(txn.clone()).await?)).await?;
        Ok(())
    }

    /// The record and its revision, 0 without one.
    pub(super) async fn read(&mut self) -> Result<(Option<Record>, i64), StoreError> {
        let key = self.record_key();
        let read = self.within(async |client| Ok(client.get(key, None).await?)).await?;
        parse(read.kvs())
    }

    /// Writes the record and what goes with it, unless somebody wrote since.
    pub(super) async fn write(
        &mut self,
        write: &Write,
        wanted: &Wanted,
    ) -> Result<Written, StoreError> {
        let key = self.record_key();
        let arriving =
            wanted.arriving.iter().map(|node| TxnOp::put(self.node_key(*node), "", None));
        let leaving = wanted.leaving.iter().map(|node| TxnOp::delete(self.node_key(*node), None));
        let put = TxnOp::put(key.clone(), write.record.to_string(), None);
        let operations: Vec<TxnOp> = std::iter::once(put).chain(arriving).chain(leaving).collect();
        let unchanged = Compare::mod_revision(key.clone(), CompareOp::Equal, write.expected);
        let layout = self.layout_key();
        let same = Compare::mod_revision(layout.clone(), CompareOp::Equal, self.layout);
        let txn = Txn::new()
            .when([unchanged, same])
            .and_then(operations)
            .or_else([TxnOp::get(key, None), TxnOp::get(layout, None)]);
        let done = self.within(async |client| Ok(client.txn(txn).await?)).await?;
        if done.succeeded() {
            return Ok(Written::At(done.header().map_or(0, etcd_client::ResponseHeader::revision)));
        }
        let found = done.op_responses();
        let [TxnOpResponse::Get(record), TxnOpResponse::Get(layout)] = &found[..] else {
            return Err(StoreError::Silent);
        };
        if layout.kvs().first().map(etcd_client::KeyValue::mod_revision) != Some(self.layout) {
            return Ok(Written::Moved);
        }
        let (record, revision) = parse(record.kvs())?;
        Ok(Written::Not(record, revision))
    }

    /// The nodes that are written down.
    pub(super) async fn nodes(&mut self) -> Result<BTreeSet<NodeId>, StoreError> {
        let prefix = self.node_keys();
        let skip = prefix.len();
        let options = GetOptions::new().with_prefix().with_keys_only();
        let read = self.within(async |client| Ok(client.get(prefix, Some(options)).await?)).await?;
        let node = |key: &[u8]| {
            let text = std::str::from_utf8(key.get(skip..)?).ok()?;
            Some(NodeId(u64::from_str_radix(text, 16).ok()?))
        };
        read.kvs().iter().map(|kv| node(kv.key()).ok_or(StoreError::Node)).collect()
    }

    /// Runs a request against one member of etcd; after a failure the next one is asked.
    async fn within<T>(
        &mut self,
        request: impl AsyncFnOnce(&mut Client) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let patience = self.patience;
        let asked = async {
            let client = match &mut self.client {
                Some(client) => client,
                none => {
                    let endpoint = self.endpoints[self.next % self.endpoints.len()].clone();
                    let options = ConnectOptions::new().with_connect_timeout(patience);
                    none.insert(Client::connect([endpoint], Some(options)).await?)
                }
            };
            request(client).await
        };
        let answer = tokio::time::timeout(patience, asked).await;
        let answer = answer.unwrap_or(Err(StoreError::Silent));
        if answer.is_err() {
            self.client = None;
            self.next += 1;
        }
        answer
    }

    fn layout_key(&self) -> String {
        format!("{}/layout", self.prefix)
    }

    fn leaders(&self) -> String {
        format!("{}/leaders/", self.prefix)
    }

    fn record_key(&self) -> String {
        self.record_key_of(self.shard)
    }

    fn record_key_of(&self, shard: Shard) -> String {
        format!("{}{}", self.leaders(), shard.index())
    }

    fn node_keys(&self) -> String {
        format!("{}/nodes/{}/", self.prefix, self.shard.index())
    }

    fn node_key(&self, node: NodeId) -> String {
        format!("{}{:016x}", self.node_keys(), node.0)
    }
}

fn parse(found: &[etcd_client::KeyValue]) -> Result<(Option<Record>, i64), StoreError> {
    let Some(found) = found.first() else { return Ok((None, 0)) };
    let text = std::str::from_utf8(found.value()).map_err(|_| RecordError)?;
    Ok((Some(text.parse()?), found.mod_revision()))
}
