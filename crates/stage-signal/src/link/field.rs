//! The numbers of the fields that links write and read by hand, as in `signal.proto`.

// Of a frame.
pub(crate) const ENVELOPES: u32 = 3;
pub(crate) const ENDINGS: u32 = 4;

// Of an envelope; an ending has the same id.
pub(crate) const ID: u32 = 1;
pub(crate) const STAGE: u32 = 2;
pub(crate) const MESSAGE: u32 = 3;
pub(crate) const ARGS: u32 = 4;
pub(crate) const WANTS_RESULTS: u32 = 5;
pub(crate) const REMAINING_MS: u32 = 6;
pub(crate) const ORIGIN_STAGE: u32 = 7;
pub(crate) const TRACEPARENT: u32 = 8;
pub(crate) const FUNCTIONS: u32 = 9;

// Of an ending.
pub(crate) const RESULTS: u32 = 2;
pub(crate) const FAILURE: u32 = 3;
