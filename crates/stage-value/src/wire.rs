//! The flat encoding of values between nodes, version 1.
//!
//! A message is a varint count and that many values. A value is a tag byte and its body:
//!
//! | tag | value | body |
//! |---|---|---|
//! | 0, 1, 2 | nil, false, true | none |
//! | 3 | integer | zigzag varint |
//! | 4 | float | 8 bytes, little-endian |
//! | 5 | bytes | varint length, bytes |
//! | 6 | list | varint count, values |
//! | 7 | map | varint count, key and value by turns; a key is tag 1 to 5 |
//! | 8 | function | text, chunk (as bytes), varint line, varint count of captures, captures |
//! | 12 | function that the receiver knows | 32 bytes of hash, varint count of captures, captures without names |
//!
//! A capture is its name (as bytes) and a value, or tag 9 (the function itself), 10 (the
//! environment) or 11 with the dotted library name (as bytes). Varints are LEB128 of at most ten bytes.
//!
//! [`decode`] validates while it reads, allocates no more than the input can hold, shares the
//! input's buffer with the strings it returns, and uses no native stack per level.

mod decode;
mod encode;

pub use decode::{DecodeError, DecodeProblem, decode, decode_data, decode_known};
pub use encode::{encode, encode_by_hash};

const NIL: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const INT: u8 = 3;
const FLOAT: u8 = 4;
const BYTES: u8 = 5;
const LIST: u8 = 6;
const MAP: u8 = 7;
const FUNCTION: u8 = 8;
const ITSELF: u8 = 9;
const ENVIRONMENT: u8 = 10;
const LIBRARY: u8 = 11;
const KNOWN: u8 = 12;
