//! Makes a failing case small and writes down what a reader needs to see it fail.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::batch::Batch;
use super::case::Case;
use super::run::{Outcome, run};
use crate::engine::driver::Driver;

/// How long a case is made smaller.
const PATIENCE: Duration = Duration::from_secs(90);

/// The smallest case found that still is wrong, and what is wrong with it.
pub(crate) fn shrink(case: &Case, said: String, driver: &mut Driver, batch: &Batch) -> (Case, String) {
    let start = Instant::now();
    let (mut case, mut said) = (case.clone(), said);
    'smaller: loop {
        for candidate in case.smaller() {
            if start.elapsed() > PATIENCE {
                return (case, said);
            }
            match run(&candidate, &candidate.history, driver, batch) {
                Outcome::Wrong(wrong) => {
                    (case, said) = (candidate, wrong);
                    continue 'smaller;
                }
                Outcome::Stalled(_) => return (case, said),
                Outcome::Refused(..) | Outcome::Unusable(_) | Outcome::Right(_) => {}
            }
        }
        return (case, said);
    }
}

/// The case in words.
pub(crate) fn describe(case: &Case, workers: usize, said: &str) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "seed {} on {workers} worker(s), {} updates", case.seed, case.history.len());
    let _ = writeln!(
        text,
        "again: HEADWATER_ORACLE_SEED={} cargo test --profile ci --workspace --test main oracle",
        case.seed
    );
    for (index, table) in case.tables.iter().enumerate() {
        let columns: Vec<String> =
            table.columns.iter().map(|column| format!("{} {}", column.name, column.sql_type.name())).collect();
        let kind = if table.append_only { " (append-only)" } else { "" };
        let _ = writeln!(text, "table {}{kind}: {}", table.name, columns.join(", "));
        for change in &case.history.changes {
            for (row, diff) in &change.updates[index] {
                let _ = writeln!(text, "  {} {diff:+} {row:?}", change.time);
            }
        }
    }
    let times: Vec<u64> = case.history.changes.iter().map(|change| change.time).collect();
    let _ = writeln!(text, "ticks {times:?}, {} history", if case.long_history { "long" } else { "short" });
    for (name, query) in &case.inlined {
        let _ = writeln!(text, "inlined {name}: {}", query.sql());
    }
    for view in &case.views {
        let (as_of, created) = (times[view.as_of], times[view.created]);
        let _ = writeln!(text, "view {} (as_of {as_of}, created after {created}): {}", view.name, view.check.sql());
    }
    let _ = write!(text, "{said}");
    text
}
