//! Packed files.

use std::io::Write;

use super::*;

fn gzip(text: &str) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(text.as_bytes()).unwrap();
    packed.finish().unwrap()
}

fn zstd(text: &str) -> Vec<u8> {
    zstd::encode_all(text.as_bytes(), 1).unwrap()
}

#[test]
fn several_members_or_frames_are_one_file() {
    for (name, pack) in [("a.csv.gz", gzip as fn(&str) -> Vec<u8>), ("a.CSV.ZST", zstd)] {
        let fixture = Fixture::csv(name);
        // The seam is in the middle of a record.
        let bytes = [pack("n,t\n1,a\n2,"), pack("b\n3,c\n"), pack("")].concat();
        fixture.write(name, &bytes);
        let mut source = fixture.open();
        let (read, _, _) = drain(source.as_mut(), 2);
        assert_eq!(read.rows, ["1|a", "2|b", "3|c"], "{name}");
        let size = u64::try_from(bytes.len()).unwrap();
        assert_eq!(
            source.progress(),
            SourceProgress { bytes_read: size, bytes_total: Some(size), records: 3, ..SourceProgress::default() }
        );
    }
}

#[test]
fn a_declared_packing_goes_before_the_extension() {
    for (compression, bytes) in [
        (Compression::Gzip, gzip("n,t\n1,a\n")),
        (Compression::Zstd, zstd("n,t\n1,a\n")),
        (Compression::None, b"n,t\n1,a\n".to_vec()),
    ] {
        let mut fixture = Fixture::csv("a.gz");
        let Connector::File(options) = &mut fixture.description.connector else { panic!("a file source") };
        options.compression = compression;
        fixture.write("a.gz", bytes);
        assert_eq!(drain(fixture.open().as_mut(), 9).0.rows, ["1|a"], "{compression:?}");
    }
}

#[test]
fn a_damaged_file_fails_by_name_after_what_could_be_read() {
    let lines: String = (0..200_000).map(|n| format!("{n},text {}\n", n * 7919 % 10_007)).collect();
    for (name, pack) in [("a.csv.gz", gzip as fn(&str) -> Vec<u8>), ("a.csv.zst", zstd)] {
        let fixture = Fixture::csv(name);
        let bytes = pack(&format!("n,t\n{lines}"));
        fixture.write(name, &bytes[..bytes.len() / 2]);
        let mut source = fixture.open();
        let mut rows = 0;
        let error = loop {
            match source.poll(10_000) {
                Ok(polled) => {
                    assert_eq!((polled.state, polled.errors.num_rows()), (PollState::More, 0));
                    rows += polled.rows.num_rows();
                }
                Err(error) => break error,
            }
        };
        assert!(rows > 50_000, "{name}: {rows} rows");
        assert_eq!(error.to_string(), format!("cannot unpack {name}"));
        assert!(source.poll(1).is_err(), "a failed source does not end");
    }
}

#[test]
fn packed_files_are_not_followed() {
    let fixture = Fixture::csv("*.csv*").following();
    fixture.write("a.csv.gz", gzip("n,t\n1,a\n"));
    let error = fixture.open_at(&SourcePosition::default()).unwrap_err();
    assert!(matches!(&error, SourceError::FollowPacked { file } if file == "a.csv.gz"), "{error}");

    // One that comes later is refused then.
    let fixture = Fixture::csv("*.csv*").following();
    let mut source = fixture.open();
    fixture.write("b.csv.zst", zstd("n,t\n1,a\n"));
    assert!(matches!(wait_for_failure(source.as_mut()), SourceError::FollowPacked { .. }));
}
