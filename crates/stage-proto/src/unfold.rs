//! What the bytes of a message unfold to, found out before memory is taken for it.
//!
//! A message of two bytes may stand for a structure of two hundred, so a limit on the bytes of a frame does
//! not limit the memory that it takes. This walks the fields of an encoded message without decoding them
//! and adds up what the repeated ones will take.

use crate::fields::{Field, Fields};

/// A message whose unfolded size is known before it is decoded.
pub trait Unfold {
    /// The most that a message may unfold to beside its own bytes.
    const MOST: usize;

    /// The fields that take more memory than bytes.
    const SHAPE: &'static Shape;
}

/// The repeated and nested fields of a message; others take no more than the bytes they come in.
#[derive(Debug)]
pub struct Shape {
    /// Field numbers and what is in them.
    pub fields: &'static [(u32, Part)],
}

/// What a field takes.
#[derive(Debug)]
pub enum Part {
    /// So many bytes for each that comes; nothing in it takes more than its bytes.
    Each(usize),
    /// A list of numbers, each so many bytes.
    Numbers(usize),
    /// So many bytes for each, and what its fields take.
    Nested(usize, &'static Shape),
}

/// How deep messages may nest, as for prost.
const DEPTH: usize = 100;

/// What a message takes beside its bytes, or `None` if that is more than `most`. What is malformed counts up to
/// where it is. O(bytes), no allocation.
#[must_use]
pub fn unfolded(bytes: &[u8], shape: &Shape, most: usize) -> Option<usize> {
    let mut walk = Walk { left: most };
    walk.message(bytes, shape, DEPTH)?;
    Some(most - walk.left)
}

struct Walk {
    left: usize,
}

impl Walk {
    fn message(&mut self, bytes: &[u8], shape: &Shape, depth: usize) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        for (number, field) in Fields::new(bytes) {
            let Some((_, part)) = shape.fields.iter().find(|(field, _)| *field == number) else {
                continue;
            };
            match (part, field) {
                (Part::Each(size), _) => self.take(*size)?,
                (Part::Numbers(size), Field::Bytes(packed)) => {
                    let count = packed.iter().filter(|byte| **byte < 0x80).count();
                    self.take(count.saturating_mul(*size))?;
                }
                (Part::Numbers(size), _) => self.take(*size)?,
                (Part::Nested(size, shape), Field::Bytes(inner)) => {
                    self.take(*size)?;
                    self.message(inner, shape, depth)?;
                }
                (Part::Nested(..), _) => {}
            }
        }
        Some(())
    }

    fn take(&mut self, size: usize) -> Option<()> {
        self.left = self.left.checked_sub(size)?;
        Some(())
    }
}
