//! A real file through the real source.

use std::io::Write;

use super::*;

#[test]
fn a_growing_file_is_followed_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let files = tempfile::tempdir().unwrap();
    let mut file = fs::File::create(files.path().join("1.csv")).unwrap();
    writeln!(file, "id,text\n1,one\n2,two\nx,bad\n3,three").unwrap();
    let open = || {
        let config = IngestConfig { base_dir: files.path().to_path_buf(), ..config(dir.path()) };
        let ingest = Ingest::open(config, Box::new(|_| {})).unwrap();
        ingest.add_source(describe(1)).unwrap();
        ingest.start();
        ingest
    };
    let caught_up = |ingest: &Ingest, records: u64| {
        until("the file is read", || {
            let status = ingest.source_status(ObjectId(1)).unwrap();
            status.records == records && status.state == SourceState::CaughtUp && ingest.bound() >= status.last_tick
        });
    };
    let ingest = open();
    caught_up(&ingest, 3);
    writeln!(file, "4,four").unwrap();
    caught_up(&ingest, 4);
    ingest.shutdown();
    writeln!(file, "5,five").unwrap();
    let ingest = open();
    caught_up(&ingest, 5);
    assert_eq!(read_ids(&ingest, ObjectId(1).rows()), [1, 2, 3, 4, 5]);
    let status = ingest.source_status(ObjectId(1)).unwrap();
    assert_eq!((status.errors, status.bytes_read), (1, file.metadata().unwrap().len()));
    ingest.shutdown();
}
