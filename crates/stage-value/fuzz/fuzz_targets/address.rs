//! Whatever parses as an address writes the same text; an error points into it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stage_value::{Address, HandlerId};

fuzz_target!(|text: &str| {
    match text.parse::<Address>() {
        Ok(address) => assert_eq!(address.to_string(), text),
        Err(error) => {
            assert!(error.column() <= text.chars().count() + 1);
            assert!(error.to_string().len() < 1000);
        }
    }
    if let Ok(handler) = text.parse::<HandlerId>() {
        assert_eq!(handler.to_string(), text);
    }
});
