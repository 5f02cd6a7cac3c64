//! Runs: updates of byte rows, consolidated, immutable, in the order of hashes.
//!
//! The order is that of 32 bits of a hash, then of the bytes. What makes an arrangement expensive is comparing rows, once for
//! every level of sorting and merging; numbers that lie side by side are compared for next to nothing. Nobody needs the rows
//! in their own order.
//!
//! A run is a list of blocks, so that merging neither asks for large stretches of fresh memory nor copies what has grown.

use crate::figures::Held;
use crate::repr::{Diff, Timestamp};

/// A block has room for so many bytes of rows, so that its memory serves other blocks when it has been merged,
const BLOCK_BYTES: usize = 1 << 16;
/// and for at most so many updates.
const BLOCK_UPDATES: usize = 1 << 12;

/// What a row's updates are ordered by in front of its bytes, given a hash of the row or of what it begins with.
#[inline]
pub(super) fn order(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// Updates in the order of their rows' hashes and bytes, no two of the same row and time.
#[derive(Default)]
pub(crate) struct Run {
    blocks: Vec<Block>,
    updates: usize,
}

/// Some updates of a run, all those of any of their rows.
#[derive(Default)]
struct Block {
    updates: Vec<Update>,
    bytes: Vec<u8>,
    stamps: Stamps,
}

/// What is looked at first of an update: merging reads both together.
#[derive(Clone, Copy)]
struct Update {
    order: u32,
    /// Where its row ends in the bytes. One without bytes is of the same row as the update before it: either all rows of an
    /// arrangement are empty or none is.
    row_end: u32,
}

/// The times and diffs of updates.
enum Stamps {
    /// All have the same: what becomes of rows that stay.
    Same(Timestamp, Diff),
    /// One an update, times counted from this one: what is usual.
    Near(Timestamp, Vec<(u32, i32)>),
    /// One an update, whatever they are.
    Each(Vec<(Timestamp, Diff)>),
}

impl Default for Stamps {
    fn default() -> Stamps {
        Stamps::Same(0, 0)
    }
}

/// A stamp as it is kept beside others, whose times are counted from `from`.
#[inline]
fn near(from: Timestamp, (time, diff): (Timestamp, Diff)) -> Option<(u32, i32)> {
    Some((u32::try_from(time.checked_sub(from)?).ok()?, i32::try_from(diff).ok()?))
}

impl Stamps {
    #[inline]
    fn get(&self, update: usize) -> (Timestamp, Diff) {
        match self {
            Stamps::Same(time, diff) => (*time, *diff),
            Stamps::Near(from, stamps) => {
                let (time, diff) = stamps[update];
                (from + u64::from(time), i64::from(diff))
            }
            Stamps::Each(stamps) => stamps[update],
        }
    }

    /// Appends one to `len` that are there, of `room` in all.
    #[inline]
    fn push(&mut self, stamp: (Timestamp, Diff), len: usize, room: usize) {
        match self {
            Stamps::Near(from, stamps) => match near(*from, stamp) {
                Some(stamp) => stamps.push(stamp),
                None => self.widen(stamp, len, room),
            },
            Stamps::Each(stamps) => stamps.push(stamp),
            Stamps::Same(time, diff) if (*time, *diff) == stamp => {}
            Stamps::Same(time, diff) if len == 0 => (*time, *diff) = stamp,
            Stamps::Same(time, diff) => {
                // Rows are not in the order of their times: others may be earlier.
                let from = time.saturating_sub(u64::from(u32::MAX / 2));
                let (Some(same), Some(stamp)) = (near(from, (*time, *diff)), near(from, stamp)) else {
                    return self.widen(stamp, len, room);
                };
                let mut stamps = Vec::with_capacity(room);
                stamps.resize(len, same);
                stamps.push(stamp);
                *self = Stamps::Near(from, stamps);
            }
        }
    }

    /// The same where something is out of reach.
    #[cold]
    fn widen(&mut self, stamp: (Timestamp, Diff), len: usize, room: usize) {
        let mut stamps = Vec::with_capacity(room);
        stamps.extend((0..len).map(|update| self.get(update)));
        stamps.push(stamp);
        *self = Stamps::Each(stamps);
    }

    fn shrink(&mut self) {
        match self {
            Stamps::Same(..) => {}
            Stamps::Near(_, stamps) => shrink(stamps),
            Stamps::Each(stamps) => shrink(stamps),
        }
    }

    fn held_bytes(&self) -> usize {
        match self {
            Stamps::Same(..) => 0,
            Stamps::Near(_, stamps) => stamps.capacity() * size_of::<(u32, i32)>(),
            Stamps::Each(stamps) => stamps.capacity() * size_of::<(Timestamp, Diff)>(),
        }
    }
}

fn shrink<T>(values: &mut Vec<T>) {
    if values.capacity() - values.len() > values.capacity() / 8 {
        values.shrink_to_fit();
    }
}

impl Block {
    fn len(&self) -> usize {
        self.updates.len()
    }

    /// The row whose first update is `first`.
    #[inline]
    fn row(&self, first: usize) -> RowUpdates<'_> {
        let row_end = self.updates[first].row_end;
        let mut end = first + 1;
        while self.updates.get(end).is_some_and(|update| update.row_end == row_end) {
            end += 1;
        }
        RowUpdates { block: self, first: first as u32, end: end as u32 }
    }

    /// The first update of the row that `update` belongs to.
    fn first_of(&self, update: usize) -> usize {
        let row_end = self.updates[update].row_end;
        (0..update).rev().take_while(|before| self.updates[*before].row_end == row_end).last().unwrap_or(update)
    }

    /// Gives back the memory of what was expected and has not come, if that is much.
    fn shrink(&mut self) {
        shrink(&mut self.updates);
        shrink(&mut self.bytes);
        self.stamps.shrink();
    }

    fn held_bytes(&self) -> usize {
        let updates = self.updates.capacity() * size_of::<Update>();
        size_of::<Block>() + updates + self.bytes.capacity() + self.stamps.held_bytes()
    }
}

/// A row of a run with its updates. It goes through two registers: merging copies it a few times.
#[derive(Clone, Copy)]
pub(super) struct RowUpdates<'a> {
    block: &'a Block,
    /// The number of its first update in the block.
    first: u32,
    /// The number behind that of its last update.
    end: u32,
}

impl<'a> RowUpdates<'a> {
    /// See [`order`].
    #[inline]
    pub(super) fn order(self) -> u32 {
        self.block.updates[self.first as usize].order
    }

    /// The row.
    #[inline]
    pub(super) fn bytes(self) -> &'a [u8] {
        let (block, first) = (self.block, self.first as usize);
        let start = if first == 0 { 0 } else { block.updates[first - 1].row_end };
        &block.bytes[start as usize..block.updates[first].row_end as usize]
    }

    /// How many updates it has: at least one.
    #[inline]
    pub(super) fn len(self) -> usize {
        (self.end - self.first) as usize
    }

    /// The time and the diff of its first update.
    #[inline]
    pub(super) fn stamp(self) -> (Timestamp, Diff) {
        self.block.stamps.get(self.first as usize)
    }

    /// The times and diffs of its updates; times ascend.
    #[inline]
    pub(super) fn stamps(self) -> impl Iterator<Item = (Timestamp, Diff)> {
        (self.first..self.end).map(move |update| self.block.stamps.get(update as usize))
    }

    /// How often the row has come by the time `at`.
    #[inline]
    pub(super) fn count_at(self, at: Timestamp) -> Diff {
        self.stamps().filter(|(time, _)| *time <= at).map(|(_, diff)| diff).sum()
    }
}

/// The rows of a run from one on, in order.
pub(super) struct Cursor<'a> {
    run: &'a Run,
    /// The number of the block of the row that comes next.
    block: usize,
    row: Option<RowUpdates<'a>>,
}

impl Cursor<'_> {
    /// The order of the row that comes next.
    #[inline]
    pub(super) fn order(&self) -> Option<u32> {
        self.row.map(RowUpdates::order)
    }

    /// The place of the row that comes next.
    pub(super) fn place(&self) -> Place {
        Place { block: self.block, update: self.row.map_or(0, |row| row.first as usize) }
    }
}

impl<'a> Iterator for Cursor<'a> {
    type Item = RowUpdates<'a>;

    #[inline]
    fn next(&mut self) -> Option<RowUpdates<'a>> {
        let row = self.row?;
        let end = row.end as usize;
        self.row = if end < row.block.len() {
            Some(row.block.row(end))
        } else {
            self.block += 1;
            self.run.blocks.get(self.block).map(|block| block.row(0))
        };
        Some(row)
    }
}

/// A row's place in a run.
#[derive(Clone, Copy, Default)]
pub(super) struct Place {
    block: usize,
    update: usize,
}

impl Run {
    /// Every row in order.
    pub(super) fn rows(&self) -> Cursor<'_> {
        self.rows_from(Place::default())
    }

    /// The rows from a place on.
    #[inline]
    pub(super) fn rows_from(&self, Place { block, update }: Place) -> Cursor<'_> {
        Cursor { run: self, block, row: self.blocks.get(block).map(|block| block.row(update)) }
    }

    /// The rows whose order is this one.
    pub(super) fn rows_of(&self, order: u32) -> impl Iterator<Item = RowUpdates<'_>> {
        // The rows of one order may begin at the end of one block and go on in others.
        let block = self.blocks.partition_point(|block| block.updates.last().is_some_and(|last| last.order < order));
        let first = |block: &Block| block.updates.partition_point(|update| update.order < order);
        let update = self.blocks.get(block).map_or(0, first);
        self.rows_from(Place { block, update }).take_while(move |row| row.order() == order)
    }

    /// How many updates there are.
    pub(crate) fn updates(&self) -> usize {
        self.updates
    }

    /// Whether it has the row `sought` of some run.
    pub(super) fn has(&self, sought: RowUpdates<'_>) -> bool {
        self.rows_of(sought.order()).any(|row| row.bytes() == sought.bytes())
    }

    /// About `count` rows from all over it.
    pub(super) fn sample(&self, count: usize) -> impl Iterator<Item = RowUpdates<'_>> {
        let step = (self.updates / count.max(1)).max(1);
        let mut next = step / 2;
        self.blocks.iter().flat_map(move |block| {
            let here = (next..block.len()).step_by(step);
            next = next + here.len() * step - block.len();
            here.map(move |update| block.row(block.first_of(update)))
        })
    }

    /// The bytes of all rows.
    pub(super) fn row_bytes(&self) -> usize {
        self.blocks.iter().map(|block| block.bytes.len()).sum()
    }

    /// What it holds: updates are the records.
    pub(super) fn held(&self) -> Held {
        Held::new(self.updates, self.blocks.iter().map(Block::held_bytes).sum())
    }
}

/// Builds a run of rows that come in order.
pub(super) struct RunBuilder {
    run: Run,
    open: Block,
    /// How many updates may still come, the open block's included.
    expected: usize,
    /// The bytes of a row, about.
    row_bytes: usize,
}

impl RunBuilder {
    /// A builder for at most `updates`, whose rows have so many bytes together.
    pub(super) fn new(updates: usize, bytes: usize) -> RunBuilder {
        let row_bytes = bytes.div_ceil(updates.max(1)).max(1);
        let mut builder = RunBuilder { run: Run::default(), open: Block::default(), expected: updates, row_bytes };
        builder.open = builder.fresh();
        builder
    }

    /// An empty block for what comes next.
    fn fresh(&self) -> Block {
        let updates = (BLOCK_BYTES / self.row_bytes).clamp(1, BLOCK_UPDATES).min(self.expected);
        let bytes = if updates < self.expected { BLOCK_BYTES } else { BLOCK_BYTES.min(updates * self.row_bytes) };
        Block { updates: Vec::with_capacity(updates), bytes: Vec::with_capacity(bytes), stamps: Stamps::default() }
    }

    /// Adds a row behind all others, with one update.
    ///
    /// Panics if the rows of a block outgrow 4 GiB, which would need a row as long.
    #[inline]
    pub(super) fn push(&mut self, order: u32, row: &[u8], stamp: (Timestamp, Diff)) {
        let block = &self.open;
        let full = block.len() >= BLOCK_UPDATES || block.bytes.len() + row.len() > BLOCK_BYTES;
        if full && block.len() > 0 {
            self.cut();
        }
        self.open.bytes.extend_from_slice(row);
        self.push_update(order, stamp);
    }

    /// Adds an update of the last row, of another time than its others.
    #[inline]
    fn push_update(&mut self, order: u32, stamp: (Timestamp, Diff)) {
        let block = &mut self.open;
        block.stamps.push(stamp, block.updates.len(), block.updates.capacity());
        let row_end = u32::try_from(block.bytes.len()).expect("a block stays far below 4 GiB");
        block.updates.push(Update { order, row_end });
    }

    /// Adds a row behind all others, with updates that are consolidated and may be none.
    pub(super) fn push_all(&mut self, order: u32, row: &[u8], stamps: &[(Timestamp, Diff)]) {
        if let Some((first, rest)) = stamps.split_first() {
            self.push(order, row, *first);
            rest.iter().for_each(|stamp| self.push_update(order, *stamp));
        }
    }

    fn cut(&mut self) {
        self.expected = self.expected.saturating_sub(self.open.len());
        let fresh = self.fresh();
        let block = std::mem::replace(&mut self.open, fresh);
        self.close(block);
    }

    fn close(&mut self, mut block: Block) {
        block.shrink();
        self.run.updates += block.len();
        self.run.blocks.push(block);
    }

    /// The run; nothing if nothing came.
    pub(super) fn finish(mut self) -> Option<Run> {
        if self.open.len() > 0 {
            let block = std::mem::take(&mut self.open);
            self.close(block);
        }
        (self.run.updates > 0).then_some(self.run)
    }
}

/// Adds up updates of equal times, and leaves them in the order of times without those that cancel.
#[inline]
pub(super) fn consolidate(stamps: &mut Vec<(Timestamp, Diff)>) {
    if let [(first, come), (second, gone)] = stamps.as_slice() {
        // A row that has gone, which is what merging meets most.
        if first == second && come + gone == 0 {
            return stamps.clear();
        }
    }
    if stamps.len() > 1 {
        stamps.sort_unstable_by_key(|(time, _)| *time);
        stamps.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 += next.1;
            }
            same
        });
    }
    stamps.retain(|(_, diff)| *diff != 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Order, bytes and updates of a row.
    type Row = (u32, Vec<u8>, Vec<(Timestamp, Diff)>);

    fn run(rows: &[Row]) -> Run {
        let bytes = rows.iter().map(|(_, row, _)| row.len()).sum();
        let updates = rows.iter().map(|(.., stamps)| stamps.len()).sum();
        let mut builder = RunBuilder::new(updates, bytes);
        rows.iter().for_each(|(order, row, stamps)| builder.push_all(*order, row, stamps));
        builder.finish().expect("there are rows")
    }

    #[test]
    fn a_sample_is_spread_over_all_rows() {
        let rows: Vec<_> = (0..40_000u32)
            .map(|row| (row, row.to_be_bytes().to_vec(), vec![(1, 1), (u64::from(row) + 2, 1)]))
            .collect();
        let run = run(&rows);
        for count in [1, 7, 100, 1_000] {
            let sample: Vec<RowUpdates<'_>> = run.sample(count).collect();
            assert!((count..=count + 1).contains(&sample.len()), "{} for {count}", sample.len());
            assert!(sample.iter().all(|row| row.len() == 2 && run.has(*row)));
            let gaps = sample.windows(2).map(|pair| (pair[1].order() - pair[0].order()) as usize);
            assert!(gaps.into_iter().all(|gap| gap.abs_diff(rows.len() / count) <= 1));
        }
        let other = self::run(&[(7, vec![0, 0, 0, 7], vec![(1, 1)]), (8, vec![9], vec![(1, 1)])]);
        assert_eq!(other.sample(10).map(|row| run.has(row)).collect::<Vec<_>>(), [true, false]);
        let one: Vec<_> = self::run(&rows[..1]).sample(10).map(|row| row.len()).collect();
        assert_eq!(one, [2, 2], "updates are sampled");
    }

    #[test]
    fn rows_are_found_by_their_order_across_blocks() {
        // Every order has several rows, some with several updates, and many more than a block has room for.
        let rows: Vec<_> = (0..30_000u32)
            .map(|row| {
                let stamps = (0..u64::from(row % 3) + 1).map(|time| (time, i64::from(row % 5) + 1)).collect();
                (row / 4 * 2, row.to_be_bytes().to_vec(), stamps)
            })
            .collect();
        let run = run(&rows);
        assert!(run.blocks.len() > 5, "{} blocks", run.blocks.len());
        assert_eq!(run.updates(), rows.iter().map(|(.., stamps)| stamps.len()).sum::<usize>());
        let read = run.rows().map(|row| (row.order(), row.bytes().to_vec(), row.stamps().collect()));
        assert!(read.eq(rows.iter().cloned()));
        for order in 0..rows.len() as u32 / 2 + 2 {
            let expected = rows.iter().filter(|(other, ..)| *other == order).map(|(_, row, _)| row.as_slice());
            if order % 997 < 4 {
                assert!(run.rows_of(order).map(RowUpdates::bytes).eq(expected), "{order}");
            }
        }
    }

    #[test]
    fn rows_without_columns_are_one_row() {
        let run = run(&[(7, Vec::new(), vec![(1, 5), (2, -3), (4, 1)])]);
        let mut rows = run.rows();
        let row = rows.next().expect("one row");
        assert_eq!((row.len(), row.count_at(3), row.count_at(4)), (3, 2, 3));
        assert!(rows.next().is_none());
    }

    #[test]
    fn stamps_are_kept_as_narrow_as_they_are() {
        let mut rows: Vec<_> = (0..1_000u32).map(|row| (row, vec![1, 2], vec![(1 << 40, 1)])).collect();
        let check = |rows: &[Row], is: fn(&Stamps) -> bool| {
            let run = run(rows);
            assert!(is(&run.blocks[0].stamps));
            assert!(run.rows().map(|row| row.stamp()).eq(rows.iter().map(|(.., stamps)| stamps[0])));
            run.held().bytes
        };
        let same = check(&rows, |stamps| matches!(stamps, Stamps::Same(..)));
        rows[700].2[0] = ((1 << 40) - 9, -1);
        let near = check(&rows, |stamps| matches!(stamps, Stamps::Near(..)));
        let mut far = rows.clone();
        far[800].2[0] = (1 << 50, 1);
        let each = check(&far, |stamps| matches!(stamps, Stamps::Each(_)));
        rows[600].2[0].1 = i64::MAX;
        check(&rows, |stamps| matches!(stamps, Stamps::Each(_)));
        assert_eq!((near - same, each - near), (8_000, 8_000));
    }

    #[test]
    fn consolidated_updates_ascend_and_none_is_zero() {
        let mut stamps = vec![(5, 1), (2, 1), (5, -1), (9, 2), (2, 3), (1, 0)];
        consolidate(&mut stamps);
        assert_eq!(stamps, [(2, 4), (9, 2)]);
    }
}
