use std::collections::BTreeSet;
use std::time::Duration;

use etcd_client::{
    Client, Compare, CompareOp, ConnectOptions, GetOptions, Txn, TxnOp, TxnOpResponse,
};

use super::leadership::Write;
use super::record::{Record, RecordError};
use crate::coordinator::NodeId;
use crate::serve::Wanted;

/// The record and the list of nodes, in etcd.
///
/// One endpoint is used at a time and the next one after a failure; etcd's own client would go on
/// asking a member that does not answer.
pub(super) struct Store {
    endpoints: Vec<String>,
    next: usize,
    client: Option<Client>,
    prefix: String,
    patience: Duration,
}

/// What a write came to.
pub(super) enum Written {
    /// It is there, with this revision.
    At(i64),
    /// Somebody wrote before; this is what is there.
    Not(Option<Record>, i64),
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
    #[error("a key of a node that names none")]
    Node,
}

impl Store {
    pub(super) fn new(endpoints: Vec<String>, prefix: &str, patience: Duration) -> Self {
        let prefix = prefix.trim_end_matches('/').to_owned();
        Self { endpoints, next: 0, client: None, prefix, patience }
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
        let txn =
            Txn::new().when([unchanged]).and_then(operations).or_else([TxnOp::get(key, None)]);
        let done = self.within(async |client| Ok(client.txn(txn).await?)).await?;
        if done.succeeded() {
            return Ok(Written::At(done.header().map_or(0, etcd_client::ResponseHeader::revision)));
        }
        match done.op_responses().first() {
            Some(TxnOpResponse::Get(found)) => {
                let (record, revision) = parse(found.kvs())?;
                Ok(Written::Not(record, revision))
            }
            _ => Ok(Written::Not(None, 0)),
        }
    }

    /// The nodes that are written down.
    pub(super) async fn nodes(&mut self) -> Result<BTreeSet<NodeId>, StoreError> {
        let prefix = format!("{}/nodes/", self.prefix);
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

    fn record_key(&self) -> String {
        format!("{}/leader", self.prefix)
    }

    fn node_key(&self, node: NodeId) -> String {
        format!("{}/nodes/{:016x}", self.prefix, node.0)
    }
}

fn parse(found: &[etcd_client::KeyValue]) -> Result<(Option<Record>, i64), StoreError> {
    let Some(found) = found.first() else { return Ok((None, 0)) };
    let text = std::str::from_utf8(found.value()).map_err(|_| RecordError)?;
    Ok((Some(text.parse()?), found.mod_revision()))
}
