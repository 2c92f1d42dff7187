//! Frames as a link writes them. Endings are encoded when they are made; envelopes when the frame is written, which no
//! sender waits for. To a peer it is the `Frame` of the protocol, like any other.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message as _;
use stage_proto::signal::v1 as proto;

use super::field;
use super::letter::Letter;
use crate::Failure;

/// A part of at least so many bytes is not copied into a run of others.
const OWN_PIECE: usize = 4096;

/// What one write of a link carries.
#[derive(Debug, Default)]
pub(crate) struct Frame {
    /// Everything but the envelopes and endings.
    pub(crate) small: proto::Frame,
    pub(crate) endings: Run,
    pub(crate) envelopes: Vec<Envelope>,
}

impl Frame {
    pub(crate) fn encoded_len(&self) -> usize {
        let envelopes = self.envelopes.iter().map(Envelope::encoded_len);
        self.small.encoded_len() + self.endings.len() + envelopes.sum::<usize>()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.endings.count == 0 && self.envelopes.is_empty() && self.small == Default::default()
    }

    /// Writes it all. The buffer grows as it needs to.
    pub(crate) fn encode(&self, out: &mut impl BufMut) {
        // Nothing is too much for a buffer that grows.
        self.small.encode(out).unwrap_or(());
        self.endings.pieces.iter().for_each(|piece| out.put_slice(piece));
        self.envelopes.iter().for_each(|envelope| envelope.encode(out));
    }

    #[cfg(test)]
    pub(crate) fn to_bytes(&self) -> Bytes {
        let mut bytes = Vec::new();
        self.encode(&mut bytes);
        bytes.into()
    }
}

impl From<proto::Frame> for Frame {
    fn from(small: proto::Frame) -> Self {
        Self { small, ..Default::default() }
    }
}

/// A letter with what it has on its link.
#[derive(Debug)]
pub(crate) struct Envelope {
    pub(super) id: u64,
    pub(super) remaining_ms: u64,
    /// The functions that go along, encoded.
    pub(super) functions: Bytes,
    pub(super) letter: Arc<Letter>,
}

impl Envelope {
    fn encoded_len(&self) -> usize {
        whole_len(self.body_len(&self.trace()))
    }

    fn encode(&self, out: &mut impl BufMut) {
        let trace = self.trace();
        put_length(out, field::ENVELOPES, self.body_len(&trace));
        for (field, number) in self.numbers() {
            put_number(out, field, number);
        }
        for (field, body) in self.bodies(&trace) {
            if !body.is_empty() {
                put_length(out, field, body.len());
                out.put_slice(body);
            }
        }
    }

    fn body_len(&self, trace: &str) -> usize {
        self.numbers().iter().map(|(_, number)| number_len(*number)).sum::<usize>()
            + self.bodies(trace).iter().map(|(_, body)| bytes_len(body.len())).sum::<usize>()
    }

    fn numbers(&self) -> [(u32, u64); 3] {
        [
            (field::ID, self.id),
            (field::WANTS_RESULTS, self.letter.wants_results.into()),
            (field::REMAINING_MS, self.remaining_ms),
        ]
    }

    fn bodies<'a>(&'a self, trace: &'a str) -> [(u32, &'a [u8]); 6] {
        let letter = &*self.letter;
        [
            (field::STAGE, letter.stage.as_bytes()),
            (field::MESSAGE, letter.message.as_str().as_bytes()),
            (field::ORIGIN_STAGE, letter.origin_stage.as_bytes()),
            (field::TRACEPARENT, trace.as_bytes()),
            (field::ARGS, &letter.args),
            (field::FUNCTIONS, &self.functions),
        ]
    }

    fn trace(&self) -> String {
        self.letter.trace.as_deref().map_or_else(String::new, ToString::to_string)
    }
}

/// Encoded endings, one behind the other.
#[derive(Debug, Default)]
pub(crate) struct Run {
    pieces: Vec<Bytes>,
    pub(crate) count: usize,
}

impl Run {
    pub(crate) fn len(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }
}

/// A run that is being written.
#[derive(Debug, Default)]
pub(super) struct Writing {
    pieces: Vec<Bytes>,
    open: BytesMut,
    len: usize,
    count: usize,
}

impl Writing {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self { open: BytesMut::with_capacity(bytes), ..Self::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn end(mut self) -> Run {
        self.close_piece();
        Run { pieces: self.pieces, count: self.count }
    }

    /// Appends an ending.
    pub(super) fn ending(&mut self, id: u64, outcome: Result<Bytes, Failure>) {
        let (number, body) = match outcome {
            Ok(results) => (field::RESULTS, results),
            Err(failure) => (field::FAILURE, failure.into_proto().encode_to_vec().into()),
        };
        self.begin(field::ENDINGS, number_len(id) + whole_len(body.len()));
        put_number(&mut self.open, field::ID, id);
        put_length(&mut self.open, number, body.len());
        self.put(&body);
    }

    fn begin(&mut self, number: u32, length: usize) {
        self.len += whole_len(length);
        self.count += 1;
        put_length(&mut self.open, number, length);
    }

    fn put(&mut self, bytes: &Bytes) {
        if bytes.len() < OWN_PIECE {
            self.open.extend_from_slice(bytes);
        } else {
            self.close_piece();
            self.pieces.push(bytes.clone());
        }
    }

    fn close_piece(&mut self) {
        if !self.open.is_empty() {
            self.pieces.push(self.open.split().freeze());
        }
    }
}

/// The length of a field with a number. What is zero or empty is left out, and no field here has a number above 15.
fn number_len(value: u64) -> usize {
    if value == 0 { 0 } else { 1 + varint_len(value) }
}

/// The length of a field with so many bytes.
fn bytes_len(length: usize) -> usize {
    if length == 0 { 0 } else { whole_len(length) }
}

fn whole_len(length: usize) -> usize {
    1 + varint_len(length as u64) + length
}

fn varint_len(value: u64) -> usize {
    let bits = u64::BITS - (value | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

fn put_number(out: &mut impl BufMut, number: u32, value: u64) {
    if value != 0 {
        out.put_u8(number as u8 * 8);
        put_varint(out, value);
    }
}

fn put_length(out: &mut impl BufMut, number: u32, length: usize) {
    out.put_u8(number as u8 * 8 + 2);
    put_varint(out, length as u64);
}

fn put_varint(out: &mut impl BufMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use stage_proto::signal::v1::ending::Outcome;

    use super::*;
    use crate::link::heard::Heard;
    use crate::{Reason, Trace};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn a_frame_is_to_protobuf_what_it_is_to_a_link(
            sent in prop::collection::vec((1..u64::MAX, 0..u64::MAX, any::<bool>(), 0..6000usize), 0..5),
            ended in prop::collection::vec((1..u64::MAX, prop::option::of(0..6000usize)), 0..5),
            credit: u32,
            is_traced: bool,
        ) {
            let trace: Trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().unwrap();
            let trace = Some(trace).filter(|_| is_traced);
            let (mut envelopes, mut endings) = (Vec::new(), Writing::default());
            let mut plain = proto::Frame { credit, ..Default::default() };
            for (id, remaining_ms, wants_results, size) in sent {
                let (args, functions) = (Bytes::from(vec![7; size]), Bytes::from(vec![9; size / 5]));
                let letter = Arc::new(Letter {
                    stage: "work".into(),
                    message: "a.b".parse().unwrap(),
                    args: args.clone(),
                    functions: Vec::new(),
                    origin_stage: "".into(),
                    wants_results,
                    idempotent: false,
                    is_kept: false,
                    deadline: None,
                    trace: trace.map(Box::new),
                    queued: None,
                });
                envelopes.push(Envelope { id, remaining_ms, functions: functions.clone(), letter });
                plain.envelopes.push(proto::Envelope {
                    id,
                    stage: "work".into(),
                    message: "a.b".into(),
                    args,
                    wants_results,
                    remaining_ms,
                    origin_stage: String::new(),
                    traceparent: trace.map_or_else(String::new, |trace| trace.to_string()),
                    functions,
                });
            }
            for (id, size) in ended {
                let outcome = match size {
                    Some(size) => Ok(Bytes::from(vec![1; size])),
                    None => Err(Failure::new(Reason::Handler, "it failed")),
                };
                plain.endings.push(proto::Ending {
                    id,
                    outcome: Some(match outcome.clone() {
                        Ok(results) => Outcome::Results(results),
                        Err(failure) => Outcome::Failure(failure.into_proto()),
                    }),
                });
                endings.ending(id, outcome);
            }
            let small = proto::Frame { credit, ..Default::default() };
            let length = endings.len();
            let frame = Frame { small, endings: endings.end(), envelopes };
            prop_assert_eq!(length, frame.endings.len());
            prop_assert_eq!(frame.encoded_len(), plain.encoded_len());
            prop_assert_eq!(&proto::Frame::decode(frame.to_bytes()).unwrap(), &plain);
            let heard = Heard::read(Bytes::from(plain.encode_to_vec())).unwrap();
            prop_assert_eq!(heard.to_proto(), plain);
        }
    }
}
