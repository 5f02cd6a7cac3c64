//! The fast JSON parser with the general one behind it, against the general one alone: same rows, same errors.

#![no_main]

use headwater_connectors::decoding::{json_both_ways, schema_of_every_type};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (fast, general) = json_both_ways(text, &schema_of_every_type(true)).expect("a source can have these types");
    assert_eq!(fast, general, "{text}");
});
