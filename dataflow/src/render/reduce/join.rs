//! Group-by over a join, aggregated below the join: see [`crate::plan::Op::JoinReduce`].
//!
//! Facts are pre-aggregated per (join key, their groups) and added up in a table; the partners' groups are counted per
//! key. A change of either side times the other side's state is a contribution to the final groups.

mod facts;

use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow::compute::{and, is_not_null};
use arrow::datatypes::{Schema, SchemaRef};
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

use super::apply;
use super::groups::AT_ONCE;
use super::layout::Layout;
use super::partial::{PartialGroups, Preaggregator};
use crate::expr::{ScalarExpr, evaluate};
use crate::figures::Held;
use crate::plan::{Aggregate, JoinedSide};
use crate::render::keyed::{KeyedRows, blocks, by_worker};
use crate::render::meter::Holds;
use crate::render::pending::Pending;
use crate::render::{Chunks, Context};
use crate::repr::{Chunk, Delta, RowCodec, Timestamp, any_null, hash_bytes, owner};
use crate::state::{KeyTable, Multimap};
use facts::Facts;

/// A change of one side.
enum Change {
    Facts(PartialGroups),
    Partners(KeyedRows),
}

/// One row per group: the groups in `order`, then the aggregates.
pub(in crate::render) fn join_reduce<'scope>(
    (facts, fact_schema, fact_side): (Chunks<'scope>, SchemaRef, &JoinedSide),
    (partners, partner_schema, partner_side): (Chunks<'scope>, SchemaRef, &JoinedSide),
    null_equals_null: bool,
    aggregates: &[Aggregate],
    order: &[usize],
    schema: &SchemaRef,
    context: &Context<'_>,
) -> Chunks<'scope> {
    let keys: Vec<ScalarExpr> = fact_side.keys.iter().chain(&fact_side.groups).cloned().collect();
    let below = Layout::new(&keys, aggregates, false, (&fact_schema, schema));
    let (unordered, places) = unordered(schema, order);
    let groups = fact_side.groups.iter().chain(&partner_side.groups);
    let above = Layout::above_join(&below, groups.map(|group| group.data_type.clone()).collect(), &unordered);
    let facts = preaggregate(facts, below.clone(), fact_side.keys.len(), null_equals_null, context);
    let partners = key_groups((partners, partner_schema), partner_side, null_equals_null, context);
    let contributions = meet(facts, partners, below, context);
    let answers = apply(contributions, above, &context.meter.inside(), context);
    Chunks::new(answers).columns(&places, schema, &context.meter)
}

/// The output's columns with the facts' groups first, and where each output column stands in them.
fn unordered(schema: &SchemaRef, order: &[usize]) -> (SchemaRef, Vec<usize>) {
    let mut fields = vec![None; order.len()];
    for (column, at) in order.iter().enumerate() {
        fields[*at] = Some(Arc::clone(&schema.fields()[column]));
    }
    let groups = fields.into_iter().map(|field| field.expect("the order names every group once"));
    let fields: Vec<_> = groups.chain(schema.fields()[order.len()..].iter().cloned()).collect();
    let places = order.iter().copied().chain(order.len()..schema.fields().len()).collect();
    (Arc::new(Schema::new(fields)), places)
}

/// Adds up facts per chunk and addresses them to the owners of their join keys.
fn preaggregate<'scope>(
    Chunks { stream, steps }: Chunks<'scope>,
    layout: Layout,
    join_keys: usize,
    null_equals_null: bool,
    context: &Context<'_>,
) -> Stream<'scope, Timestamp, Vec<PartialGroups>> {
    let (errors, position, peers) = (context.errors.clone(), context.position("aggregate below join"), context.peers);
    let mut preaggregator = Preaggregator::below_join(layout.clone(), join_keys);
    let meter = context.meter.clone();
    stream.unary(Pipeline, "Preaggregate below join", move |_, _| {
        move |input, output| {
            let _busy = meter.enter();
            input.for_each(|capability, chunks| {
                let mut session = output.session(&capability);
                for Chunk { time, delta } in chunks.drain(..).filter_map(|chunk| steps.run(chunk)) {
                    let evaluated = evaluate(&layout.exprs, delta, &position);
                    errors.extend(time, evaluated.errors);
                    let (mut columns, mut delta): (Vec<_>, Delta) = (evaluated.columns, evaluated.delta);
                    let nulls = columns[..join_keys].iter().any(|column| column.null_count() > 0);
                    if nulls && !null_equals_null {
                        let present = columns[..join_keys].iter().map(|c| is_not_null(c).expect("a null mask"));
                        let mask: BooleanArray = present
                            .reduce(|a, b| and(&a, &b).expect("masks as long as the batch"))
                            .expect("a join key");
                        let kept = columns.iter().map(|c| arrow::compute::filter(c, &mask).expect("a mask as long"));
                        columns = kept.collect();
                        delta = delta.filter(&mask).expect("a mask as long as the batch");
                    }
                    let arguments = columns.split_off(layout.keys);
                    for partial in preaggregator.run(time, &columns, &arguments, &delta.diffs, delta.len(), peers) {
                        session.give(partial);
                    }
                }
            });
        }
    })
}

/// Addresses the groups of partners to the owners of their join keys.
fn key_groups<'scope>(
    (Chunks { stream, steps }, schema): (Chunks<'scope>, SchemaRef),
    side: &JoinedSide,
    null_equals_null: bool,
    context: &Context<'_>,
) -> Stream<'scope, Timestamp, Vec<KeyedRows>> {
    let exprs: Vec<ScalarExpr> = side.keys.iter().chain(&side.groups).map(|expr| expr.prepared(&schema)).collect();
    let count = side.keys.len();
    let codec = |exprs: &[ScalarExpr]| {
        RowCodec::new(exprs.iter().map(|expr| &expr.data_type)).unwrap_or_else(|error| panic!("{error}"))
    };
    let (key_codec, group_codec) = (codec(&side.keys), codec(&side.groups));
    let (errors, position, peers) = (context.errors.clone(), context.position("join key"), context.peers);
    let meter = context.meter.clone();
    stream.unary(Pipeline, "Key groups", move |_, _| {
        move |input, output| {
            let _busy = meter.enter();
            input.for_each(|capability, chunks| {
                let mut session = output.session(&capability);
                for Chunk { time, delta } in chunks.drain(..).filter_map(|chunk| steps.run(chunk)) {
                    let evaluated = evaluate(&exprs, delta, &position);
                    errors.extend(time, evaluated.errors);
                    let (keys, groups) = evaluated.columns.split_at(count);
                    let key_rows = key_codec.encode(keys).expect("keys have their planned types");
                    let group_rows = group_codec.encode(groups).expect("groups have their planned types");
                    let rows = evaluated.delta.len();
                    let mut out = blocks(peers, time, rows, (key_rows.usual_len(), group_rows.usual_len()));
                    for index in 0..rows {
                        if null_equals_null || !any_null(keys, index) {
                            let hash = hash_bytes(key_rows.get(index));
                            let diff = evaluated.delta.diffs.get(index);
                            out[owner(hash, peers)].push(hash, key_rows.get(index), group_rows.get(index), diff);
                        }
                    }
                    session.give_iterator(out.into_iter().filter(|block| block.len() > 0));
                }
            });
        }
    })
}

/// Contributions to the final groups: changed facts times the partners of before, changed partners times the facts of now.
fn meet<'scope>(
    facts: Stream<'scope, Timestamp, Vec<PartialGroups>>,
    partners: Stream<'scope, Timestamp, Vec<KeyedRows>>,
    below: Layout,
    context: &Context<'_>,
) -> Stream<'scope, Timestamp, Vec<PartialGroups>> {
    let (meter, peers) = (context.meter.clone(), context.peers);
    let known = Known { facts: Facts::new(&below), partners: Multimap::default() };
    let known = meter.holds(known);
    facts.binary_frontier(partners, by_worker(), by_worker(), "Join partial answers", move |_, _| {
        let mut pending: Pending<Change> = Pending::default();
        move |(facts, facts_frontier), (partners, partners_frontier), output| {
            let _busy = meter.enter();
            let mut known = known.borrow_mut();
            facts.for_each(|capability, partials| {
                partials.drain(..).for_each(|p| pending.insert(&capability, p.time, Change::Facts(p)));
            });
            partners.for_each(|capability, blocks| {
                blocks.drain(..).for_each(|rows| pending.insert(&capability, rows.time, Change::Partners(rows)));
            });
            while let Some((time, capability, changes)) = pending.pop_complete(&[facts_frontier, partners_frontier]) {
                let mut contributions = Contributions::new(&below);
                for change in &changes {
                    let Change::Facts(partial) = change else { continue };
                    known.meet_facts(partial, &mut contributions);
                }
                for change in &changes {
                    let Change::Partners(rows) = change else { continue };
                    known.meet_partners(rows, &mut contributions);
                }
                output.session(&capability).give_iterator(contributions.finish(time, peers).into_iter());
            }
        }
    })
}

/// Both sides' state.
struct Known {
    facts: Facts,
    partners: Multimap,
}

impl Known {
    /// Adds changed facts, times their partners, to the contributions.
    fn meet_facts(&mut self, partial: &PartialGroups, contributions: &mut Contributions) {
        let Known { facts, partners } = self;
        let width = contributions.layout.slots;
        for index in 0..partial.hashes.len() {
            if index.is_multiple_of(AT_ONCE) {
                let ahead = index..partial.hashes.len().min(index + AT_ONCE);
                let join_hashes = &partial.join_hashes[ahead.clone()];
                join_hashes.iter().for_each(|hash| partners.warm_index(*hash));
                join_hashes.iter().for_each(|hash| partners.warm_entry(*hash));
                facts.warm(&partial.hashes[ahead]);
            }
            let (hash, key) = (partial.join_hashes[index], partial.join_keys.get(index));
            let group = &partial.keys.get(index)[key.len()..];
            let slots = &partial.slots[index * width..(index + 1) * width];
            partners.for_each(hash, key, |row, count| contributions.add(group, row, slots, count));
            facts.add(partial, index);
        }
    }

    /// Adds changed partners, times their facts, to the contributions.
    fn meet_partners(&mut self, rows: &KeyedRows, contributions: &mut Contributions) {
        let Known { facts, partners } = self;
        rows.for_each(|hash, key, row, diff| {
            facts.for_each(hash, key, |group, slots| contributions.add(group, row, slots, diff));
            partners.add(hash, key, row, diff);
        });
    }
}

impl Holds for Known {
    fn held(&self) -> Held {
        let mut held = self.facts.held();
        held += self.partners.held();
        held
    }
}

/// Contributions of one time, added up per final group.
struct Contributions<'a> {
    layout: &'a Layout,
    groups: KeyTable,
    slots: Vec<i64>,
    key: Vec<u8>,
}

impl<'a> Contributions<'a> {
    fn new(layout: &'a Layout) -> Contributions<'a> {
        Contributions { layout, groups: KeyTable::default(), slots: Vec::new(), key: Vec::new() }
    }

    /// Adds `count` times `slots` to the group of a fact's and a partner's groups.
    fn add(&mut self, fact_group: &[u8], partner_group: &[u8], slots: &[i64], count: i64) {
        self.key.clear();
        self.key.extend_from_slice(fact_group);
        self.key.extend_from_slice(partner_group);
        let (group, inserted) = self.groups.find_or_insert(hash_bytes(&self.key), &self.key);
        let width = self.layout.slots;
        if inserted {
            self.slots.resize(self.slots.len() + width, 0);
        }
        let at = group as usize * width;
        let sums = &mut self.slots[at..at + width];
        self.layout.merges.iter().for_each(|merge| merge.add_times(sums, slots, count));
    }

    /// One block a worker that gets any.
    fn finish(self, time: Timestamp, peers: usize) -> Vec<PartialGroups> {
        let mut blocks: Vec<PartialGroups> =
            (0..peers as u64).map(|worker| PartialGroups { worker, time, ..PartialGroups::default() }).collect();
        for (group, slots) in (0..).zip(self.slots.chunks(self.layout.slots)) {
            let key = self.groups.key(group);
            let hash = hash_bytes(key);
            let block = &mut blocks[owner(hash, peers)];
            block.hashes.push(hash);
            block.keys.push(key);
            block.slots.extend_from_slice(slots);
        }
        blocks.retain(|block| !block.hashes.is_empty());
        blocks
    }
}
