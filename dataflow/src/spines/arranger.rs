//! The writing end of an arrangement.
//!
//! Ticks are small: their rows lie back to back in one buffer, and an index of them is sorted, by the first sixteen bytes
//! as one number where that decides. Only what outgrows the buffer, a hydration, goes through differential's batcher,
//! which sorts as it goes but owns every row by itself.

use std::rc::Rc;
use std::sync::Arc;

use differential_dataflow::batcher::{Batcher, Extract};
use differential_dataflow::operators::arrange::{TraceAgent, TraceWriter};
use differential_dataflow::trace::implementations::BatchContainer;
use differential_dataflow::trace::implementations::ord_neu::OrdKeyBatch;
use differential_dataflow::trace::implementations::ord_neu::key_batch::OrdKeyStorage;
use differential_dataflow::trace::implementations::ord_neu::layers::Upds;
use differential_dataflow::trace::{Description, ExertionLogic, Span, Trace};
use timely::dataflow::Scope;
use timely::dataflow::operators::generic::OperatorInfo;
use timely::progress::frontier::AntichainRef;
use timely::progress::{Antichain, Stamp};

use super::{Arena, EXERTION, Layout, RowBatch, RowBatcher, RowSpine, RowTrace, RowUpdate, UpdatesBuilder};
use crate::repr::{Diff, Row, RowBlock, Timestamp};

/// Updates that the buffer holds: what several large ticks bring that are closed together. Sorting as many takes ten
/// milliseconds, and the batcher would take twice the time.
const BUFFERED_MAX: usize = 1 << 17;
/// A buffer that had room for more gives its memory back once it is empty.
const KEPT_MAX: usize = 1 << 15;

/// The writing end of an arrangement of the row updates that this worker has: equal rows may lie on several workers.
pub(crate) struct RowArranger {
    buffer: Buffer,
    /// Where updates go that the buffer has no room for.
    batcher: RowBatcher,
    /// The batcher holds updates.
    overflowed: bool,
    writer: TraceWriter<RowSpine>,
    /// Everything before it is sealed.
    upper: Antichain<Timestamp>,
}

impl RowArranger {
    /// An empty arrangement filled by the operator `info`, which is activated when merges are to go on.
    pub(crate) fn new(scope: &Scope<'_, Timestamp>, info: &OperatorInfo) -> (RowArranger, RowTrace) {
        let mut spine = RowSpine::new(info.clone(), None, Some(scope.activator_for(Rc::clone(&info.address))));
        if let Some(logic) = scope.worker().config().get::<ExertionLogic>(EXERTION) {
            spine.set_exert_logic(Arc::clone(logic));
        }
        let (trace, writer) = TraceAgent::new(spine, info.clone(), None);
        let batcher = RowBatcher::new(None, info.global_id);
        let upper = Antichain::from_elem(0);
        (RowArranger { buffer: Buffer::default(), batcher, overflowed: false, writer, upper }, trace)
    }

    /// Takes an update of a time that is not sealed.
    #[inline]
    pub(crate) fn insert(&mut self, row: &[u8], time: Timestamp, diff: Diff) {
        self.buffer.push(row, time, diff);
        if self.buffer.entries.len() >= BUFFERED_MAX {
            self.overflow();
        }
    }

    fn overflow(&mut self) {
        self.overflowed = true;
        self.batcher.insert(&mut self.buffer.take_owned());
    }

    /// Whether exactly everything before `upper` is sealed.
    pub(crate) fn is_sealed(&self, upper: AntichainRef<'_, Timestamp>) -> bool {
        self.upper.borrow() == upper
    }

    /// Seals everything before `upper`, which is beyond what was sealed before, and returns what changes there. An empty
    /// `upper` closes the arrangement.
    pub(crate) fn seal(&mut self, upper: AntichainRef<'_, Timestamp>) -> Option<RowBatch> {
        let lower = std::mem::replace(&mut self.upper, upper.to_owned());
        let batch = if self.overflowed {
            self.overflow();
            let (batch, left) = self.batcher.extract(upper);
            self.overflowed = !left.is_empty();
            batch
        } else {
            self.buffer.seal(upper)
        };
        let batch: Option<RowBatch> = batch.map(Rc::new);
        // Importers receive a batch under the earliest of its times that they still hold.
        let hint = lower.elements().iter().copied().filter(|_| batch.is_some()).collect::<Stamp<Timestamp>>();
        let description = Description::new(lower, self.upper.clone(), Antichain::from_elem(0));
        self.writer.insert(Span::new(description, batch.clone()), hint);
        batch
    }

    /// Merges a little, even if nothing arrives.
    pub(crate) fn exert(&mut self) {
        self.writer.exert();
    }
}

/// What is sorted of an update of the buffer.
struct Entry {
    /// The first bytes of the row as a number: orders rows as their bytes do, where it differs.
    prefix: u128,
    /// Which update it is.
    update: u32,
}

/// Updates in the order of their arrival.
#[derive(Default)]
struct Buffer {
    rows: RowBlock,
    stamps: Vec<(Timestamp, Diff)>,
    entries: Vec<Entry>,
}

impl Buffer {
    #[inline]
    fn push(&mut self, row: &[u8], time: Timestamp, diff: Diff) {
        let update = u32::try_from(self.stamps.len()).expect("the buffer is small");
        self.rows.push(row);
        self.stamps.push((time, diff));
        self.entries.push(Entry { prefix: prefix(row), update });
    }

    /// Takes everything before `upper`, consolidated, as a batch; nothing if that is nothing.
    fn seal(&mut self, upper: AntichainRef<'_, Timestamp>) -> Option<OrdKeyBatch<Layout>> {
        if self.entries.is_empty() {
            return None;
        }
        let mut closing = std::mem::take(self);
        let Buffer { rows, stamps, entries } = &mut closing;
        entries.retain(|entry| {
            let (time, diff) = stamps[entry.update as usize];
            let later = upper.less_equal(&time);
            if later {
                self.push(rows.get(entry.update as usize), time, diff);
            }
            !later
        });
        let bytes = |entry: &Entry| rows.get(entry.update as usize);
        entries.sort_unstable_by(|a, b| a.prefix.cmp(&b.prefix).then_with(|| bytes(a).cmp(bytes(b))));
        let batch = closing.build();
        if self.entries.is_empty() && closing.entries.capacity() <= KEPT_MAX {
            // The usual case: nothing is left, and the memory serves the next tick.
            closing.clear();
            *self = closing;
        }
        batch
    }

    /// A batch of the updates, whose entries are sorted; equal rows are added up.
    fn build(&self) -> Option<OrdKeyBatch<Layout>> {
        let bytes = |entry: &Entry| self.rows.get(entry.update as usize);
        let mut storage: OrdKeyStorage<Layout> = OrdKeyStorage {
            keys: Arena::with_offsets(self.entries.len(), self.rows.byte_len()),
            upds: Upds::with_capacity(self.entries.len() + 1, self.entries.len()),
        };
        let mut staging = UpdatesBuilder::default();
        for equal in self.entries.chunk_by(|a, b| a.prefix == b.prefix && bytes(a) == bytes(b)) {
            for entry in equal {
                let (time, diff) = self.stamps[entry.update as usize];
                staging.push(time, diff);
            }
            if staging.seal(&mut storage.upds) {
                storage.keys.push_ref(bytes(&equal[0]));
            }
        }
        let updates = staging.total();
        (updates > 0).then(|| OrdKeyBatch { storage, updates, value: OrdKeyBatch::<Layout>::create_value() })
    }

    /// Takes everything, each row by itself.
    fn take_owned(&mut self) -> Vec<RowUpdate> {
        let rows = self.rows.iter().zip(&self.stamps);
        let updates = rows.map(|(row, (time, diff))| ((Row::new(row), ()), *time, *diff)).collect();
        self.clear();
        updates
    }

    /// Forgets all updates, keeps the memory.
    fn clear(&mut self) {
        self.rows.clear();
        self.stamps.clear();
        self.entries.clear();
    }
}

/// The first sixteen bytes of a row as a number, zeros behind a shorter one.
#[inline]
fn prefix(row: &[u8]) -> u128 {
    let mut first = [0; 16];
    let length = row.len().min(16);
    first[..length].copy_from_slice(&row[..length]);
    u128::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use timely::container::CapacityContainerBuilder;
    use timely::dataflow::operators::generic::operator::source;

    use super::super::for_each_update;
    use super::*;

    /// What a batch holds, in its order.
    fn updates(batch: Option<RowBatch>) -> Vec<((Vec<u8>, Timestamp), Diff)> {
        let mut seen = Vec::new();
        if let Some(batch) = batch {
            for_each_update(batch, |row, time, diff| seen.push(((row.to_vec(), time), diff)));
        }
        seen
    }

    #[test]
    fn what_outgrows_the_buffer_is_sealed_with_what_does_not() {
        timely::execute_directly(|worker| {
            worker.dataflow::<Timestamp, _, _>(|scope| {
                source::<_, CapacityContainerBuilder<Vec<()>>, _, _>(scope, "Arranger", |_, info| {
                    let (mut arranger, _trace) = RowArranger::new(&scope, &info);
                    let mut random = ChaCha8Rng::seed_from_u64(8);
                    let mut plain: BTreeMap<(Vec<u8>, Timestamp), Diff> = BTreeMap::new();
                    // Too many at first; few beside what stayed in the batcher; nothing that stays; few alone.
                    for (upper, count, later) in
                        [(2, 3 * BUFFERED_MAX + 7, 1), (3, 100, 1), (4, 100, 0), (5, 100, 1), (6, 100, 0)]
                    {
                        for _ in 0..count {
                            let row = random.random_range(0..60_000_u64).to_be_bytes();
                            let (time, diff) =
                                (upper - 1 + random.random_range(0..=later), random.random_range(-1..=2));
                            arranger.insert(&row, time, diff);
                            *plain.entry((row.to_vec(), time)).or_default() += diff;
                        }
                        assert!(!arranger.is_sealed(AntichainRef::new(&[upper])));
                        let closed = plain.extract_if(.., |(_, time), _| *time < upper);
                        let expected: Vec<_> = closed.filter(|(_, diff)| *diff != 0).collect();
                        assert!(updates(arranger.seal(AntichainRef::new(&[upper]))) == expected, "sealed to {upper}");
                        assert!(arranger.is_sealed(AntichainRef::new(&[upper])));
                        assert_eq!(arranger.overflowed, upper < 4);
                    }
                    |_| {}
                });
            });
        });
    }

    #[test]
    fn a_sealed_buffer_equals_a_map_and_keeps_what_comes_later() {
        let mut random = ChaCha8Rng::seed_from_u64(7);
        for _ in 0..200 {
            let mut buffer = Buffer::default();
            let mut plain: BTreeMap<(Vec<u8>, Timestamp), Diff> = BTreeMap::new();
            let mut lower = 0;
            for _ in 0..6 {
                for _ in 0..random.random_range(0..60) {
                    // Rows that differ late, or only by their length, or in zeros.
                    let mut row = vec![random.random_range(0..2u8) * 9; random.random_range(0..20)];
                    if random.random_bool(0.3) {
                        row.push(random.random_range(0..3));
                    }
                    let (time, diff) = (lower + random.random_range(0..5), random.random_range(-1..=1));
                    buffer.push(&row, time, diff);
                    *plain.entry((row, time)).or_default() += diff;
                }
                let upper = lower + random.random_range(1..4);
                let seen = updates(buffer.seal(AntichainRef::new(&[upper])).map(Rc::new));
                let later = plain.split_off(&(Vec::new(), 0));
                let (closed, open): (BTreeMap<_, _>, BTreeMap<_, _>) =
                    later.into_iter().partition(|((_, time), _)| *time < upper);
                plain = open;
                let expected: Vec<_> = closed.into_iter().filter(|(_, diff)| *diff != 0).collect();
                assert_eq!(seen, expected);
                lower = upper;
            }
        }
    }
}
