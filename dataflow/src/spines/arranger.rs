//! The writing end of an arrangement.
//!
//! Ticks are small: their rows lie back to back in one buffer, and numbers that begin with the rows' hashes are sorted. What
//! outgrows the buffer, a hydration, is staged in runs that are merged as they come.

use std::rc::Rc;
use std::sync::Arc;

use differential_dataflow::operators::arrange::{TraceAgent, TraceWriter};
use differential_dataflow::trace::{Description, ExertionLogic, Span, Trace};
use prefetch_index::prefetch_index;
use timely::dataflow::Scope;
use timely::dataflow::operators::generic::OperatorInfo;
use timely::progress::frontier::AntichainRef;
use timely::progress::{Antichain, Stamp};

use super::batch::Batch;
use super::merger::merged;
use super::run::{RowUpdates, Run, RunBuilder, consolidate, order};
use super::{EXERTION, RowBatch, RowSpine, RowTrace};
use crate::repr::{Diff, EncodedRows, Row, RowBlock, Timestamp, hash_bytes};

/// Updates that the buffer holds: what several large ticks bring that are closed together. Sorting as many takes a few
/// milliseconds.
const BUFFERED_MAX: usize = 1 << 17;
/// A buffer that is used to less than this part gives memory back: then a hydration or a burst is over.
const USED_PART_MIN: usize = 8;
/// A buffer with room for no more than so many updates is left alone.
const ROOM_MIN: usize = 1 << 10;
/// How many entries ahead a row is looked for, and how many ahead it is brought into the cache.
const PLACE_AHEAD: usize = 24;
const ROW_AHEAD: usize = 12;

/// The writing end of an arrangement of the row updates that this worker has: equal rows may lie on several workers.
pub(crate) struct RowArranger {
    buffer: Buffer,
    /// Runs of what the buffer had no room for, of any times; each holds more than twice the updates of the next.
    staged: Vec<Run>,
    /// Something had no room since everything was sealed.
    overflowed: bool,
    /// Whether batches may have several runs: not where rows are looked up, run by run.
    loose: bool,
    writer: TraceWriter<RowSpine>,
    /// Everything before it is sealed.
    upper: Antichain<Timestamp>,
}

impl RowArranger {
    /// An empty arrangement filled by the operator `info`, which is activated when merges are to go on. Rows are looked up in
    /// it if it is an `index`.
    pub(crate) fn new(scope: &Scope<'_, Timestamp>, info: &OperatorInfo, index: bool) -> (RowArranger, RowTrace) {
        let mut spine = RowSpine::new(info.clone(), None, Some(scope.activator_for(Rc::clone(&info.address))));
        if let Some(logic) = scope.worker().config().get::<ExertionLogic>(EXERTION) {
            spine.set_exert_logic(Arc::clone(logic));
        }
        let (trace, writer) = TraceAgent::new(spine, info.clone(), None);
        let upper = Antichain::from_elem(0);
        (
            RowArranger {
                buffer: Buffer::default(),
                staged: Vec::new(),
                overflowed: false,
                loose: !index,
                writer,
                upper,
            },
            trace,
        )
    }

    /// Takes an update of a time that is not sealed. `hash` is that of the row or, so that it can be looked up by that, of
    /// what it begins with.
    #[inline]
    pub(crate) fn insert(&mut self, hash: u64, row: &[u8], time: Timestamp, diff: Diff) {
        self.buffer.push(order(hash), row, time, diff);
        if self.buffer.entries.len() >= BUFFERED_MAX {
            self.stage();
        }
    }

    /// Takes as many updates of one time, in the order of the rows, as there are diffs, each under the hash of its whole row.
    pub(crate) fn insert_all(
        &mut self,
        rows: &EncodedRows,
        time: Timestamp,
        diffs: impl ExactSizeIterator<Item = Diff>,
    ) {
        self.buffer.push_all(rows, time, diffs);
        if self.buffer.entries.len() >= BUFFERED_MAX {
            self.stage();
        }
    }

    /// Makes a run of what is in the buffer.
    fn stage(&mut self) {
        self.overflowed = true;
        self.staged.extend(self.buffer.take());
        while let [.., before, last] = self.staged.as_slice()
            && before.updates() <= 2 * last.updates()
        {
            let merged = merged(&[before, last]);
            self.staged.truncate(self.staged.len() - 2);
            self.staged.extend(merged);
        }
    }

    /// Everything that is staged, and what is in the buffer, divided: what lies before `upper`, and the rest, which stays.
    fn seal_staged(&mut self, upper: AntichainRef<'_, Timestamp>) -> Option<Run> {
        self.staged.extend(self.buffer.take());
        let all = match self.staged.len() {
            0 | 1 => self.staged.pop(),
            _ => merged(&self.staged.iter().collect::<Vec<_>>()),
        }?;
        self.staged.clear();
        let left = all.rows().flat_map(RowUpdates::stamps).filter(|(time, _)| upper.less_equal(time)).count();
        if left == 0 {
            return Some(all);
        }
        let builder = |updates| RunBuilder::new(updates, all.row_bytes() / all.updates() * updates);
        let (mut closed, mut open) = (builder(all.updates() - left), builder(left));
        let mut stamps: Vec<(Timestamp, Diff)> = Vec::new();
        for row in all.rows() {
            stamps.clear();
            stamps.extend(row.stamps());
            let (before, after) = stamps.split_at(stamps.partition_point(|(time, _)| !upper.less_equal(time)));
            closed.push_all(row.order(), row.bytes(), before);
            open.push_all(row.order(), row.bytes(), after);
        }
        self.staged.extend(open.finish());
        closed.finish()
    }

    /// Whether exactly everything before `upper` is sealed.
    pub(crate) fn is_sealed(&self, upper: AntichainRef<'_, Timestamp>) -> bool {
        self.upper.borrow() == upper
    }

    /// Seals everything before `upper`, which is beyond what was sealed before. An empty `upper` closes the arrangement.
    pub(crate) fn seal(&mut self, upper: AntichainRef<'_, Timestamp>) -> Seal {
        let lower = std::mem::replace(&mut self.upper, upper.to_owned());
        let (run, consolidated) = if self.overflowed {
            let run = self.seal_staged(upper);
            self.overflowed = !self.staged.is_empty();
            (run, None)
        } else {
            let mut consolidated = Consolidated::default();
            (self.buffer.seal(upper, &mut consolidated), Some(consolidated))
        };
        let batch: Option<RowBatch> = run.map(|run| Rc::new(Batch::new(run, self.loose)));
        // Importers receive a batch under the earliest of its times that they still hold.
        let hint = lower.elements().iter().copied().filter(|_| batch.is_some()).collect::<Stamp<Timestamp>>();
        let description = Description::new(lower, self.upper.clone(), Antichain::from_elem(0));
        self.writer.insert(Span::new(description, batch.clone()), hint);
        Seal { batch, consolidated }
    }

    /// Merges a little, even if nothing arrives.
    pub(crate) fn exert(&mut self) {
        self.writer.exert();
    }
}

/// What a seal closes.
pub(crate) struct Seal {
    /// What changes; nothing if that is nothing.
    pub(crate) batch: Option<RowBatch>,
    /// How it differs from what was inserted; `None` if that is not known.
    pub(crate) consolidated: Option<Consolidated>,
}

/// What consolidation has made of updates.
#[derive(Default)]
pub(crate) struct Consolidated {
    /// Updates that are gone, ascending: each by its number among all that were inserted and not sealed before, in the order
    /// of their insertion.
    pub(crate) gone: Vec<u32>,
    /// What has come in their place.
    pub(crate) instead: Vec<(Row, Timestamp, Diff)>,
}

/// Updates in the order of their arrival.
#[derive(Default)]
struct Buffer {
    rows: RowBlock,
    stamps: Vec<(Timestamp, Diff)>,
    /// What is sorted: the order of each update's row, and which update it is.
    entries: Vec<u64>,
    /// What sorting needs besides.
    scratch: Vec<u64>,
}

/// Fewer entries are sorted by comparing them.
const RADIX_MIN: usize = 1 << 9;
/// Bits of a digit, and how many digits the order of a row has.
const DIGIT: u32 = 11;
const DIGITS: u32 = 3;

/// Sorts entries by the orders of their rows; those that share one stay in the order in which they came. Orders are parts of
/// hashes, so that counting their digits is quicker than comparing them (D. Knuth, The Art of Computer Programming, vol. 3,
/// 5.2.5, algorithm R).
fn sort(entries: &mut Vec<u64>, scratch: &mut Vec<u64>) {
    if entries.len() < RADIX_MIN {
        return entries.sort_unstable();
    }
    scratch.clear();
    scratch.resize(entries.len(), 0);
    for digit in 0..DIGITS {
        let of = |entry: u64| (entry >> (32 + digit * DIGIT)) as usize & ((1 << DIGIT) - 1);
        let mut places = [0u32; 1 << DIGIT];
        entries.iter().for_each(|entry| places[of(*entry)] += 1);
        let mut sum = 0;
        for place in &mut places {
            sum += std::mem::replace(place, sum);
        }
        for entry in entries.iter() {
            let place = &mut places[of(*entry)];
            scratch[*place as usize] = *entry;
            *place += 1;
        }
        std::mem::swap(entries, scratch);
    }
}

/// Which update an entry stands for.
#[inline]
fn update(entry: u64) -> usize {
    (entry & 0xffff_ffff) as usize
}

/// The order of an entry's row.
#[inline]
fn entry_order(entry: u64) -> u32 {
    (entry >> 32) as u32
}

impl Buffer {
    #[inline]
    fn push(&mut self, order: u32, row: &[u8], time: Timestamp, diff: Diff) {
        let update = u32::try_from(self.stamps.len()).expect("the buffer is small");
        self.rows.push(row);
        self.stamps.push((time, diff));
        self.entries.push(u64::from(order) << 32 | u64::from(update));
    }

    /// The same with several, under the hashes of their rows.
    fn push_all(&mut self, rows: &EncodedRows, time: Timestamp, diffs: impl ExactSizeIterator<Item = Diff>) {
        let (first, count) = (self.stamps.len(), diffs.len());
        u32::try_from(first + count).expect("the buffer is small");
        self.rows.extend(rows, count);
        self.stamps.extend(diffs.map(|diff| (time, diff)));
        let entry = |index: usize| u64::from(order(hash_bytes(rows.get(index)))) << 32 | (first + index) as u64;
        self.entries.extend((0..count).map(entry));
    }

    /// Takes everything before `upper`, consolidated, as a run; nothing if that is nothing. What stays keeps its order.
    fn seal(&mut self, upper: AntichainRef<'_, Timestamp>, consolidated: &mut Consolidated) -> Option<Run> {
        if self.entries.is_empty() {
            return None;
        }
        let mut left = Buffer::default();
        let Buffer { rows, stamps, entries, .. } = self;
        entries.retain(|entry| {
            let (time, diff) = stamps[update(*entry)];
            let later = upper.less_equal(&time);
            if later {
                left.push(entry_order(*entry), rows.get(update(*entry)), time, diff);
            }
            !later
        });
        let run = self.build(consolidated);
        match left.entries.is_empty() {
            // The usual case: the memory serves the next tick.
            true => self.clear(),
            false => *self = left,
        }
        run
    }

    /// Takes everything as a run.
    fn take(&mut self) -> Option<Run> {
        let run = self.build(&mut Consolidated::default());
        self.clear();
        run
    }

    /// A run of the updates that have entries; equal rows are added up.
    fn build(&mut self, consolidated: &mut Consolidated) -> Option<Run> {
        let Buffer { rows, stamps, entries, scratch } = self;
        sort(entries, scratch);
        let row = |entry: &u64| rows.get(update(*entry));
        let mut builder = RunBuilder::new(entries.len(), rows.byte_len());
        let (mut first, mut equal_stamps) = (0, Vec::new());
        while first < entries.len() {
            if let Some(ahead) = entries.get(first + PLACE_AHEAD) {
                rows.warm_place(update(*ahead));
                prefetch_index(&*stamps, update(*ahead));
            }
            if let Some(ahead) = entries.get(first + ROW_AHEAD) {
                rows.warm(update(*ahead));
            }
            let (entry, order) = (entries[first], entry_order(entries[first]));
            let stamp = stamps[update(entry)];
            let alone = entries.get(first + 1).is_none_or(|next| entry_order(*next) != order);
            if alone && stamp.1 != 0 {
                builder.push(order, row(&entry), stamp);
                first += 1;
                continue;
            }
            let same_order = entries[first..].partition_point(|next| entry_order(*next) == order);
            let same_order = &mut entries[first..first + same_order];
            same_order.sort_unstable_by(|a, b| row(a).cmp(row(b)));
            for equal in same_order.chunk_by(|a, b| row(a) == row(b)) {
                equal_stamps.clear();
                equal_stamps.extend(equal.iter().map(|entry| stamps[update(*entry)]));
                consolidate(&mut equal_stamps);
                builder.push_all(order, row(&equal[0]), &equal_stamps);
                if equal_stamps.len() < equal.len() {
                    consolidated.gone.extend(equal.iter().map(|entry| (entry & 0xffff_ffff) as u32));
                    let instead = equal_stamps.iter().map(|(time, diff)| (Row::new(row(&equal[0])), *time, *diff));
                    consolidated.instead.extend(instead);
                }
            }
            first += same_order.len();
        }
        consolidated.gone.sort_unstable();
        builder.finish()
    }

    /// Forgets all updates, and keeps memory for as many.
    fn clear(&mut self) {
        let (updates, bytes) = (self.stamps.len(), self.rows.byte_len());
        self.rows.clear();
        self.stamps.clear();
        self.entries.clear();
        if self.stamps.capacity() > ROOM_MIN.max(updates * USED_PART_MIN) {
            self.rows.shrink_to(updates, bytes);
            self.stamps.shrink_to(updates);
            self.entries.shrink_to(updates);
            self.scratch.clear();
            self.scratch.shrink_to(updates);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use differential_dataflow::trace::implementations::spine_fueled::SpineBatch;
    use timely::container::CapacityContainerBuilder;
    use timely::dataflow::operators::generic::operator::source;

    use super::super::for_each_update;
    use super::*;

    /// What a batch holds, by row and time.
    fn updates(batch: Option<RowBatch>) -> Vec<((Vec<u8>, Timestamp), Diff)> {
        let mut seen = Vec::new();
        if let Some(batch) = batch {
            for_each_update(&batch, |row, time, diff| seen.push(((row.to_vec(), time), diff)));
            assert_eq!(seen.len(), batch.len());
        }
        seen.sort();
        seen
    }

    #[test]
    fn what_outgrows_the_buffer_is_sealed_with_what_does_not() {
        timely::execute_directly(|worker| {
            worker.dataflow::<Timestamp, _, _>(|scope| {
                source::<_, CapacityContainerBuilder<Vec<()>>, _, _>(scope, "Arranger", |_, info| {
                    let (mut arranger, _trace) = RowArranger::new(&scope, &info, false);
                    let mut random = ChaCha8Rng::seed_from_u64(8);
                    let mut plain: BTreeMap<(Vec<u8>, Timestamp), Diff> = BTreeMap::new();
                    // Too many at first; few beside what stayed staged; nothing that stays; few alone.
                    for (upper, count, later) in
                        [(2, 3 * BUFFERED_MAX + 7, 1), (3, 100, 1), (4, 100, 0), (5, 100, 1), (6, 100, 0)]
                    {
                        for _ in 0..count {
                            let row = random.random_range(0..60_000_u64).to_be_bytes();
                            let (time, diff) =
                                (upper - 1 + random.random_range(0..=later), random.random_range(-1..=2));
                            arranger.insert(hash_bytes(&row), &row, time, diff);
                            *plain.entry((row.to_vec(), time)).or_default() += diff;
                        }
                        assert!(!arranger.is_sealed(AntichainRef::new(&[upper])));
                        let closed = plain.extract_if(.., |(_, time), _| *time < upper);
                        let expected: Vec<_> = closed.filter(|(_, diff)| *diff != 0).collect();
                        assert!(
                            updates(arranger.seal(AntichainRef::new(&[upper])).batch) == expected,
                            "sealed to {upper}"
                        );
                        assert!(arranger.is_sealed(AntichainRef::new(&[upper])));
                        assert_eq!(arranger.overflowed, upper < 4);
                    }
                    |_| {}
                });
            });
        });
    }

    #[test]
    fn entries_are_sorted_by_their_digits() {
        let mut random = ChaCha8Rng::seed_from_u64(9);
        for count in [0, 1, RADIX_MIN - 1, RADIX_MIN, 10_000] {
            let entry = |update: usize, order: u32| u64::from(order) << 32 | update as u64;
            let mut entries: Vec<u64> = (0..count).map(|update| entry(update, random.random())).collect();
            entries.extend((count..count + 100).map(|update| entry(update, u32::MAX)));
            let mut expected = entries.clone();
            expected.sort();
            sort(&mut entries, &mut Vec::new());
            assert_eq!(entries, expected);
        }
    }

    #[test]
    fn a_sealed_buffer_equals_a_map_and_keeps_what_comes_later() {
        let mut random = ChaCha8Rng::seed_from_u64(7);
        for _ in 0..200 {
            let mut buffer = Buffer::default();
            let mut plain: BTreeMap<(Vec<u8>, Timestamp), Diff> = BTreeMap::new();
            // What was inserted and is not sealed, by number.
            let mut inserted: Vec<((Vec<u8>, Timestamp), Diff)> = Vec::new();
            let mut lower = 0;
            for _ in 0..6 {
                for _ in 0..random.random_range(0..60) {
                    // Rows that differ late, or only by their length, or in zeros.
                    let mut row = vec![random.random_range(0..2u8) * 9; random.random_range(1..20)];
                    if random.random_bool(0.3) {
                        row.push(random.random_range(0..3));
                    }
                    let (time, diff) = (lower + random.random_range(0..5), random.random_range(-1..=1));
                    // Few orders, so that different rows share them.
                    buffer.push(order(hash_bytes(&row)) % 16, &row, time, diff);
                    inserted.push(((row.clone(), time), diff));
                    *plain.entry((row, time)).or_default() += diff;
                }
                let upper = lower + random.random_range(1..4);
                let mut consolidated = Consolidated::default();
                let seen = updates(
                    buffer
                        .seal(AntichainRef::new(&[upper]), &mut consolidated)
                        .map(|run| Rc::new(Batch::new(run, false))),
                );
                let (closed, open): (BTreeMap<_, _>, BTreeMap<_, _>) =
                    plain.into_iter().partition(|((_, time), _)| *time < upper);
                plain = open;
                let expected: Vec<_> = closed.into_iter().filter(|(_, diff)| *diff != 0).collect();
                assert_eq!(seen, expected);

                let Consolidated { gone, instead } = consolidated;
                let stays = |number: &u32| gone.binary_search(number).is_err();
                let numbered = (0..).zip(&inserted).filter(|(number, _)| stays(number)).map(|(_, update)| update);
                let instead = instead.into_iter().map(|(row, time, diff)| ((row.bytes().to_vec(), time), diff));
                let mut told: Vec<_> =
                    numbered.filter(|((_, time), _)| *time < upper).cloned().chain(instead).collect();
                told.sort();
                assert_eq!(told, expected);
                inserted.retain(|((_, time), _)| *time >= upper);
                lower = upper;
            }
        }
    }
}
