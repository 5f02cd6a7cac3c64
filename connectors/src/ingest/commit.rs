//! The log thread: makes sealed ticks durable, in order, as many together as wait, and announces them.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};
use headwater_dataflow::repr::{ObjectId, Timestamp};

use super::Inner;
use super::durable::Bound;
use super::write::OnDurable;
use crate::error::EdgeError;
use crate::log::{Log, LogTick};

/// Commands that may wait for the log thread. The inbox lets only a few ticks be on their way.
pub(crate) const COMMANDS_MAX: usize = 64;

/// What the log thread does.
pub(crate) enum LogCommand {
    /// Make a tick durable; say so to whoever wrote into it.
    Commit(LogTick, Option<OnDurable>),
    /// Forget an object and delete its files.
    Remove(ObjectId, Sender<Result<(), EdgeError>>),
}

/// Serves commands until nobody can send any more, then closes the log.
pub(crate) fn run(inner: &Arc<Inner>, mut log: Log, commands: &Receiver<LogCommand>, on_bound: &dyn Fn(Timestamp)) {
    let mut announced = inner.durable.bound().tick;
    while let Ok(first) = commands.recv() {
        let (mut ticks, mut written) = (Vec::new(), Vec::new());
        let mut removal = None;
        for command in std::iter::once(first).chain(commands.try_iter()) {
            match command {
                LogCommand::Commit(tick, on_durable) => {
                    ticks.push(tick);
                    written.extend(on_durable);
                }
                LogCommand::Remove(object, done) => {
                    removal = Some((object, done));
                    break;
                }
            }
        }
        if let Some(last) = ticks.last() {
            let bound = Bound { tick: last.tick, sequence: last.sequence };
            if let Err(error) = log.commit(&ticks) {
                return fail(inner, &error, commands);
            }
            announced = bound.tick;
            inner.durable.advance(bound);
            inner.inbox.committed(ticks.len());
            on_bound(bound.tick);
            written.into_iter().for_each(|on_durable| on_durable());
        }
        if let Some((object, done)) = removal {
            let removed = log.remove(object);
            // Whoever asked may have given up waiting.
            let _ = done.send(removed);
            if log.is_broken() {
                let message = format!("the removal of {object} could not be logged");
                return fail(inner, &EdgeError::LogFailed { message }, commands);
            }
        }
    }
    if let Err(error) = log.close(announced) {
        // Nothing is lost: a restart only begins at a later time.
        tracing::warn!(error = error.with_causes(), "the lease of time was not given back");
    }
}

/// After a failed write nobody knows what is on disk, so nothing is written until a restart has read it.
fn fail(inner: &Inner, error: &EdgeError, commands: &Receiver<LogCommand>) {
    inner.fail(error);
    // Whoever waits for a removal learns from the dropped sender that it did not happen.
    while commands.recv().is_ok() {}
}
