//! A CSV file is the same rows and the same errors, in whatever pieces its bytes arrive. The first byte says how large.

#![no_main]

use headwater_connectors::decoding::{file_in_pieces, schema_of_every_type};
use headwater_connectors::source::Format;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((piece, data)) = data.split_first() else { return };
    let (schema, format) = (schema_of_every_type(false), Format::Csv { delimiter: b',' });
    let header = schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(",");
    let data = [header.as_bytes(), b"\n", data].concat();
    let whole = file_in_pieces(&data, usize::MAX, format, &schema).expect("the header names every column");
    let pieces = file_in_pieces(&data, usize::from(*piece), format, &schema).expect("the header names every column");
    assert_eq!(pieces, whole);
});
