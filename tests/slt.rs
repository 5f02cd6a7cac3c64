//! SQL logic tests: the answer of every query of a file is the one that the file says, as a read and as a view that was
//! created before its rows arrived.
//!
//! Our own files stand in `tests/slt/files`. `HEADWATER_SLT_DIR` names a folder or file of other suites instead,
//! `HEADWATER_SLT_MODE` one of `batch`, `view` and `both`, `HEADWATER_SLT_SAMPLE` how many queries are run of all and
//! `HEADWATER_SLT_SEED` which.

mod datafusion;
mod decisions;
mod evaluate;
mod external;
mod history;
mod judge;
mod maintain;
mod record;
mod report;
mod run;
mod sqlite;
mod statement;
mod suite;
mod tables;
mod words;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, Once};
use std::thread::ThreadId;
use std::time::Instant;

use evaluate::Reader;
use maintain::Engines;
use record::File;
use report::{Mode, Report};
use run::Runner;
use suite::Sample;

use crate::data::workspace;

/// Queries of our own files that may be refused, reads and views together: fewer with each feature that comes.
const REFUSED_MAX: usize = 6;

/// Records that run right now: a worker that panics takes the process with it.
static RUNNING: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());

fn note_running(thread: ThreadId, place: String) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            eprintln!("records that run: {:?}", RUNNING.lock());
            before(panic);
        }));
    });
    RUNNING.lock().expect("nobody panics while it notes a record").insert(format!("{thread:?}"), place);
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn number(name: &str) -> Option<u64> {
    let text = variable(name)?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}, which is no number")))
}

fn modes() -> &'static [Mode] {
    match variable("HEADWATER_SLT_MODE").as_deref() {
        None | Some("both") => &[Mode::Batch, Mode::View],
        Some("batch") => &[Mode::Batch],
        Some("view") => &[Mode::View],
        Some(other) => panic!("HEADWATER_SLT_MODE is {other:?}, not batch, view or both"),
    }
}

/// Runs `files`, on as many threads as there are processors.
fn run(files: Vec<PathBuf>, sample: Sample) -> Report {
    let modes = modes();
    let files = Mutex::new(files.into_iter());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let reports = std::thread::scope(|scope| {
        let work = || {
            let id = std::thread::current().id();
            let note = move |place| note_running(id, place);
            let mut runner = Runner { reader: Reader::new(), engines: Engines::default(), modes, note: &note };
            let mut report = Report::default();
            loop {
                let next = files.lock().expect("nobody panics while it takes a file").next();
                let Some(path) = next else { break };
                match File::read(&path) {
                    Ok(file) => runner.run(&file, &sample.choose(&file), &mut report),
                    Err(message) => report.unreadable(message),
                }
            }
            runner.engines.shutdown();
            report
        };
        // Unoptimised planning of nested queries needs room.
        let spawn = |_| {
            let thread = std::thread::Builder::new().stack_size(256 << 20);
            thread.spawn_scoped(scope, work).expect("a thread starts")
        };
        let threads: Vec<_> = (0..threads).map(spawn).collect();
        threads.into_iter().map(|thread| thread.join()).collect::<Vec<_>>()
    });
    let mut whole = Report::default();
    for report in reports {
        whole.merge(report.unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
    }
    whole
}

#[test]
fn sql_logic_tests_are_answered_by_reads_and_by_views() {
    let start = Instant::now();
    let dir = variable("HEADWATER_SLT_DIR").map(PathBuf::from);
    let folder = dir.clone().unwrap_or_else(|| workspace().join("tests/slt/files"));
    let files = suite::files(&folder);
    assert!(!files.is_empty(), "there is no file under {}", folder.display());
    let of = files.iter().map(|path| suite::queries_in(path)).sum();
    let count = number("HEADWATER_SLT_SAMPLE").map_or(of, |count| usize::try_from(count).expect("it fits"));
    let seed = number("HEADWATER_SLT_SEED").unwrap_or_default();
    let report = run(files, Sample { of, count, seed });
    let base = if folder.is_dir() { folder.as_path() } else { folder.parent().unwrap_or(Path::new("")) };
    eprintln!("{}", report.text(base));
    eprintln!("{:.1} s", start.elapsed().as_secs_f64());
    let totals: Vec<_> = modes().iter().map(|mode| report.total(*mode)).collect();
    let wrong: usize = totals.iter().map(|total| total.wrong).sum();
    assert_eq!(wrong, 0, "answers are wrong");
    if dir.is_none() {
        let refused: usize = totals.iter().map(|total| total.refused).sum();
        let others: usize = totals.iter().map(|total| total.failed + total.differs + total.skipped).sum();
        assert!(refused <= REFUSED_MAX, "{refused} of our own queries are refused");
        assert_eq!(others, 0, "our own queries are answered or refused");
    }
}
