//! A source opened at any position goes on as one that was never closed.

use std::io::Write;

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

const CSV_LINES: [&str; 10] = [
    "1,plain\n",
    "2,\"quoted, with \"\"quotes\"\"\"\r\n",
    "3,\"over\nseveral\r\nlines\"\n",
    "4,\n",
    "5,\"\"\n",
    "\n",
    "bad\n",
    "x,\"bad\nover lines\"\n",
    "6,\"closed\" badly\n",
    "7,é\n",
];

const JSON_LINES: [&str; 5] =
    ["{\"n\":1,\"t\":\"a\"}\n", "{\"t\":{\"b\":[1]},\"n\":2}\r\n", "{\"n\":\n", " \n", "{\"t\":\"no number\"}\n"];

/// Random files of random lines; the last line of a file may lack its end.
fn fill(fixture: &Fixture, rng: &mut ChaCha8Rng, lines: &[&str], header: &str, extension: &str) {
    for index in 0..rng.random_range(1..4) {
        let mut text = header.to_owned();
        for _ in 0..rng.random_range(0..25) {
            text.push_str(lines.choose(rng).unwrap());
        }
        if rng.random_bool(0.5) {
            text.truncate(text.trim_end_matches(['\r', '\n']).len());
        }
        let name = format!("{index}.{extension}");
        match extension.rsplit_once('.').map_or("", |(_, packed)| packed) {
            "gz" => {
                let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                packed.write_all(text.as_bytes()).unwrap();
                fixture.write(&name, packed.finish().unwrap());
            }
            "zst" => fixture.write(&name, zstd::encode_all(text.as_bytes(), 1).unwrap()),
            _ => fixture.write(&name, text),
        }
    }
}

fn check(seed: u64, extension: &str) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let csv = extension.starts_with("csv");
    let mut fixture = Fixture::csv(&format!("*.{extension}"));
    if csv {
        fill(&fixture, &mut rng, &CSV_LINES, "n,t\n", extension);
    } else {
        fixture.description.format = Format::Json;
        fill(&fixture, &mut rng, &JSON_LINES, "", extension);
    }
    let (whole, end, _) = drain(fixture.open().as_mut(), 1_000);

    // One record at a time gives every record boundary; from each the rest must be what is missing.
    let mut source = fixture.open();
    let mut before = Read::default();
    loop {
        let polled = source.poll(1).unwrap();
        before.add(&polled);
        let (rest, rest_end, state) =
            drain(fixture.open_at(&polled.position).unwrap().as_mut(), rng.random_range(1..9));
        let rows: Vec<_> = before.rows.iter().chain(&rest.rows).collect();
        let bad: Vec<_> = before.bad.iter().chain(&rest.bad).collect();
        assert_eq!(rows, whole.rows.iter().collect::<Vec<_>>(), "seed {seed} {extension} at {:?}", polled.position);
        assert_eq!(bad, whole.bad.iter().collect::<Vec<_>>(), "seed {seed} {extension} at {:?}", polled.position);
        assert_eq!((rest_end, state), (end.clone(), PollState::Ended), "seed {seed} {extension}");
        if polled.state == PollState::Ended {
            break;
        }
    }
}

#[test]
fn from_every_record_boundary_the_rest_is_what_is_missing() {
    for seed in 0..40 {
        for extension in ["csv", "json", "csv.gz", "csv.zst", "json.zst"] {
            check(seed, extension);
        }
    }
}

#[test]
fn a_restart_reads_the_files_of_the_first_open_and_no_others() {
    let fixture = Fixture::csv("*.csv");
    fixture.write("a.csv", "n,t\n1,a\n");
    fixture.write("c.csv", "n,t\n3,c\n");
    let first = fixture.open().poll(1).unwrap();
    fixture.write("b.csv", "n,t\n2,b\n");
    fixture.write("d.csv", "n,t\n4,d\n");
    let (rest, position, _) = drain(fixture.open_at(&first.position).unwrap().as_mut(), 10);
    assert_eq!((show(&first.rows), rest.rows), (vec!["1|a".to_owned()], vec!["3|c".to_owned()]));

    // What is done need not be there any more.
    fs::remove_file(fixture.path("a.csv")).unwrap();
    fs::remove_file(fixture.path("c.csv")).unwrap();
    let (rest, again, state) = drain(fixture.open_at(&position).unwrap().as_mut(), 10);
    assert_eq!((rest, again, state), (Read::default(), position, PollState::Ended));
    // What is not done must be.
    let error = fixture.open_at(&first.position).unwrap_err().to_string();
    assert!(error.starts_with("there is no file "), "{error}");
}

#[test]
fn a_position_behind_the_end_of_a_file_is_refused() {
    for name in ["a.csv", "a.csv.gz", "a.csv.zst"] {
        let fixture = Fixture::csv(name);
        let text = b"n,t\n1,a\n";
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(text).unwrap();
        match name {
            "a.csv" => fixture.write(name, text),
            "a.csv.gz" => fixture.write(name, packed.finish().unwrap()),
            _ => fixture.write(name, zstd::encode_all(&text[..], 1).unwrap()),
        }
        let error = fixture.open_at(&SourcePosition(format!("{{\"at\":[[\"{name}\",9,3]]}}"))).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{name} has 8 bytes, but was read up to byte 9")), "{error}");
    }
}

#[test]
fn a_position_of_something_else_is_refused() {
    let fixture = Fixture::csv("a.csv");
    fixture.write("a.csv", "n,t\n1,a\n");
    let error = fixture.open_at(&SourcePosition("{\"partitions\":[]}".to_owned())).unwrap_err();
    assert!(matches!(error, SourceError::Position { .. }), "{error}");
}
