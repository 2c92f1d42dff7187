//! Whatever decodes encodes again to a message that decodes to the same values.
#![no_main]

use std::sync::Arc;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use stage_value::{FunctionHash, Limits, Prototype, wire};

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
    // A peer that names functions by hash, to a receiver that has code for any.
    let code = |_: &FunctionHash| {
        let names = vec!["x".into()];
        Some(Arc::new(Prototype::new("function() end".into(), "main.lua".into(), 1, names)))
    };
    if let Ok(values) = wire::decode_known(&message, &Limits::DEFAULT, &code) {
        assert!(values.len() <= data.len());
    }
});
