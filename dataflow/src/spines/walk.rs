//! Walks over several runs at once: every row once, with what all of them say of it.

use super::heads::Heads;
use super::run::Run;
use crate::repr::{Diff, Timestamp};

/// Calls `visit` with every row of `runs` that is there at time `at`, and how often (never 0), in their order.
pub(super) fn for_each_row_at<'a>(
    runs: impl Iterator<Item = &'a Run>,
    at: Timestamp,
    mut visit: impl FnMut(&[u8], Diff),
) {
    let mut heads = Heads::new(runs.map(Run::rows));
    let mut rows = Vec::new();
    loop {
        heads.take_order(&mut rows);
        if rows.is_empty() {
            return;
        }
        for equal in rows.chunk_by(|a, b| a.bytes() == b.bytes()) {
            let count = equal.iter().map(|row| row.count_at(at)).sum();
            if count != 0 {
                visit(equal[0].bytes(), count);
            }
        }
    }
}
