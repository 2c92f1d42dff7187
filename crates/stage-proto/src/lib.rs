#![doc = include_str!("../README.md")]

mod codec;
mod fields;
mod shapes;
mod unfold;

pub use codec::{BoundedCodec, BoundedDecoder};
pub use fields::{Field, Fields};
pub use shapes::{ENDING, ENVELOPE};
pub use unfold::{Part, Shape, Unfold, unfolded};

/// All definitions as an encoded `FileDescriptorSet`, without comments: what gRPC reflection shows.
pub const DESCRIPTORS: &[u8] = include_bytes!("generated/descriptors.bin");

/// Signals between stages: the link between two nodes, and the door for outside clients.
pub mod signal {
    /// Version 1 of the protocol.
    #[allow(
        missing_docs,
        unreachable_pub,
        clippy::all,
        clippy::needless_pass_by_value,
        clippy::semicolon_if_nothing_returned,
        rustdoc::invalid_html_tags,
        reason = "generated from proto/ by prost and tonic, which do not follow these lints"
    )]
    pub mod v1 {
        include!("generated/stage.signal.v1.rs");
    }
}

/// Tickets: permits with leases and fencing tokens, given out by one coordinator.
pub mod ticket {
    /// Version 1 of the protocol.
    #[allow(
        missing_docs,
        unreachable_pub,
        clippy::all,
        clippy::needless_pass_by_value,
        clippy::semicolon_if_nothing_returned,
        rustdoc::invalid_html_tags,
        reason = "generated from proto/ by prost and tonic, which do not follow these lints"
    )]
    pub mod v1 {
        include!("generated/stage.ticket.v1.rs");
    }
}
