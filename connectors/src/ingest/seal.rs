//! The ingest thread: turns what waits in the inbox into ticks.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::error::ArrowError;

use super::Inner;
use super::commit::LogCommand;
use super::core::{Overflow, SealPart};
use super::inbox::{Next, Taken};
use super::replay::Replay;
use super::write::{self, OnDurable, Write};
use crate::error::EdgeError;
use crate::log::LogTick;

/// Seals ticks until the inbox is closed.
pub(crate) fn run(inner: &Arc<Inner>) {
    // Dropping this sender at the end lets the log thread end.
    let Some(log) = inner.log_sender() else { return };
    loop {
        match inner.inbox.next() {
            Next::Stop => return,
            Next::Note(taken) => {
                let mut core = inner.core();
                for Taken { object, items } in taken {
                    core.note(object, items.into_iter().next_back().expect("at least one item was taken").state);
                }
            }
            Next::Seal(taken, written) => {
                let parts = match taken.into_iter().map(seal_part).collect::<Result<Vec<_>, _>>() {
                    Ok(parts) => parts,
                    Err(error) => {
                        let message = format!("the rows of a tick cannot be put together: {error}");
                        return inner.fail(&EdgeError::LogFailed { message });
                    }
                };
                let (tick, on_durable, overflows) = seal(inner, parts, written);
                if log.send(LogCommand::Commit(tick, on_durable)).is_err() {
                    return;
                }
                for overflow in overflows {
                    resume(inner, overflow.importer, overflow.from);
                }
            }
        }
    }
}

/// Seals a tick, and tells whoever wrote into it.
fn seal(
    inner: &Inner,
    mut parts: Vec<SealPart>,
    written: Option<Write>,
) -> (LogTick, Option<OnDurable>, Vec<Overflow>) {
    let now_ms = inner.config.clock.now_ms();
    let mut core = inner.core();
    let Some(Write { object, rows, on_sealed, on_durable }) = written else {
        let (tick, overflows) = core.seal(now_ms, parts);
        return (tick, None, overflows);
    };
    // The table may have been dropped while the rows were on their way.
    let there = core.sources.contains_key(&object);
    if there {
        parts.push(write::seal_part(object, rows));
    }
    let (tick, overflows) = core.seal(now_ms, parts);
    drop(core);
    let unknown = EdgeError::UnknownCollection { collection: object.rows() };
    on_sealed(if there { Ok(tick.tick) } else { Err(unknown) });
    (tick, there.then_some(on_durable), overflows)
}

/// One batch of rows and one of errors, however many items they came in.
fn seal_part(taken: Taken) -> Result<SealPart, ArrowError> {
    let logged = taken.is_logged();
    let last = taken.items.last().expect("at least one item was taken");
    let (state, reached) = (last.state.clone(), logged.then(|| last.end.clone()));
    let (mut rows, mut errors) = (Vec::new(), Vec::new());
    for item in taken.items {
        rows.extend(item.rows);
        errors.extend(item.errors);
    }
    Ok(SealPart { object: taken.object, rows: one(rows)?, errors: one(errors)?, reached, state })
}

fn one(mut batches: Vec<RecordBatch>) -> Result<Option<RecordBatch>, ArrowError> {
    match batches.len() {
        0 | 1 => Ok(batches.pop()),
        _ => concat_batches(&batches[0].schema(), &batches).map(Some),
    }
}

/// Lets an importer that overflowed go on from the log.
fn resume(inner: &Arc<Inner>, importer: u64, from: u64) {
    let replay = {
        let core = inner.core();
        let Some(behind) = core.importers.get(&importer) else { return };
        // Without its source, there is nothing it could be missing.
        let Ok(log) = core.log_of(behind.collection) else { return };
        let log = log.map(|log| (log, behind.collection.part));
        Replay { importer, feed: behind.feed.clone(), log, next: from }
    };
    let resuming = Arc::clone(inner);
    if let Err(error) = inner.spawn_detached("replay", move || replay.resume(&resuming)) {
        // An importer that never hears of time again would look alive.
        inner.fail(&error);
    }
}
