//! Bad records among many good ones, and records that are too long.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::decode::RECORD_BYTES_MAX;

const ROWS: usize = 30_000;

/// The line number and text of a good record and the row it becomes, or of one that is broken in one of many ways.
fn line(rng: &mut ChaCha8Rng, n: usize, broken: bool) -> (Vec<u8>, String) {
    let text = ["plain", "with, comma", "with \"quotes\"", "over\ntwo lines", ""][rng.random_range(0..5)];
    let row = format!("{n}|{text}");
    if !broken {
        return (format!("{n},\"{}\"\n", text.replace('"', "\"\"")).into_bytes(), row);
    }
    let bytes: &[u8] = match rng.random_range(0..9) {
        0 => b"x,not a number\n",
        1 => b",missing\n",
        2 => b"1\n",
        3 => b"1,a,b\n",
        4 => b"1,\xff\n",
        5 => b"1,\"never closed\n",
        6 => b"1,\"closed\" too early\n",
        7 => b"99999999999,too large\n",
        _ => b"x,\"over\ntwo lines\"\n",
    };
    (bytes.to_vec(), row)
}

#[test]
fn one_percent_of_broken_records_costs_no_good_one_and_each_is_listed_once() {
    for seed in 0..5 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (mut file, mut line_number) = (b"n,t\n".to_vec(), 2);
        let (mut rows, mut bad) = (Vec::new(), Vec::new());
        for n in 0..ROWS {
            let broken = rng.random_bool(0.01);
            let (bytes, row) = line(&mut rng, n, broken);
            if broken {
                bad.push(format!("a.csv:{line_number}"))
            } else {
                rows.push(row)
            }
            line_number += bytes.iter().filter(|byte| **byte == b'\n').count();
            file.extend(bytes);
        }
        let fixture = Fixture::csv("a.csv");
        fixture.write("a.csv", file);
        let (read, _, _) = drain(fixture.open().as_mut(), rng.random_range(1..5_000));
        assert_eq!(read.bad, bad, "seed {seed}");
        assert!(read.rows == rows, "seed {seed}: the good rows are not those that were written");
    }
}

/// A file of good records around one that is `long` bytes and longer than a record may be.
fn check_long(fixture: &Fixture, name: &str, long: &[u8], good: [&str; 2], expected: (&[&str], &[String])) {
    for follow in [false, true] {
        let mut description = fixture.description.clone();
        let Connector::File(options) = &mut description.connector else { panic!("a file source") };
        options.follow = follow;
        fixture.write(name, [good[0].as_bytes(), long, good[1].as_bytes()].concat());
        let mut source = open(&description, fixture.dir.path(), &SourcePosition::default()).unwrap();
        let (read, _, _) = drain(source.as_mut(), 10);
        assert_eq!(
            (read.rows, read.bad.as_slice()),
            (expected.0.iter().map(|row| (*row).to_owned()).collect(), expected.1)
        );
        // Also from every position on the way.
        let mut source = open(&description, fixture.dir.path(), &SourcePosition::default()).unwrap();
        let first = source.poll(1).unwrap();
        let (rest, _, _) = drain(open(&description, fixture.dir.path(), &first.position).unwrap().as_mut(), 10);
        assert_eq!(rest.rows.len() + first.rows.num_rows(), expected.0.len());
        assert_eq!(rest.bad, expected.1);
    }
}

#[test]
fn a_record_that_is_too_long_is_one_bad_record() {
    let fixture = Fixture::csv("a.csv");
    let good = ["n,t\n1,a\n", "3,c\n4,d\n"];
    let rows: &[&str] = &["1|a", "3|c", "4|d"];
    let at_3 = ["a.csv:3".to_owned()];
    for bytes in [RECORD_BYTES_MAX, RECORD_BYTES_MAX + 1, 3 * RECORD_BYTES_MAX + 17, 20 * RECORD_BYTES_MAX] {
        let long = [b"2,".as_slice(), &vec![b'x'; bytes], b"\n"].concat();
        check_long(&fixture, "a.csv", &long, good, (rows, &at_3));
        let quoted = [b"2,\"".as_slice(), &vec![b'x'; bytes], b"\"\n"].concat();
        check_long(&fixture, "a.csv", &quoted, good, (rows, &at_3));
    }
    // The longest that a record may be.
    let text = "x".repeat(RECORD_BYTES_MAX - 3);
    check_long(
        &fixture,
        "a.csv",
        format!("2,{text}\n").as_bytes(),
        good,
        (&["1|a", &format!("2|{text}"), "3|c", "4|d"], &[]),
    );
    check_long(&fixture, "a.csv", format!("2,{text}x\n").as_bytes(), good, (rows, &at_3));
}

#[test]
fn a_quote_that_is_never_closed_costs_its_line_only() {
    let fixture = Fixture::csv("a.csv");
    let line = format!("2,{}\n", "x".repeat(100));
    let lines = 2 * RECORD_BYTES_MAX / line.len();
    fixture.write("a.csv", format!("n,t\n1,a\n2,\"b\n{}3,\"c\"\n", line.repeat(lines)));
    let (read, _, _) = drain(fixture.open().as_mut(), 1_000);
    assert_eq!((read.rows.len(), read.bad), (lines + 2, vec!["a.csv:3".to_owned()]));

    // A file that ends in one.
    fixture.write("a.csv", format!("n,t\n1,a\n2,\"b\n{}", line.repeat(5)));
    let (read, _, _) = drain(fixture.open().as_mut(), 1_000);
    assert_eq!((read.rows.len(), read.bad), (6, vec!["a.csv:3".to_owned()]));
}

#[test]
fn a_json_record_that_is_too_long_is_one_bad_record() {
    let mut fixture = Fixture::csv("a.json");
    fixture.description.format = Format::Json;
    let long = format!("{{\"n\":2,\"t\":\"{}\"}}\n", "é".repeat(2 * RECORD_BYTES_MAX));
    let good = ["{\"n\":1}\n", "{\"n\":3}\n"];
    check_long(&fixture, "a.json", long.as_bytes(), good, (&["1|NULL", "3|NULL"], &["a.json:2".to_owned()]));
    // It may be the last, without a line end.
    fixture.write("a.json", format!("{}{}", good[0], long.trim_end()));
    let mut source = fixture.open();
    let (read, position, _) = drain(source.as_mut(), 10);
    assert_eq!(
        (read.rows.len(), read.bad, position.0.as_str()),
        (1, vec!["a.json:2".to_owned()], r#"{"done":["a.json"]}"#)
    );
}

#[test]
fn the_payload_of_a_long_record_is_its_beginning() {
    let fixture = Fixture::csv("a.csv");
    fixture.write("a.csv", format!("n,t\n2,{}\n", "é".repeat(RECORD_BYTES_MAX)));
    let mut source = fixture.open();
    let polled = source.poll(10).unwrap();
    let shown = show(&polled.errors);
    assert_eq!(shown, [format!("a.csv:2|NULL|the record is longer than 1048576 bytes|2,{}", "é".repeat(254))]);
}
