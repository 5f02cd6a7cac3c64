//! Joins over private tables: one table of rows by key a side.
//!
//! Both inputs are brought to the worker that owns their key and wait until a time is complete. Then, time after time in
//! order: the left changes meet the right rows of before, and the right changes meet the left rows of now.

mod pairs;
mod semi;

use arrow::datatypes::SchemaRef;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

use super::import::codec_for;
use super::keyed::{KeyedRows, blocks, by_worker};
use super::pending::Pending;
use super::{ChunkStream, Chunks, Context};
use crate::expr::{ScalarExpr, evaluate};
use crate::plan::JoinKind;
use crate::repr::{Chunk, RowCodec, Timestamp, any_null, hash_bytes, owner};
use crate::state::Multimap;
use pairs::PairBuilder;

/// One input of a join.
pub(super) struct Side<'scope, 'a> {
    pub(super) chunks: Chunks<'scope>,
    pub(super) schema: SchemaRef,
    pub(super) keys: &'a [ScalarExpr],
}

/// What is joined and how.
pub(super) struct Shape<'a> {
    pub(super) kind: JoinKind,
    pub(super) null_equals_null: bool,
    pub(super) filter: Option<&'a ScalarExpr>,
}

/// A change of one side.
enum Change {
    Left(KeyedRows),
    Right(KeyedRows),
}

/// Joins two streams.
pub(super) fn join<'scope>(
    left: Side<'scope, '_>,
    right: Side<'scope, '_>,
    shape: Shape<'_>,
    schema: &SchemaRef,
    context: &Context<'_>,
) -> ChunkStream<'scope> {
    let (left_schema, right_schema) = (left.schema.clone(), right.schema.clone());
    // A semi join asks only whether there is a partner: the right rows themselves stay where they are.
    let whole = shape.kind == JoinKind::Inner;
    let left = key_rows(left, shape.null_equals_null, true, context);
    let right = key_rows(right, shape.null_equals_null, whole, context);
    match shape.kind {
        JoinKind::Inner => {
            let filter = shape.filter.cloned();
            let position = context.position("join");
            let pairs = PairBuilder::new(&left_schema, &right_schema, schema, filter, position, context.errors.clone());
            inner(left, right, pairs)
        }
        JoinKind::LeftSemi => semi::semi(left, right, codec_for(schema), schema.clone()),
    }
}

/// Evaluates a side's keys and addresses its rows (or only their count, if not `whole`) to the owners of the keys.
fn key_rows<'scope>(
    side: Side<'scope, '_>,
    null_keys_join: bool,
    whole: bool,
    context: &Context<'_>,
) -> Stream<'scope, Timestamp, Vec<KeyedRows>> {
    let keys: Vec<ScalarExpr> = side.keys.iter().map(|key| key.prepared(&side.schema)).collect();
    let key_codec = RowCodec::new(keys.iter().map(|key| &key.data_type)).unwrap_or_else(|error| panic!("{error}"));
    let row_codec = codec_for(&side.schema);
    let (errors, position, peers) = (context.errors.clone(), context.position("join key"), context.peers);
    let Chunks { stream, steps } = side.chunks;
    stream.unary(Pipeline, "Key rows", move |_, _| {
        move |input, output| {
            input.for_each(|capability, chunks| {
                let mut session = output.session(&capability);
                for Chunk { time, delta } in chunks.drain(..).filter_map(|chunk| steps.run(chunk)) {
                    let evaluated = evaluate(&keys, delta, &position);
                    errors.extend(time, evaluated.errors);
                    let key_rows = key_codec.encode(&evaluated.columns).expect("keys have their planned types");
                    let rows = whole
                        .then(|| row_codec.encode(evaluated.delta.rows.columns()).expect("rows have planned types"));
                    let mut out = blocks(peers, time);
                    for index in 0..evaluated.delta.len() {
                        if !null_keys_join && any_null(&evaluated.columns, index) {
                            continue;
                        }
                        let key = key_rows.get(index);
                        let row = rows.as_ref().map_or(&[][..], |rows| rows.get(index));
                        let hash = hash_bytes(key);
                        out[owner(hash, peers)].push(hash, key, row, evaluated.delta.diffs.get(index));
                    }
                    session.give_iterator(out.into_iter().filter(|block| block.len() > 0));
                }
            });
        }
    })
}

/// Every pair of rows with equal keys.
fn inner<'scope>(
    left: Stream<'scope, Timestamp, Vec<KeyedRows>>,
    right: Stream<'scope, Timestamp, Vec<KeyedRows>>,
    mut pairs: PairBuilder,
) -> ChunkStream<'scope> {
    let (mut left_rows, mut right_rows) = (Multimap::default(), Multimap::default());
    left.binary_frontier(right, by_worker(), by_worker(), "Join", move |_, _| {
        let mut pending: Pending<Change> = Pending::default();
        move |(left, left_frontier), (right, right_frontier), output| {
            left.for_each(|capability, blocks| {
                blocks.drain(..).for_each(|rows| pending.insert(&capability, rows.time, Change::Left(rows)));
            });
            right.for_each(|capability, blocks| {
                blocks.drain(..).for_each(|rows| pending.insert(&capability, rows.time, Change::Right(rows)));
            });
            while let Some((time, capability, changes)) = pending.pop_complete(&[left_frontier, right_frontier]) {
                let mut session = output.session(&capability);
                let mut give = |chunk: Option<Chunk>| chunk.into_iter().for_each(|chunk| session.give(chunk));
                for change in &changes {
                    let Change::Left(rows) = change else { continue };
                    rows.for_each(|hash, key, row, diff| {
                        right_rows
                            .for_each(hash, key, |partner, count| give(pairs.push(time, row, partner, diff * count)));
                    });
                }
                for change in &changes {
                    let Change::Left(rows) = change else { continue };
                    rows.for_each(|hash, key, row, diff| left_rows.add(hash, key, row, diff));
                }
                for change in &changes {
                    let Change::Right(rows) = change else { continue };
                    rows.for_each(|hash, key, row, diff| {
                        left_rows
                            .for_each(hash, key, |partner, count| give(pairs.push(time, partner, row, diff * count)));
                    });
                }
                for change in &changes {
                    let Change::Right(rows) = change else { continue };
                    rows.for_each(|hash, key, row, diff| right_rows.add(hash, key, row, diff));
                }
                give(pairs.flush(time));
            }
        }
    })
}
