//! What an outside client sends takes no more memory than it counts for.
#![no_main]

mod memory;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use prost::Message;
use stage_proto::signal::v1::{SessionRequest, SessionResponse, SignalRequest, SignalResponse};
use stage_proto::{Unfold, unfolded};

fuzz_target!(|data: &[u8]| {
    check::<SignalRequest>(data);
    check::<SignalResponse>(data);
    check::<SessionRequest>(data);
    check::<SessionResponse>(data);
});

fn check<M: Message + Default + Unfold>(data: &[u8]) {
    let message = Bytes::copy_from_slice(data);
    let Some(size) = unfolded(data, M::SHAPE, M::MOST) else { return };
    let (decoded, peak) = memory::peak(|| M::decode(message));
    assert!(peak <= memory::most(data.len(), size), "{peak} bytes for {}, {size}", data.len());
    if let Ok(decoded) = decoded {
        let again = decoded.encode_to_vec();
        assert!(unfolded(&again, M::SHAPE, M::MOST).is_some_and(|again| again <= size));
    }
}
