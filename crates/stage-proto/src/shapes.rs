//! What the messages of signals take in memory. The sizes are part of the protocol
//! (docs/protocol.md): round numbers that the structures of this crate stay within.

use crate::signal::v1::{Frame, SessionRequest, SessionResponse, SignalRequest, SignalResponse};
use crate::unfold::Part::{Each, Nested, Numbers};
use crate::unfold::{Shape, Unfold};

/// What an envelope of a frame, and an entry of metadata, unfolds to at most.
pub const ENVELOPE: usize = 256;
/// What an ending of a frame unfolds to at most.
pub const ENDING: usize = 96;
/// A stage id of a list.
const TEXT: usize = 32;
/// A value as outside clients see it.
const VALUE: usize = 64;
/// A key and its value.
const ENTRY: usize = 2 * VALUE;

/// The most that a frame unfolds to: sixteen thousand empty envelopes.
const FRAME_MOST: usize = 4 << 20;
/// The most that a client's values unfold to: a million of them.
const VALUES_MOST: usize = 64 << 20;

impl Unfold for Frame {
    const MOST: usize = FRAME_MOST;
    const SHAPE: &'static Shape = &FRAME;
}

impl Unfold for SignalRequest {
    const MOST: usize = VALUES_MOST;
    const SHAPE: &'static Shape = &SIGNAL_REQUEST;
}

impl Unfold for SignalResponse {
    const MOST: usize = VALUES_MOST;
    const SHAPE: &'static Shape = &SIGNAL_RESPONSE;
}

impl Unfold for SessionRequest {
    const MOST: usize = VALUES_MOST;
    const SHAPE: &'static Shape = &SESSION_REQUEST;
}

impl Unfold for SessionResponse {
    const MOST: usize = VALUES_MOST;
    const SHAPE: &'static Shape = &SESSION_RESPONSE;
}

static FRAME: Shape = Shape {
    fields: &[
        (1, Nested(0, &HELLO)),
        (3, Each(ENVELOPE)),
        (4, Each(ENDING)),
        (5, Numbers(size_of::<u64>())),
        (8, Nested(0, &STAGES)),
    ],
};
static HELLO: Shape = Shape { fields: &[(6, Each(TEXT)), (8, Each(ENVELOPE))] };
static STAGES: Shape = Shape { fields: &[(1, Each(TEXT))] };
static SIGNAL_REQUEST: Shape = Shape { fields: &[(2, Nested(VALUE, &A_VALUE))] };
static SIGNAL_RESPONSE: Shape = Shape { fields: &[(1, Nested(0, &RESULTS))] };
static SESSION_REQUEST: Shape = Shape { fields: &[(2, Nested(0, &SIGNAL_REQUEST))] };
static SESSION_RESPONSE: Shape = Shape { fields: &[(2, Nested(0, &END)), (3, Nested(0, &PUSH))] };
static END: Shape = Shape { fields: &[(2, Nested(0, &RESULTS))] };
static PUSH: Shape = Shape { fields: &[(2, Nested(VALUE, &A_VALUE))] };
static RESULTS: Shape = Shape { fields: &[(1, Nested(VALUE, &A_VALUE))] };
static A_VALUE: Shape = Shape { fields: &[(7, Nested(0, &LIST)), (8, Nested(0, &MAP))] };
static LIST: Shape = Shape { fields: &[(1, Nested(VALUE, &A_VALUE))] };
static MAP: Shape = Shape { fields: &[(1, Nested(ENTRY, &A_PAIR))] };
static A_PAIR: Shape = Shape { fields: &[(1, Nested(0, &A_VALUE)), (2, Nested(0, &A_VALUE))] };

#[cfg(test)]
mod tests {
    use std::mem::size_of;

    use prost::Message;

    use super::*;
    use crate::signal::v1 as proto;
    use crate::unfold::unfolded;

    fn cost<M: Message + Unfold>(message: &M) -> Option<usize> {
        unfolded(&message.encode_to_vec(), M::SHAPE, M::MOST)
    }

    #[test]
    fn the_structures_stay_within_what_they_are_counted_for() {
        assert!(size_of::<proto::Envelope>() <= ENVELOPE);
        assert!(size_of::<(String, bytes::Bytes)>() <= ENVELOPE);
        assert!(size_of::<proto::Ending>() <= ENDING);
        assert!(size_of::<String>() <= TEXT);
        assert!(size_of::<proto::Value>() <= VALUE);
        assert!(size_of::<proto::Entry>() <= ENTRY);
    }

    #[test]
    fn every_part_of_a_frame_counts() {
        let frame = proto::Frame {
            hello: Some(proto::Hello {
                stages: vec!["a".into(); 3],
                metadata: [("key".to_owned(), "value".into())].into(),
                ..Default::default()
            }),
            envelopes: vec![proto::Envelope::default(); 5],
            endings: vec![proto::Ending::default(); 7],
            cancels: vec![1, 300, u64::MAX],
            stages: Some(proto::Stages { ids: vec![String::new(); 2] }),
            ..Default::default()
        };
        let expected = 5 * TEXT + 6 * ENVELOPE + 7 * ENDING + 3 * 8;
        assert_eq!(cost(&frame), Some(expected));
    }

    #[test]
    fn values_count_however_deep_they_are() {
        let nil = || proto::Value { kind: Some(proto::value::Kind::Nil(proto::Nil {})) };
        let list =
            |items| proto::Value { kind: Some(proto::value::Kind::List(proto::List { items })) };
        let entry = proto::Entry { key: Some(nil()), value: Some(list(vec![nil(), nil()])) };
        let map = proto::Map { entries: vec![entry] };
        let map = proto::Value { kind: Some(proto::value::Kind::Map(map)) };
        let args = vec![list(vec![list(vec![nil()])]), map];
        let expected = 6 * VALUE + ENTRY;
        let signal = proto::SignalRequest { args: args.clone(), ..Default::default() };
        assert_eq!(cost(&signal), Some(expected));
        let what = Some(proto::session_request::What::Signal(signal));
        assert_eq!(cost(&proto::SessionRequest { id: 1, what }), Some(expected));
        let results = proto::Results { values: args.clone() };
        let outcome = Some(proto::signal_response::Outcome::Results(results.clone()));
        assert_eq!(cost(&proto::SignalResponse { outcome }), Some(expected));
        let end = proto::End { id: 1, outcome: Some(proto::end::Outcome::Results(results)) };
        let what = Some(proto::session_response::What::End(end));
        assert_eq!(cost(&proto::SessionResponse { what }), Some(expected));
        let push = proto::Push { message: "m".into(), args };
        let what = Some(proto::session_response::What::Push(push));
        assert_eq!(cost(&proto::SessionResponse { what }), Some(expected));
    }

    #[test]
    fn what_unfolds_to_too_much_is_refused_however_few_its_bytes() {
        let envelopes = |count| vec![proto::Envelope::default(); count];
        let frame = |count| proto::Frame { envelopes: envelopes(count), ..Default::default() };
        let most = FRAME_MOST / ENVELOPE;
        assert_eq!(cost(&frame(most)), Some(FRAME_MOST));
        assert!(frame(most + 1).encoded_len() < 33_000);
        assert_eq!(cost(&frame(most + 1)), None);
        let cancels = proto::Frame { cancels: vec![1; FRAME_MOST / 8 + 1], ..Default::default() };
        assert_eq!(cost(&cancels), None);
    }

    #[test]
    fn what_is_malformed_is_left_to_the_decoder() {
        for bytes in [&[0x1a][..], &[0x1a, 0xff], &[0xff; 11], &[0x07], &[0x1a, 5, 1]] {
            assert_eq!(unfolded(bytes, &FRAME, FRAME_MOST), Some(0), "{bytes:x?}");
            assert!(proto::Frame::decode(bytes).is_err(), "{bytes:x?}");
        }
        let deep = (0..200).fold(Vec::new(), |inner: Vec<u8>, _| {
            let list =
                [&[0x0a, 0x80 | (inner.len() & 0x7f) as u8, (inner.len() >> 7) as u8][..], &inner]
                    .concat();
            [&[0x3a, 0x80 | (list.len() & 0x7f) as u8, (list.len() >> 7) as u8][..], &list].concat()
        });
        assert_eq!(unfolded(&deep, &A_VALUE, VALUES_MOST), None);
    }
}
