//! A frame of a peer takes no more memory than it counts for, and whatever is in it unfolds or is refused.
#![no_main]

mod memory;

#[path = "../../src/link/field.rs"]
#[allow(dead_code, reason = "the link's own use is larger")]
mod field;
#[path = "../../src/link/heard.rs"]
#[allow(dead_code, reason = "the link's own use is larger")]
mod heard;
#[path = "../../src/link/functions.rs"]
#[allow(dead_code, reason = "the link's own use is larger")]
mod functions;

use std::sync::Arc;

use bytes::Bytes;
use functions::Functions;
use heard::{Ended, Heard, Unreadable};
use libfuzzer_sys::fuzz_target;
use prost::Message;
use stage_proto::signal::v1::Frame;
use stage_proto::signal::v1::ending::Outcome;
use stage_proto::{Unfold, unfolded};
use stage_value::{FunctionHash, Limits, wire};

fuzz_target!(|data: &[u8]| {
    let message = Bytes::copy_from_slice(data);
    let size = unfolded(data, Frame::SHAPE, Frame::MOST);
    let (frame, peak) = memory::peak(|| Heard::read(message.clone()));
    let most = memory::most(data.len(), size.unwrap_or(Frame::MOST));
    assert!(peak <= most, "{peak} bytes for {}, {size:?}", data.len());
    assert!(size.is_some() || frame.is_err(), "what stands for too much is not read");
    let frame = match frame {
        Ok(frame) => frame,
        Err(unreadable) => {
            assert!(size.is_none() || unreadable == Unreadable::Malformed);
            return;
        }
    };
    agrees_with_protobuf(&frame, message);
    let (mut told, mut known_here) = (Functions::default(), Functions::default());
    for envelope in frame.envelopes().flatten() {
        let functions = frame.share(envelope.functions);
        let Some(along) = functions::decode(&functions, &Limits::DEFAULT) else { continue };
        along.iter().for_each(|function| known_here.insert(function));
        // What the sender keeps is what the receiver keeps.
        functions::decode(&functions::encode(&along), &Limits::DEFAULT)
            .expect("what was encoded decodes")
            .iter()
            .for_each(|function| told.insert(function));
        let known = |hash: &FunctionHash| {
            let here = along.iter().find(|function| function.hash() == *hash);
            here.map(Arc::clone).or_else(|| known_here.find(hash))
        };
        if let Ok(args) = wire::decode_known(&frame.share(envelope.args), &Limits::DEFAULT, &known) {
            assert!(args.len() <= envelope.args.len());
        }
        for function in &along {
            assert_eq!(told.find(&function.hash()), known_here.find(&function.hash()));
        }
    }
});

/// What protobuf makes of the same bytes, where it makes anything of them, is what a link hears.
fn agrees_with_protobuf(frame: &Heard, message: Bytes) {
    let Ok(plain) = Frame::decode(message) else { return };
    let (envelopes, endings): (Result<Vec<_>, _>, Result<Vec<_>, _>) =
        (frame.envelopes().collect(), frame.endings().collect());
    // A group is skipped by one and not by the other; nobody sends any.
    let (Ok(envelopes), Ok(endings)) = (envelopes, endings) else { return };
    if envelopes.len() != plain.envelopes.len() || endings.len() != plain.endings.len() {
        return;
    }
    for (heard, plain) in envelopes.iter().zip(&plain.envelopes) {
        assert_eq!((heard.id, heard.remaining_ms), (plain.id, plain.remaining_ms));
        assert_eq!((heard.args, heard.functions), (&plain.args[..], &plain.functions[..]));
        assert_eq!(heard.stage, plain.stage.as_bytes());
    }
    for (heard, plain) in endings.iter().zip(&plain.endings) {
        assert_eq!(heard.id, plain.id);
        if let (Some(Ended::Results(heard)), Some(Outcome::Results(plain))) =
            (&heard.outcome, &plain.outcome)
        {
            assert_eq!(*heard, &plain[..]);
        }
    }
}
