//! Whatever decodes encodes again to a message that decodes to the same values.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use stage_value::{Limits, wire};

fuzz_target!(|data: &[u8]| {
    let message = Bytes::copy_from_slice(data);
    match wire::decode(&message, &Limits::DEFAULT) {
        Ok(values) => {
            let again = wire::encode(&values);
            let decoded = wire::decode(&again, &Limits::DEFAULT).expect("what was encoded decodes");
            // Compared as bytes: NaN differs from itself.
            assert_eq!(wire::encode(&decoded), again);
        }
        Err(error) => assert!(error.offset <= data.len()),
    }
});
