//! Upsert: records that replace each other by key become a collection with one row a key.
//!
//! Two operators. The first addresses each record to the owner of its key. The second keeps the last record of each key
//! in a private table; when a time is complete, it emits −old +new of every key whose row has changed. Several changes of
//! a key within one time come to one.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{Int64Type, SchemaRef};
use serde::{Deserialize, Serialize};
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

use super::import::{CHUNK_ROWS, codec_for, decode_chunk};
use super::keyed::{Addressed, by_worker};
use super::meter::Holds;
use super::pending::Pending;
use super::{ChunkStream, Chunks, Context};
use crate::figures::Held;
use crate::repr::{Chunk, Delta, Diff, Diffs, RowBlock, RowCodec, Timestamp, hash_bytes, owner};
use crate::state::{Change, UpsertTable};

/// The last record of each key; see [`crate::plan::Op::Upsert`].
pub(super) fn upsert<'scope>(
    chunks: Chunks<'scope>,
    input_schema: &SchemaRef,
    (keys, order): (&[usize], Option<usize>),
    schema: &SchemaRef,
    context: &Context<'_>,
) -> ChunkStream<'scope> {
    let keyer = Keyer::new(input_schema, keys, order, schema, context.peers);
    apply(key_records(chunks, keyer, context), order.is_some(), schema.clone(), context)
}

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Kind {
    Row,
    Tombstone,
    LooseTombstone,
}

/// Records of one time whose keys one worker owns.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Records {
    worker: u64,
    time: Timestamp,
    keys: RowBlock,
    hashes: Vec<u64>,
    sequences: Vec<u64>,
    kinds: Vec<Kind>,
    /// Empty where only the sequence decides.
    orders: RowBlock,
    /// Empty rows of tombstones.
    rows: RowBlock,
}

impl Addressed for Records {
    fn worker(&self) -> u64 {
        self.worker
    }
}

impl Records {
    fn change(&self, index: usize) -> Change<'_> {
        let order = if self.orders.is_empty() { &[][..] } else { self.orders.get(index) };
        match self.kinds[index] {
            Kind::Row => Change::Row { order, row: self.rows.get(index) },
            Kind::Tombstone => Change::Tombstone { order },
            Kind::LooseTombstone => Change::LooseTombstone,
        }
    }
}

/// Turns rows into records by key.
struct Keyer {
    keys: Vec<usize>,
    key_codec: RowCodec,
    order: Option<(usize, RowCodec)>,
    /// How many columns leave; behind them stand the flag and the sequence.
    width: usize,
    row_codec: RowCodec,
    peers: usize,
}

impl Keyer {
    fn new(input: &SchemaRef, keys: &[usize], order: Option<usize>, schema: &SchemaRef, peers: usize) -> Keyer {
        let codec = |columns: &[usize]| {
            RowCodec::new(columns.iter().map(|column| input.field(*column).data_type()))
                .unwrap_or_else(|error| panic!("a planned key cannot be encoded: {error}"))
        };
        Keyer {
            key_codec: codec(keys),
            keys: keys.to_vec(),
            order: order.map(|column| (column, codec(&[column]))),
            width: schema.fields().len(),
            row_codec: codec_for(schema),
            peers,
        }
    }

    /// The records of a chunk, one block a worker that gets any.
    fn run(&self, time: Timestamp, delta: &Delta) -> Vec<Records> {
        assert!(matches!(delta.diffs, Diffs::Ones), "records are only added");
        let all = delta.rows.columns();
        let (columns, beside) = all.split_at(self.width);
        let (tombstones, sequences) = (beside[0].as_boolean(), beside[1].as_primitive::<Int64Type>());
        let encode = |codec: &RowCodec, columns: &[ArrayRef]| codec.encode(columns).expect("rows have planned types");
        let keys: Vec<ArrayRef> = self.keys.iter().map(|column| columns[*column].clone()).collect();
        let keys = encode(&self.key_codec, &keys);
        let rows = encode(&self.row_codec, columns);
        let orders = self.order.as_ref().map(|(column, codec)| {
            let column = &all[*column];
            (column, encode(codec, std::slice::from_ref(column)))
        });
        let mut out: Vec<Records> =
            (0..self.peers as u64).map(|worker| Records { worker, time, ..Records::default() }).collect();
        for index in 0..delta.len() {
            let key = keys.get(index);
            let hash = hash_bytes(key);
            let records = &mut out[owner(hash, self.peers)];
            records.keys.push(key);
            records.hashes.push(hash);
            records.sequences.push(u64::try_from(sequences.value(index)).expect("sequences are above 0"));
            let deleted = tombstones.value(index);
            records.rows.push(if deleted { &[] } else { rows.get(index) });
            let mut loose = false;
            if let Some((column, orders)) = &orders {
                loose = column.is_null(index);
                records.orders.push(orders.get(index));
            }
            records.kinds.push(match (deleted, loose) {
                (false, _) => Kind::Row,
                (true, false) => Kind::Tombstone,
                (true, true) => Kind::LooseTombstone,
            });
        }
        out.retain(|records| !records.hashes.is_empty());
        out
    }
}

fn key_records<'scope>(
    Chunks { stream, steps }: Chunks<'scope>,
    keyer: Keyer,
    context: &Context<'_>,
) -> Stream<'scope, Timestamp, Vec<Records>> {
    let meter = context.meter.clone();
    stream.unary(Pipeline, "Key records", move |_, _| {
        move |input, output| {
            let _busy = meter.enter();
            input.for_each(|capability, chunks| {
                let mut session = output.session(&capability);
                for Chunk { time, delta } in chunks.drain(..).filter_map(|chunk| steps.run(chunk)) {
                    session.give_iterator(keyer.run(time, &delta).into_iter());
                }
            });
        }
    })
}

fn apply<'scope>(
    stream: Stream<'scope, Timestamp, Vec<Records>>,
    ordered: bool,
    schema: SchemaRef,
    context: &Context<'_>,
) -> ChunkStream<'scope> {
    let codec = codec_for(&schema);
    let meter = context.meter.clone();
    let table = meter.holds(UpsertTable::new(ordered));
    stream.unary_frontier(by_worker(), "Upsert", move |_, _| {
        let mut pending: Pending<Records> = Pending::default();
        let (mut rows, mut diffs): (RowBlock, Vec<Diff>) = Default::default();
        move |(input, frontier), output| {
            let _busy = meter.enter();
            let mut table = table.borrow_mut();
            input.for_each(|capability, blocks| {
                blocks.drain(..).for_each(|records| pending.insert(&capability, records.time, records));
            });
            while let Some((time, capability, blocks)) = pending.pop_complete(&[frontier]) {
                blocks.iter().for_each(|records| take(&mut table, records));
                let mut session = output.session(&capability);
                let mut flush = |rows: &mut RowBlock, diffs: &mut Vec<Diff>| {
                    let chunk = decode_chunk(time, rows, diffs, &codec, &schema);
                    meter.count(&chunk);
                    session.give(chunk);
                    rows.clear();
                    diffs.clear();
                };
                table.finish_time(|row, diff| {
                    rows.push(row);
                    diffs.push(diff);
                    if rows.len() >= CHUNK_ROWS {
                        flush(&mut rows, &mut diffs);
                    }
                });
                if !rows.is_empty() {
                    flush(&mut rows, &mut diffs);
                }
            }
            // No earlier time can come: what has arrived of the open one goes into the table at once, so that a
            // hydration, all of whose records share one time, holds no second copy.
            if let Some((_, blocks)) = pending.take_earliest(frontier) {
                blocks.iter().for_each(|records| take(&mut table, records));
            }
        }
    })
}

impl Holds for UpsertTable {
    fn held(&self) -> Held {
        UpsertTable::held(self)
    }
}

fn take(table: &mut UpsertTable, records: &Records) {
    /// How far ahead the index, then the entry, are brought into the cache.
    const INDEX_AHEAD: usize = 16;
    const ENTRY_AHEAD: usize = 8;
    for (index, hash) in records.hashes.iter().enumerate() {
        for (ahead, near) in [(INDEX_AHEAD, false), (ENTRY_AHEAD, true)] {
            if let Some(next) = records.hashes.get(index + ahead) {
                table.warm(*next, near);
            }
        }
        table.apply(*hash, records.keys.get(index), records.sequences[index], records.change(index));
    }
}
