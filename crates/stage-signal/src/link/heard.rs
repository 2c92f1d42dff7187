//! Frames as a link reads them: parts are found in the bytes of the frame and read where they are.

use std::ops::Range;

use bytes::Bytes;
use prost::Message as _;
use stage_proto::signal::v1 as proto;
use stage_proto::{Field, Fields, Unfold, unfolded};

use super::field;

/// A frame that has arrived.
#[derive(Debug)]
pub(crate) struct Heard {
    /// Everything but the envelopes and endings.
    pub(crate) small: proto::Frame,
    bytes: Bytes,
    /// Where in the bytes the parts are.
    envelopes: Vec<Range<usize>>,
    endings: Vec<Range<usize>>,
}

/// A message of the protocol that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    Malformed,
    /// It stands for more memory than a frame may take.
    TooMuch,
}

impl Heard {
    /// Looks through a frame and counts what it unfolds to, before memory is taken for it. O(bytes).
    pub(crate) fn read(bytes: Bytes) -> Result<Self, Unreadable> {
        let mut small = proto::Frame::default();
        let (mut envelopes, mut endings) = (Vec::new(), Vec::new());
        let mut left = proto::Frame::MOST;
        let mut fields = Fields::new(&bytes);
        loop {
            let before = fields.rest();
            let Some((number, field)) = fields.next() else { break };
            let end = bytes.len() - fields.rest().len();
            let size = match number {
                field::ENVELOPES => stage_proto::ENVELOPE,
                field::ENDINGS => stage_proto::ENDING,
                _ => {
                    let piece = &before[..before.len() - fields.rest().len()];
                    let size = unfolded(piece, proto::Frame::SHAPE, left);
                    let size = size.ok_or(Unreadable::TooMuch)?;
                    small.merge(piece).map_err(|_| Unreadable::Malformed)?;
                    size
                }
            };
            left = left.checked_sub(size).ok_or(Unreadable::TooMuch)?;
            match number {
                field::ENVELOPES => envelopes.push(end - self::bytes(field)?.len()..end),
                field::ENDINGS => endings.push(end - self::bytes(field)?.len()..end),
                _ => {}
            }
        }
        if !fields.rest().is_empty() {
            return Err(Unreadable::Malformed);
        }
        Ok(Self { small, bytes, envelopes, endings })
    }

    /// How many envelopes there are.
    pub(crate) fn envelope_count(&self) -> usize {
        self.envelopes.len()
    }

    /// How many endings there are.
    pub(crate) fn ending_count(&self) -> usize {
        self.endings.len()
    }

    pub(crate) fn envelopes(&self) -> impl Iterator<Item = Result<Envelope<'_>, Unreadable>> {
        self.envelopes.iter().map(|range| Envelope::read(self.part(range)))
    }

    pub(crate) fn endings(&self) -> impl Iterator<Item = Result<Ending<'_>, Unreadable>> {
        self.endings.iter().map(|range| Ending::read(self.part(range)))
    }

    /// A part of the frame that shares its memory.
    pub(crate) fn share(&self, part: &[u8]) -> Bytes {
        if part.is_empty() { Bytes::new() } else { self.bytes.slice_ref(part) }
    }

    fn part(&self, range: &Range<usize>) -> &[u8] {
        self.bytes.get(range.clone()).unwrap_or_default()
    }

    #[cfg(test)]
    pub(crate) fn to_proto(&self) -> proto::Frame {
        proto::Frame::decode(self.bytes.clone()).unwrap()
    }
}

/// An envelope of a frame. Texts are bytes until somebody looks at them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Envelope<'a> {
    pub(crate) id: u64,
    pub(crate) stage: &'a [u8],
    pub(crate) message: &'a [u8],
    pub(crate) args: &'a [u8],
    pub(crate) wants_results: bool,
    pub(crate) remaining_ms: u64,
    pub(crate) origin_stage: &'a [u8],
    pub(crate) traceparent: &'a [u8],
    pub(crate) functions: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// Reads the body of an envelope; fields of a later version are skipped.
    pub(crate) fn read(body: &'a [u8]) -> Result<Self, Unreadable> {
        let mut envelope = Self::default();
        let mut fields = Fields::new(body);
        for (number, field) in &mut fields {
            match number {
                field::ID => envelope.id = self::number(field)?,
                field::STAGE => envelope.stage = bytes(field)?,
                field::MESSAGE => envelope.message = bytes(field)?,
                field::ARGS => envelope.args = bytes(field)?,
                field::WANTS_RESULTS => envelope.wants_results = self::number(field)? != 0,
                field::REMAINING_MS => envelope.remaining_ms = self::number(field)?,
                field::ORIGIN_STAGE => envelope.origin_stage = bytes(field)?,
                field::TRACEPARENT => envelope.traceparent = bytes(field)?,
                field::FUNCTIONS => envelope.functions = bytes(field)?,
                _ => {}
            }
        }
        if fields.rest().is_empty() { Ok(envelope) } else { Err(Unreadable::Malformed) }
    }
}

/// An ending of a frame.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ending<'a> {
    pub(crate) id: u64,
    pub(crate) outcome: Option<Ended<'a>>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Ended<'a> {
    Results(&'a [u8]),
    Failure(proto::Failure),
}

impl<'a> Ending<'a> {
    fn read(body: &'a [u8]) -> Result<Self, Unreadable> {
        let mut ending = Self { id: 0, outcome: None };
        let mut fields = Fields::new(body);
        for (number, field) in &mut fields {
            match number {
                field::ID => ending.id = self::number(field)?,
                field::RESULTS => ending.outcome = Some(Ended::Results(bytes(field)?)),
                field::FAILURE => {
                    let failure = proto::Failure::decode(bytes(field)?);
                    let failure = failure.map_err(|_| Unreadable::Malformed)?;
                    ending.outcome = Some(Ended::Failure(failure));
                }
                _ => {}
            }
        }
        if fields.rest().is_empty() { Ok(ending) } else { Err(Unreadable::Malformed) }
    }
}

fn number(field: Field<'_>) -> Result<u64, Unreadable> {
    if let Field::Number(number) = field { Ok(number) } else { Err(Unreadable::Malformed) }
}

fn bytes(field: Field<'_>) -> Result<&[u8], Unreadable> {
    if let Field::Bytes(bytes) = field { Ok(bytes) } else { Err(Unreadable::Malformed) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_stands_for_too_much_is_refused_however_few_its_bytes() {
        let most = proto::Frame::MOST / stage_proto::ENVELOPE;
        let frame = |count| [field::ENVELOPES as u8 * 8 + 2, 0].repeat(count);
        assert_eq!(Heard::read(frame(most).into()).unwrap().envelopes().count(), most);
        assert_eq!(Heard::read(frame(most + 1).into()).unwrap_err(), Unreadable::TooMuch);
        let cancels = vec![1; proto::Frame::MOST / 8 + 1];
        let cancels = proto::Frame { cancels, ..Default::default() }.encode_to_vec();
        assert_eq!(Heard::read(cancels.into()).unwrap_err(), Unreadable::TooMuch);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        /// Bytes that look like fields more often than random ones do.
        #[test]
        fn what_protobuf_reads_is_read_alike_and_nothing_else_panics(
            parts in prop::collection::vec((0..11u8, 0..6u8, 0..9u8, any::<[u8; 8]>()), 0..12),
        ) {
            let field = |(number, kind, length, body): &(u8, u8, u8, [u8; 8])| {
                let head = [number << 3 | kind, *length % 8];
                [&head[..], &body[..usize::from(*length % 8)]].concat()
            };
            let body = parts.iter().flat_map(field).collect::<Vec<_>>();
            let envelope = Envelope::read(&body);
            if let Ok(plain) = proto::Envelope::decode(&body[..]) {
                // A group is skipped by one and not by the other; nobody sends any.
                if let Ok(read) = envelope {
                    prop_assert_eq!((read.id, read.args), (plain.id, &plain.args[..]));
                    prop_assert_eq!(read.stage, plain.stage.as_bytes());
                    prop_assert_eq!(read.wants_results, plain.wants_results);
                }
            }
            drop(Ending::read(&body));
            let most = body.len() / 2;
            let count = Heard::read(body.into()).map(|heard| heard.envelopes().count());
            prop_assert!(count.is_ok_and(|count| count <= most) || count.is_err());
        }
    }
}
