//! The first frame of each side: what it says and what of it is believed.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use stage_proto::signal::v1 as proto;
use stage_value::Id;

use crate::config::NAME_BYTES;
use crate::{Advert, Config, Identity};

/// The version of the protocol that this node speaks.
pub(crate) const PROTOCOL_VERSION: u32 = 1;

/// The most stages that a node may carry.
const STAGES: usize = 4096;

/// The most bytes of a peer's opaque metadata, keys included.
const METADATA_BYTES: usize = 256 << 10;

/// The most bytes of a peer's reason for a goodbye that are kept and logged.
const WHY_BYTES: usize = 1 << 10;

/// What a peer's hello says.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) name: Arc<str>,
    pub(crate) incarnation: u64,
    pub(crate) group: Arc<str>,
    pub(crate) address: Option<String>,
    pub(crate) stages: Vec<String>,
    pub(crate) advert: Advert,
    pub(crate) frame_bytes: usize,
    pub(crate) credit: u32,
    pub(crate) metadata: BTreeMap<String, Bytes>,
}

/// Why a hello is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Refusal {
    #[error("the first frame holds no hello")]
    NoHello,
    #[error(
        "this node ({own}) speaks protocol version {}, node {peer} speaks {version}",
        PROTOCOL_VERSION
    )]
    Version { own: Arc<str>, peer: String, version: u32 },
    #[error("the hello's {field} {problem}")]
    Field { field: &'static str, problem: &'static str },
    #[error("the node has dialled itself")]
    Oneself,
    #[error(
        "two live nodes are called '{name}': one at {present}, another at {new}; give each its own name"
    )]
    NameTaken { name: Arc<str>, present: String, new: String },
    #[error("{own} and {peer} have a link already")]
    Duplicate { own: Arc<str>, peer: Arc<str> },
    #[error("the certificate is for '{identity}', the node calls itself '{name}'")]
    Identity { identity: Arc<str>, name: Arc<str> },
    #[error("node {own} does not let '{identity}' link: its #allow has no such rule")]
    NotAllowed { own: Arc<str>, identity: Arc<str> },
    #[error("the node is stopping")]
    Stopping,
    #[error("{why}")]
    ByPeer { reason: proto::ByeReason, why: String },
}

impl Refusal {
    pub(crate) fn reason(&self) -> proto::ByeReason {
        match self {
            Self::NoHello | Self::Field { .. } => proto::ByeReason::Protocol,
            Self::Version { .. } => proto::ByeReason::Version,
            Self::Oneself => proto::ByeReason::Self_,
            Self::NameTaken { .. } => proto::ByeReason::NameTaken,
            Self::Duplicate { .. } => proto::ByeReason::Duplicate,
            Self::Identity { .. } | Self::NotAllowed { .. } => proto::ByeReason::Denied,
            Self::Stopping => proto::ByeReason::Stopping,
            Self::ByPeer { reason, .. } => *reason,
        }
    }
}

/// The hello of this node.
pub(crate) fn hello_frame(
    identity: &Identity,
    config: &Config,
    stages: Vec<String>,
    advert: Advert,
) -> proto::Frame {
    let hello = proto::Hello {
        protocol_version: PROTOCOL_VERSION,
        node: identity.name.to_string(),
        incarnation: identity.incarnation,
        group: identity.group.to_string(),
        address: identity.address.clone().unwrap_or_default(),
        stages,
        frame_bytes: u32::try_from(config.frame_bytes).unwrap_or(u32::MAX),
        metadata: config.metadata.clone().into_iter().collect(),
    };
    proto::Frame {
        hello: Some(hello),
        advert: Some(advert.to_proto()),
        credit: config.max_in_flight,
        ..Default::default()
    }
}

/// Turns a hello into one that says no: both versions, names and lives are still told.
pub(crate) fn refusal_frame(mut hello: proto::Frame, refusal: &Refusal) -> proto::Frame {
    hello.credit = 0;
    hello.bye = Some(proto::Bye { why: refusal.to_string(), reason: refusal.reason().into() });
    hello
}

/// Reads a peer's first frame.
pub(crate) fn read_hello(frame: proto::Frame, own: &Identity) -> Result<Peer, Refusal> {
    let hello = frame.hello.ok_or(Refusal::NoHello)?;
    if hello.protocol_version != PROTOCOL_VERSION {
        let peer = hello.node.chars().take(NAME_BYTES).collect();
        let version = hello.protocol_version;
        return Err(Refusal::Version { own: Arc::clone(&own.name), peer, version });
    }
    if let Some(bye) = frame.bye.map(brief) {
        return Err(Refusal::ByPeer { reason: bye.reason(), why: bye.why });
    }
    check_text("node", &hello.node, 1)?;
    check_text("group", &hello.group, 0)?;
    check_text("address", &hello.address, 0)?;
    check_stages(&hello.stages)?;
    let metadata = hello.metadata.iter().map(|(key, value)| key.len() + value.len());
    check("metadata", "is too large", metadata.sum::<usize>() <= METADATA_BYTES)?;
    check("frame_bytes", "is below 65536", hello.frame_bytes >= 64 << 10)?;
    if *hello.node == *own.name && hello.incarnation == own.incarnation {
        return Err(Refusal::Oneself);
    }
    Ok(Peer {
        name: hello.node.into(),
        incarnation: hello.incarnation,
        group: hello.group.into(),
        address: Some(hello.address).filter(|address| !address.is_empty()),
        stages: hello.stages,
        advert: frame.advert.map_or(Advert::IDLE, Advert::from_proto),
        frame_bytes: usize::try_from(hello.frame_bytes).unwrap_or(usize::MAX),
        credit: frame.credit,
        metadata: hello.metadata.into_iter().collect(),
    })
}

/// A goodbye whose reason is no longer than what is kept of one.
pub(crate) fn brief(mut bye: proto::Bye) -> proto::Bye {
    let end = bye.why.floor_char_boundary(WHY_BYTES);
    bye.why.truncate(end);
    bye
}

/// Checks a list of stages from a peer.
pub(crate) fn check_stages(stages: &[String]) -> Result<(), Refusal> {
    check("list of stages", "is too long", stages.len() <= STAGES)?;
    let are_ids = stages.iter().all(|stage| stage.parse::<Id>().is_ok());
    check("list of stages", "holds a name that is no stage id", are_ids)
}

fn check_text(field: &'static str, text: &str, least: usize) -> Result<(), Refusal> {
    check(field, "is empty", text.len() >= least)?;
    check(field, "is too long", text.len() <= NAME_BYTES)?;
    check(field, "holds a control character", !text.chars().any(char::is_control))
}

fn check(field: &'static str, problem: &'static str, is_fine: bool) -> Result<(), Refusal> {
    if is_fine { Ok(()) } else { Err(Refusal::Field { field, problem }) }
}
