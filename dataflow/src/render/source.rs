//! The source operator: what a port delivers becomes a stream of chunks.

use std::cell::Cell;
use std::rc::Rc;

use arrow::datatypes::SchemaRef;
use timely::dataflow::Scope;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::operator::source as build_source;
use timely::scheduling::Activator;

use super::import::CHUNK_ROWS;
use super::{ChunkStream, Context, InFlight};
use crate::port::{PortItem, PortReader};
use crate::protocol::PortReaders;
use crate::repr::{Chunk, Delta, Timestamp};

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

/// Reads a port: the snapshot at `as_of`, then tick after tick, at most eight of them in flight.
pub(super) fn source<'scope>(
    scope: Scope<'scope, Timestamp>,
    port: &PortReaders,
    _schema: &SchemaRef,
    context: &mut Context<'_>,
) -> ChunkStream<'scope> {
    let reader = port.take(context.index);
    let (index, peers, as_of) = (context.index, context.peers, context.as_of);
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
                if let Some(delta) = share(&chunk.delta, index, peers) {
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

/// The part of a delta that worker `index` of `peers` takes: a contiguous stretch, so that columns are shared.
fn share(delta: &Delta, index: usize, peers: usize) -> Option<Delta> {
    let rows = delta.len();
    let (start, end) = (rows * index / peers, rows * (index + 1) / peers);
    (end > start).then(|| delta.slice(start, end - start))
}
