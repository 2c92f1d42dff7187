#![doc = include_str!("../README.md")]

#[cfg(feature = "grpc")]
mod any;
mod clock;
#[cfg(feature = "etcd")]
pub mod cluster;
pub mod coordinator;
mod counted;
mod fence;
mod limit;
mod local;
mod lock;
mod name;
#[cfg(feature = "grpc")]
mod remote;
mod renewals;
#[cfg(feature = "grpc")]
mod serve;
#[cfg(feature = "grpc")]
mod shard;
mod time;
mod token;
#[cfg(feature = "grpc")]
mod wire;

#[cfg(feature = "grpc")]
pub use any::{AnyAcquire, AnyTicket, AnyTickets};
pub use clock::{ClockMap, Drift};
pub use coordinator::{ExtensionRefusal, Refusal, Rules, Totals, Unlisted};
pub use fence::{Fence, FenceError};
pub use limit::{Limit, LimitError};
pub use local::{
    Acquire, AcquireError, CategoryStats, Config, ConfigError, ExtendError, HolderStats, Notices,
    Ticket, Tickets,
};
pub use name::{CategoryId, CategoryName, NameError};
#[cfg(feature = "grpc")]
pub use remote::{
    CallError, Connector, RemoteAcquire, RemoteConfig, RemoteConfigError, RemoteTicket,
    RemoteTickets, Revocations, Status,
};
#[cfg(feature = "grpc")]
pub use serve::{Server, ServerConfig, Service};
#[cfg(feature = "grpc")]
pub use shard::{Shard, Shards, ShardsError};
pub use time::Time;
pub use token::{Stamp, Token, TokenError};
#[cfg(feature = "grpc")]
pub use wire::NodeNameError;
