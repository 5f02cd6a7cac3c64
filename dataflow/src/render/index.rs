//! Indexes, both ends: a collection is kept on the workers that own its keys, each row beginning with its key; and a join
//! of another dataflow looks rows up there, instead of in a table of its own.

use std::collections::BTreeMap;

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::{Scope, Stream};

use super::import::{CHUNK_ROWS, codec_for};
use super::keyed::{KeyedRows, blocks};
use super::meter::Meter;
use super::{Chunks, Context};
use crate::repr::{CollectionId, Diff, RowBlock, RowCodec, Timestamp, hash_bytes, owner};
use crate::spines::{ImportedStream, RowTrace, for_each_imported, import_rows};

/// A codec for the first `key` columns of a schema, whose bytes are what its rows begin with.
fn key_codec(schema: &SchemaRef, key: usize) -> RowCodec {
    RowCodec::new(schema.fields().iter().take(key).map(|field| field.data_type()))
        .unwrap_or_else(|error| panic!("a planned schema cannot be encoded as rows: {error}"))
}

/// Whole rows on their way to the workers that own their first `key` columns.
pub(super) fn spread<'scope>(
    Chunks { stream, steps }: Chunks<'scope>,
    (schema, key): (&SchemaRef, usize),
    context: &Context<'_>,
) -> Stream<'scope, Timestamp, Vec<KeyedRows>> {
    let (codec, key_codec, peers) = (codec_for(schema), key_codec(schema, key), context.peers);
    let meter = context.meter.clone();
    stream.unary(Pipeline, "Spread", move |_, _| {
        move |input, output| {
            let _busy = meter.enter();
            input.for_each(|capability, chunks| {
                let mut session = output.session(&capability);
                for chunk in chunks.drain(..).filter_map(|chunk| steps.run(chunk)) {
                    let columns = chunk.delta.rows.columns();
                    let rows = codec.encode(columns).expect("a chunk has the planned types");
                    let keys = key_codec.encode(&columns[..key]).expect("a chunk has the planned types");
                    let mut out = blocks(peers, chunk.time, chunk.delta.len(), (0, rows.usual_len()));
                    for index in 0..chunk.delta.len() {
                        let hash = hash_bytes(keys.get(index));
                        out[owner(hash, peers)].push(hash, &[], rows.get(index), chunk.delta.diffs.get(index));
                    }
                    meter.count(&chunk);
                    session.give_iterator(out.into_iter().filter(|block| block.len() > 0));
                }
            });
        }
    })
}

/// An index of another dataflow.
#[derive(Clone)]
pub(super) struct Indexed<'scope> {
    stream: ImportedStream<'scope>,
    pub(super) trace: RowTrace,
    /// All columns of the index.
    pub(super) schema: SchemaRef,
    /// How many of them are its key.
    key: usize,
}

/// Imports an index.
pub(super) fn import<'scope>(
    scope: Scope<'scope, Timestamp>,
    collection: CollectionId,
    (schema, key): (&SchemaRef, usize),
    context: &mut Context<'_>,
) -> Indexed<'scope> {
    let flow = context.flows.get(&collection).expect("the control plane creates an index before its importers");
    let (stream, token) = import_rows(&flow.trace, scope, &format!("Import {collection}"), context.as_of);
    context.tokens.push(Box::new(token));
    context.tokens.push(Box::new(flow.tokens.clone()));
    Indexed { stream, trace: flow.trace.clone(), schema: schema.clone(), key }
}

/// Rows of one time, and their diffs.
type Gathered = (RowBlock, Vec<Diff>);

impl<'scope> Indexed<'scope> {
    /// The changes of the index by their keys: what stands beside the key if `whole`; without what is there at `as_of` unless
    /// `snapshot`. `alone` says of a row, by its key's columns and its place in them, whether it is one that nobody looks for by
    /// its key; `None` if it is not wanted.
    pub(super) fn changes(
        self,
        (snapshot, whole): (bool, bool),
        meter: Meter,
        context: &Context<'_>,
        alone: impl Fn(&[ArrayRef], usize) -> Option<bool> + 'static,
    ) -> Stream<'scope, Timestamp, Vec<KeyedRows>> {
        let Indexed { stream, schema, key, .. } = self;
        let (codec, key_codec) = (codec_for(&schema), key_codec(&schema, key));
        let (worker, as_of) = (context.index as u64, context.as_of);
        stream.unary(Pipeline, "Index rows", move |_, _| {
            move |input, output| {
                let _busy = meter.enter();
                let keyed = |time: Timestamp, (rows, diffs): &mut Gathered| {
                    let columns = codec.decode(rows.iter()).expect("rows of the schema decode");
                    let keys = key_codec.encode(&columns[..key]).expect("keys have their planned types");
                    let block = |alone| KeyedRows { worker, time, alone, ..KeyedRows::default() };
                    let mut blocks = [block(false), block(true)];
                    for (index, diff) in diffs.iter().enumerate() {
                        let Some(alone) = alone(&columns[..key], index) else { continue };
                        let (key, row) = (keys.get(index), rows.get(index));
                        let beside = if whole { &row[key.len()..] } else { &[] };
                        blocks[usize::from(alone)].push(hash_bytes(key), key, beside, *diff);
                    }
                    meter.count_rows(diffs.len());
                    rows.clear();
                    diffs.clear();
                    blocks.into_iter().filter(|block| block.len() > 0)
                };
                input.for_each(|capability, spans| {
                    let mut session = output.session(&capability);
                    for span in spans.drain(..) {
                        // What lies before the first time after `as_of` need not even be walked.
                        let wanted = snapshot || span.upper().elements().first().is_none_or(|upper| *upper > as_of + 1);
                        let Some(batch) = span.inner.filter(|_| wanted) else { continue };
                        let mut times: BTreeMap<Timestamp, Gathered> = BTreeMap::new();
                        for_each_imported(&batch, |row, time, diff| {
                            if !snapshot && time <= as_of {
                                return;
                            }
                            let gathered = times.entry(time).or_default();
                            gathered.0.push(row);
                            gathered.1.push(diff);
                            if gathered.1.len() >= CHUNK_ROWS {
                                session.give_iterator(keyed(time, gathered));
                            }
                        });
                        for (time, mut gathered) in times.into_iter().filter(|(_, gathered)| !gathered.1.is_empty()) {
                            session.give_iterator(keyed(time, &mut gathered));
                        }
                    }
                });
            }
        })
    }
}
