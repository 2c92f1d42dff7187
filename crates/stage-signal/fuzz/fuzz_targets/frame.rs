//! A frame of a peer takes no more memory than it counts for, and whatever is in it unfolds or is refused.
#![no_main]

mod memory;

#[path = "../../src/link/functions.rs"]
#[allow(dead_code, reason = "the link's own use is larger")]
mod functions;

use std::sync::Arc;

use bytes::Bytes;
use functions::Functions;
use libfuzzer_sys::fuzz_target;
use prost::Message;
use stage_proto::signal::v1::Frame;
use stage_proto::{Unfold, unfolded};
use stage_value::{FunctionHash, Limits, wire};

fuzz_target!(|data: &[u8]| {
    let message = Bytes::copy_from_slice(data);
    let Some(size) = unfolded(data, Frame::SHAPE, Frame::MOST) else { return };
    let (frame, peak) = memory::peak(|| Frame::decode(message));
    assert!(peak <= memory::most(data.len(), size), "{peak} bytes for {}, {size}", data.len());
    let Ok(frame) = frame else { return };
    let again = frame.encode_to_vec();
    // A length may be written longer than it needs to be; what is counted is what is there.
    let size_again = unfolded(&again, Frame::SHAPE, Frame::MOST).expect("it counted less before");
    assert!(size_again <= size);
    let (mut told, mut heard) = (Functions::default(), Functions::default());
    for envelope in frame.envelopes {
        let Some(along) = functions::decode(&envelope.functions, &Limits::DEFAULT) else { continue };
        along.iter().for_each(|function| heard.insert(function));
        // What the sender keeps is what the receiver keeps.
        functions::decode(&functions::encode(&along), &Limits::DEFAULT)
            .expect("what was encoded decodes")
            .iter()
            .for_each(|function| told.insert(function));
        let known = |hash: &FunctionHash| {
            let here = along.iter().find(|function| function.hash() == *hash);
            here.map(Arc::clone).or_else(|| heard.find(hash))
        };
        if let Ok(args) = wire::decode_known(&envelope.args, &Limits::DEFAULT, &known) {
            assert!(args.len() <= envelope.args.len());
        }
        for function in &along {
            assert_eq!(told.find(&function.hash()), heard.find(&function.hash()));
        }
    }
});
