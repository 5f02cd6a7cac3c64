//! Files that grow and files that come.

use super::*;

#[test]
fn a_file_is_followed_as_it_grows_and_a_torn_line_is_waited_for() {
    let fixture = Fixture::csv("a.csv").following();
    let mut source = fixture.open();
    let nothing = source.poll(10).unwrap();
    assert_eq!((nothing.rows.num_rows(), nothing.state), (0, PollState::CaughtUp), "there is no file yet");

    // The header comes in two pieces.
    fixture.append("a.csv", "n,");
    for _ in 0..3 {
        assert_eq!(source.poll(10).unwrap().state, PollState::CaughtUp);
    }
    fixture.append("a.csv", "t\n1,a\n2,b\n3,to");
    let read = wait_for(source.as_mut(), 2);
    assert_eq!(read.rows, ["1|a", "2|b"]);
    let waiting = source.poll(10).unwrap();
    assert_eq!((waiting.rows.num_rows(), waiting.errors.num_rows(), waiting.state), (0, 0, PollState::CaughtUp));
    assert_eq!(waiting.position.0, r#"{"at":[["a.csv",12,4]]}"#);
    fixture.append("a.csv", "rn\nbad\n");
    let read = wait_for(source.as_mut(), 2);
    assert_eq!((read.rows.join(" "), read.bad.join(" ")), ("3|torn".to_owned(), "a.csv:5".to_owned()));

    // A restart goes on in the middle of a torn line, too.
    fixture.append("a.csv", "4,x\n5,\"to\n");
    let read = wait_for(source.as_mut(), 1);
    let position = source.poll(10).unwrap().position;
    drop(source);
    let mut source = fixture.open_at(&position).unwrap();
    fixture.append("a.csv", "rn\"\n6,y\n");
    assert_eq!(
        (read.rows, wait_for(source.as_mut(), 2).rows),
        (vec!["4|x".to_owned()], vec!["5|to\nrn".to_owned(), "6|y".to_owned()])
    );
}

#[test]
fn having_caught_up_is_said_at_once_and_waiting_takes_50_ms() {
    let fixture = Fixture::csv("a.csv").following();
    fixture.write("a.csv", "n,t\n1,a\n");
    let mut source = fixture.open();
    let polled = source.poll(1).unwrap();
    assert_eq!((polled.rows.num_rows(), polled.state), (1, PollState::More));
    let polled = source.poll(1).unwrap();
    assert_eq!((polled.rows.num_rows(), polled.state), (0, PollState::CaughtUp));
    let started = Instant::now();
    assert_eq!(source.poll(1).unwrap().state, PollState::CaughtUp);
    assert!(started.elapsed() >= Duration::from_millis(50));
}

#[test]
fn new_files_are_read_whenever_they_come_and_only_the_last_one_grows() {
    let fixture = Fixture::csv("*.csv").following();
    fixture.write("b.csv", "n,t\n1,b\n");
    let mut source = fixture.open();
    assert_eq!(wait_for(source.as_mut(), 1).rows, ["1|b"]);
    // The file has grown, without a last line end, when a later one comes: it is complete then.
    fixture.append("b.csv", "2,b");
    fixture.write("c.csv", "n,t\n3,c\n");
    assert_eq!(wait_for(source.as_mut(), 2).rows, ["2|b", "3|c"]);
    // An earlier one comes: it is read, and then the last one goes on where it was.
    fixture.write("a.csv", "n,t\n4,a");
    assert_eq!(wait_for(source.as_mut(), 1).rows, ["4|a"]);
    fixture.append("c.csv", "5,c\n");
    assert_eq!(wait_for(source.as_mut(), 1).rows, ["5|c"]);
    let polled = source.poll(10).unwrap();
    assert_eq!(polled.position.0, r#"{"done":["a.csv","b.csv"],"at":[["c.csv",12,4]]}"#);
    assert_eq!(
        source.progress(),
        SourceProgress { bytes_read: 30, bytes_total: Some(30), records: 5, ..SourceProgress::default() }
    );
    // Those that are done may go.
    fs::remove_file(fixture.path("a.csv")).unwrap();
    let mut source = fixture.open_at(&polled.position).unwrap();
    fixture.append("c.csv", "6,c\n");
    assert_eq!(wait_for(source.as_mut(), 1).rows, ["6|c"]);
}

#[test]
fn a_followed_file_may_not_shrink() {
    let fixture = Fixture::csv("a.csv").following();
    fixture.write("a.csv", "n,t\n1,a\n2,b\n3,to");
    let mut source = fixture.open();
    wait_for(source.as_mut(), 2);
    // Losing what was not decoded is no loss.
    fs::OpenOptions::new().write(true).open(fixture.path("a.csv")).unwrap().set_len(12).unwrap();
    assert_eq!(source.poll(10).unwrap().rows.num_rows(), 0);
    fixture.append("a.csv", "3,other\n");
    assert_eq!(wait_for(source.as_mut(), 1).rows, ["3|other"]);
    let position = source.poll(10).unwrap().position;
    fs::OpenOptions::new().write(true).open(fixture.path("a.csv")).unwrap().set_len(11).unwrap();
    let error = wait_for_failure(source.as_mut()).to_string();
    assert!(error.starts_with("a.csv has 11 bytes, but was read up to byte 20"), "{error}");
    let error = fixture.open_at(&position).unwrap_err().to_string();
    assert!(error.starts_with("a.csv has 11 bytes, but was read up to byte 20"), "{error}");
}

#[test]
fn a_followed_file_may_not_be_replaced_or_removed() {
    let fixture = Fixture::csv("a.csv").following();
    fixture.write("a.csv", "n,t\n1,a\n");
    let mut source = fixture.open();
    wait_for(source.as_mut(), 1);
    fixture.write("new", "n,t\n1,a\n2,b\n");
    fs::rename(fixture.path("new"), fixture.path("a.csv")).unwrap();
    assert!(matches!(wait_for_failure(source.as_mut()), SourceError::Replaced { file } if file == "a.csv"));

    let mut source = fixture.open();
    wait_for(source.as_mut(), 2);
    fs::remove_file(fixture.path("a.csv")).unwrap();
    assert!(matches!(wait_for_failure(source.as_mut()), SourceError::Gone { file } if file == "a.csv"));
}

#[test]
fn a_writer_that_flushes_anywhere_loses_nothing() {
    let fixture = Fixture::csv("a.csv").following();
    let expected: Vec<String> = (0..2_000).map(|n| format!("{n}|text \"{n}\",\nend")).collect();
    let bytes: String = (0..2_000).map(|n| format!("{n},\"text \"\"{n}\"\",\nend\"\n")).collect();
    let path = fixture.path("a.csv");
    let writer = std::thread::spawn(move || {
        use std::io::Write;
        let mut file = fs::File::create(path).unwrap();
        file.write_all(b"n,t\n").unwrap();
        for piece in bytes.as_bytes().chunks(13) {
            file.write_all(piece).unwrap();
        }
    });
    let read = wait_for(fixture.open().as_mut(), expected.len());
    writer.join().unwrap();
    assert_eq!((read.rows, read.bad.len()), (expected, 0));
}
