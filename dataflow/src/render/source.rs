//! The source operator: what a port delivers becomes a stream of chunks.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use arrow::array::{AsArray, Int64Array};
use arrow::datatypes::{Int64Type, SchemaRef};
use timely::dataflow::Scope;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::operator::source as build_source;
use timely::scheduling::Activator;

use super::context::batch;
use super::import::CHUNK_ROWS;
use super::{ChunkStream, Context, InFlight};
use crate::port::{PortItem, PortReader};
use crate::protocol::{PortForm, PortReaders};
use crate::repr::{Chunk, Delta, Diffs, Timestamp};

/// Rows of a snapshot that one activation releases: a hydration yields between them, so that live views keep their
/// latency.
const SNAPSHOT_ROWS_PER_STEP: usize = 50_000;

/// Dropping it releases the source's capability on this worker.
struct SourceToken {
    alive: Rc<Cell<bool>>,
    activator: Activator,
}

impl Drop for SourceToken {
    fn drop(&mut self) {
        self.alive.set(false);
        self.activator.activate();
    }
}

/// Reads a port: the snapshot at `as_of`, then tick after tick, at most eight of them in flight. The rows that leave have
/// the columns `schema`.
pub(super) fn source<'scope>(
    scope: Scope<'scope, Timestamp>,
    port: &PortReaders,
    (form, schema): (PortForm, &SchemaRef),
    context: &mut Context<'_>,
) -> ChunkStream<'scope> {
    let reader = port.take(context.lane);
    let (index, peers, as_of) = (context.index, context.peers, context.as_of);
    let schema = SchemaRef::clone(schema);
    let meter = context.meter.clone();
    // Every worker is delivered every row, so that all of them count alike.
    let mut arrived = 0;
    let alive = Rc::new(Cell::new(true));
    build_source(scope, "Source", |mut capability, info| {
        let activator = scope.activator_for(info.address.clone());
        reader.set_activator(scope.worker().sync_activator_for(info.address.to_vec()));
        context.tokens.push(Box::new(SourceToken { alive: Rc::clone(&alive), activator: activator.clone() }));
        let in_flight = InFlight::new(context.sealed.clone(), activator.clone());
        context.in_flight.push(in_flight.clone());
        capability.downgrade(&as_of);
        // What was pushed before the activator was set would otherwise wait for the next push.
        activator.activate();
        let mut open = Some((capability, reader));
        move |output| {
            let _busy = meter.enter();
            if !alive.get() {
                open = None;
            }
            let Some((capability, reader)) = &mut open else { return };
            let mut snapshot_rows = 0;
            while in_flight.room() {
                if snapshot_rows >= SNAPSHOT_ROWS_PER_STEP {
                    activator.activate();
                    return;
                }
                let Some(chunk) = next_chunk(reader, capability, as_of, &in_flight, &mut snapshot_rows) else { return };
                let (offset, len) = share(chunk.delta.len(), index, peers);
                let before = arrived + offset;
                arrived += chunk.delta.len();
                if len > 0 {
                    let delta = chunk.delta.slice(offset, len);
                    let delta = match form {
                        PortForm::Rows => delta,
                        PortForm::Numbered => number(&delta, before, &schema),
                        PortForm::Signed => sign(&delta, &schema),
                    };
                    let mut session = output.session(&*capability);
                    for offset in (0..delta.len()).step_by(CHUNK_ROWS) {
                        let delta = delta.slice(offset, CHUNK_ROWS.min(delta.len() - offset));
                        session.give(Chunk { time: chunk.time, delta });
                    }
                }
                if chunk.time > as_of {
                    capability.downgrade(&(chunk.time + 1));
                }
            }
        }
    })
}

/// The next rows of the port, with the capability moved to their time. Ticks without rows only move the capability.
fn next_chunk(
    reader: &PortReader,
    capability: &mut Capability<Timestamp>,
    as_of: Timestamp,
    in_flight: &InFlight,
    snapshot_rows: &mut usize,
) -> Option<Chunk> {
    while let Some(item) = reader.pop() {
        match item {
            PortItem::Snapshot(delta) => {
                *snapshot_rows += delta.len();
                return Some(Chunk { time: as_of, delta: (*delta).clone() });
            }
            PortItem::SnapshotComplete => {
                capability.downgrade(&(as_of + 1));
            }
            PortItem::Tick(tick) => {
                assert!(
                    tick.time >= *capability.time(),
                    "ticks of a port grow: {} after {}",
                    tick.time,
                    capability.time()
                );
                match &tick.delta {
                    Some(delta) if !delta.is_empty() => {
                        capability.downgrade(&tick.time);
                        in_flight.release(tick.time);
                        return Some(Chunk { time: tick.time, delta: delta.clone() });
                    }
                    _ => capability.downgrade(&(tick.time + 1)),
                }
            }
        }
    }
    None
}

/// The part of `rows` rows that worker `index` of `peers` takes, its start and its length: a contiguous stretch, so that
/// columns are shared.
fn share(rows: usize, index: usize, peers: usize) -> (usize, usize) {
    let (start, end) = (rows * index / peers, rows * (index + 1) / peers);
    (start, end - start)
}

/// Rows with their places: `before` rows have arrived before them.
fn number(delta: &Delta, before: usize, schema: &SchemaRef) -> Delta {
    let first = i64::try_from(before + 1).expect("fewer than 2^63 rows arrive");
    let places = Int64Array::from_iter_values((first..).take(delta.len()));
    let mut columns = delta.rows.columns().to_vec();
    columns.push(Arc::new(places));
    Delta { rows: batch(schema, columns, delta.len()), diffs: delta.diffs.clone() }
}

/// Rows whose last column is their diff.
fn sign(delta: &Delta, schema: &SchemaRef) -> Delta {
    let mut columns = delta.rows.columns().to_vec();
    let diffs = columns.pop().expect("signed rows end with their diffs");
    let diffs = diffs.as_primitive::<Int64Type>().values().iter().copied().collect();
    Delta { rows: batch(schema, columns, delta.len()), diffs: Diffs::Each(diffs) }
}
