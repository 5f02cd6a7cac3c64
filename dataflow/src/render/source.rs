//! The source operator: what a port delivers becomes a stream of chunks.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use arrow::array::{AsArray, Int64Array};
use arrow::datatypes::{Int64Type, SchemaRef};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::operator::{Operator, source as build_source};
use timely::dataflow::{Scope, Stream};
use timely::scheduling::Activator;

use super::context::batch;
use super::import::CHUNK_ROWS;
use super::keyed::{Addressed, by_worker};
use super::{ChunkStream, Context, InFlight};
use crate::port::{PortItem, PortReader};
use crate::protocol::{PortForm, PortHandle};
use crate::repr::{Chunk, Delta, Diffs, Timestamp};

/// Rows of a snapshot that one activation releases: a hydration yields between them, so that live views keep their
/// latency.
const SNAPSHOT_ROWS_PER_STEP: usize = 50_000;

/// Fewer rows a worker are not shared: waking a worker costs more than they do.
const SHARE_ROWS_MIN: usize = 8;

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

/// Rows that the reader of a port gives to a worker of its process.
#[derive(Clone, Debug)]
struct Share {
    worker: u64,
    chunk: Chunk,
}

impl Addressed for Share {
    fn worker(&self) -> u64 {
        self.worker
    }
}

/// What crosses workers must be able to cross processes. Shares never do: every process reads its own port.
impl Serialize for Share {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("rows of a port are shared within a process"))
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Share, D::Error> {
        Err(serde::de::Error::custom("rows of a port are shared within a process"))
    }
}

/// Reads a port: the snapshot at `as_of`, then tick after tick, at most eight of them in flight. The rows that leave have
/// the columns `schema`.
///
/// One worker of a process reads, and alone holds back the dataflow's frontier on behalf of the process. What is large it
/// shares with the others.
pub(super) fn source<'scope>(
    scope: Scope<'scope, Timestamp>,
    port: &PortHandle,
    (form, schema): (PortForm, &SchemaRef),
    context: &mut Context<'_>,
) -> ChunkStream<'scope> {
    let read = (port, form, schema);
    if context.peers == 1 {
        return reader(scope, read, context, |_, chunk| chunk);
    }
    let shares = reader(scope, read, context, |worker, chunk| Share { worker: worker as u64, chunk });
    let meter = context.meter.clone();
    shares.unary(by_worker(), "Share", move |_, _| {
        move |input, output| {
            let _busy = meter.enter();
            input.for_each(|capability, shares| {
                output.session(&capability).give_iterator(shares.drain(..).map(|share| share.chunk));
            });
        }
    })
}

/// What the workers of this process get, as `address` makes it from a worker and its rows.
fn reader<'scope, D: Clone + 'static>(
    scope: Scope<'scope, Timestamp>,
    (port, form, schema): (&PortHandle, PortForm, &SchemaRef),
    context: &mut Context<'_>,
    address: impl Fn(usize, Chunk) -> D + 'static,
) -> Stream<'scope, Timestamp, Vec<D>> {
    let reader = (context.lane == 0).then(|| port.take());
    let (index, peers, as_of) = (context.index, context.peers, context.as_of);
    let workers = index..index + context.lanes;
    let schema = SchemaRef::clone(schema);
    let meter = context.meter.clone();
    // Every process is delivered every row, so that all of them count alike.
    let mut arrived = 0;
    let alive = Rc::new(Cell::new(true));
    build_source(scope, "Source", |mut capability, info| {
        let mut open = reader.map(|reader| {
            reader.read_here();
            let activator = scope.activator_for(info.address.clone());
            context.tokens.push(Box::new(SourceToken { alive: Rc::clone(&alive), activator: activator.clone() }));
            let in_flight = InFlight::new(context.sealed.clone(), reader.arrivals(), activator.clone());
            context.in_flight.push(in_flight.clone());
            capability.downgrade(&as_of);
            // What was pushed before anybody read would otherwise wait for the next push.
            activator.activate();
            (capability, reader, in_flight, activator)
        });
        move |output| {
            let _busy = meter.enter();
            if !alive.get() {
                open = None;
            }
            let Some((capability, reader, in_flight, activator)) = &mut open else { return };
            let mut snapshot_rows = 0;
            while in_flight.room() {
                if snapshot_rows >= SNAPSHOT_ROWS_PER_STEP {
                    activator.activate();
                    return;
                }
                let Some(chunk) = next_chunk(reader, capability, as_of, in_flight, &mut snapshot_rows) else { return };
                let before = arrived;
                arrived += chunk.delta.len();
                let mut session = output.session(&*capability);
                for worker in workers.clone() {
                    let (offset, len) = share(chunk.delta.len(), worker, peers);
                    if len == 0 {
                        continue;
                    }
                    let delta = chunk.delta.slice(offset, len);
                    let delta = match form {
                        PortForm::Rows => delta,
                        PortForm::Numbered => number(&delta, before + offset, &schema),
                        PortForm::Signed => sign(&delta, &schema),
                    };
                    for offset in (0..len).step_by(CHUNK_ROWS) {
                        let delta = delta.slice(offset, CHUNK_ROWS.min(len - offset));
                        session.give(address(worker, Chunk { time: chunk.time, delta }));
                    }
                }
                drop(session);
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
/// columns are shared. The first one takes what is not worth sharing.
fn share(rows: usize, index: usize, peers: usize) -> (usize, usize) {
    if rows < SHARE_ROWS_MIN * peers {
        return if index == 0 { (0, rows) } else { (0, 0) };
    }
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

#[cfg(test)]
mod tests {
    use super::{SHARE_ROWS_MIN, share};

    #[test]
    fn every_row_has_one_worker_and_few_rows_have_the_first() {
        for peers in 1..6 {
            for rows in 0..200 {
                let shares: Vec<_> = (0..peers).map(|index| share(rows, index, peers)).collect();
                if rows < SHARE_ROWS_MIN * peers {
                    assert!(
                        shares.iter().skip(1).all(|(_, len)| *len == 0),
                        "{rows} rows, {peers} workers: {shares:?}"
                    );
                } else {
                    assert!(shares.iter().all(|(_, len)| *len >= SHARE_ROWS_MIN), "{rows} rows: {shares:?}");
                }
                let mut next = 0;
                for (offset, len) in shares.into_iter().filter(|(_, len)| *len > 0) {
                    assert_eq!(offset, next);
                    next += len;
                }
                assert_eq!(next, rows, "{peers} workers");
            }
        }
    }
}
