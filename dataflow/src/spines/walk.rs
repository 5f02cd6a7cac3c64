//! Walks over several runs at once: every row once, with what all of them say of it.

use smallvec::SmallVec;

use super::run::{RowUpdates, Run};
use crate::repr::{Diff, Timestamp};

/// Calls `visit` with every row of `runs` that is there at time `at`, and how often (never 0), in their order.
pub(super) fn for_each_row_at<'a>(
    runs: impl Iterator<Item = &'a Run>,
    at: Timestamp,
    mut visit: impl FnMut(&[u8], Diff),
) {
    let mut heads: SmallVec<[RowUpdates<'_>; 32]> = runs.filter_map(Run::first).collect();
    while let Some((least, next)) = least(&heads) {
        // One run is usually much larger than all others: its rows are walked up to the next one of another.
        let mut head = Some(heads[least]);
        while let Some(row) = head.filter(|row| next.is_none_or(|next| row.order < next)) {
            tell(row.bytes, row.count_at(at), &mut visit);
            head = row.next();
        }
        let Some(row) = head else {
            heads.swap_remove(least);
            continue;
        };
        heads[least] = row;
        // Now another run may have the same row.
        let row = heads.iter().copied().min_by(RowUpdates::cmp).expect("this one at least");
        let mut count = 0;
        let mut index = 0;
        while index < heads.len() {
            if heads[index].cmp(&row).is_ne() {
                index += 1;
                continue;
            }
            count += heads[index].count_at(at);
            match heads[index].next() {
                Some(next) => {
                    heads[index] = next;
                    index += 1;
                }
                None => {
                    heads.swap_remove(index);
                }
            }
        }
        tell(row.bytes, count, &mut visit);
    }
}

/// Which head comes first, and the order of the next one.
fn least(heads: &[RowUpdates<'_>]) -> Option<(usize, Option<u32>)> {
    let mut first: Option<(usize, u32)> = None;
    let mut next: Option<u32> = None;
    for (index, head) in heads.iter().enumerate() {
        match first {
            Some((_, order)) if order <= head.order => {
                next = Some(next.map_or(head.order, |next| next.min(head.order)))
            }
            _ => {
                next = first.map(|(_, order)| order).or(next);
                first = Some((index, head.order));
            }
        }
    }
    first.map(|(index, _)| (index, next))
}

fn tell(row: &[u8], count: Diff, visit: &mut impl FnMut(&[u8], Diff)) {
    if count != 0 {
        visit(row, count);
    }
}
