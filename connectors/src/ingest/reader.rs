//! The reader of one source: a thread that polls it and leaves what it gets in the inbox.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use arrow::datatypes::SchemaRef;
use headwater_dataflow::repr::ObjectId;

use super::inbox::{Inbox, Item};
use super::status::SourceState;
use super::throttle::Throttle;
use crate::log::bind::Reached;
use crate::source::{PollState, Polled, Source, SourceDescription, SourceProgress};

/// Reads `source` until it ends, fails, or is not wanted any more.
///
/// `reached` is what the log has of it: `source` was opened at its position.
pub(crate) fn read_source(
    mut source: Box<dyn Source>,
    description: &SourceDescription,
    reached: Reached,
    inbox: &Inbox,
    progress: &Mutex<SourceProgress>,
    throttle: &Throttle,
) {
    let object = description.object;
    let schema = description.logged_schema();
    let (skip_rows, skip_errors) = (reached.rows_ahead, reached.errors_ahead);
    let mut reader = Reader { skip_rows, skip_errors, reached, offered: None, divisible: source.repeats() };
    while inbox.is_open(object) {
        let allowed = throttle.allowed(inbox.rows_max());
        if allowed == 0 {
            throttle.rest();
            continue;
        }
        let polled = source.poll(allowed);
        *progress.lock().expect("no thread panics while it holds a source's progress") = source.progress();
        let polled = match polled {
            Ok(polled) if conforms(&polled, &schema) => polled,
            Ok(polled) => {
                let found = polled.rows.schema();
                return reader.fail(object, inbox, format!("rows have the columns {found:?}"));
            }
            Err(error) => return reader.fail(object, inbox, with_causes(&error)),
        };
        throttle.took(polled.rows.num_rows() + polled.errors.num_rows());
        // A pause that came while the source was waited for: what it brought since waits too.
        while throttle.pace().paused && inbox.is_open(object) {
            throttle.rest();
        }
        let ended = polled.state == PollState::Ended;
        if ended && !reader.reaches(&polled) {
            return reader.fail(object, inbox, "the source holds less than what was already read from it".into());
        }
        let wanted = match reader.accept(polled) {
            Some(item) => inbox.offer(object, item),
            None => true,
        };
        if ended || !wanted {
            return;
        }
    }
}

/// Leaves the news that the source cannot be read.
pub(crate) fn report_failure(object: ObjectId, reached: Reached, inbox: &Inbox, message: String) {
    Reader { skip_rows: 0, skip_errors: 0, reached, offered: None, divisible: false }.fail(object, inbox, message);
}

/// An error with all its causes.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// A batch with other columns would spoil the log.
fn conforms(polled: &Polled, schema: &SchemaRef) -> bool {
    let found = polled.rows.schema();
    Arc::ptr_eq(&found, schema) || found.fields() == schema.fields() || polled.rows.num_rows() == 0
}

struct Reader {
    /// What is reached by all that was left in the inbox.
    reached: Reached,
    /// Rows that are in the log already, in front of what comes.
    skip_rows: u64,
    /// The same for errors.
    skip_errors: u64,
    /// The last state that was left in the inbox.
    offered: Option<SourceState>,
    /// Whether ticks may divide what one poll returned.
    divisible: bool,
}

impl Reader {
    /// Whether a batch that is the last contains everything that is to be passed over.
    fn reaches(&self, last: &Polled) -> bool {
        self.skip_rows <= last.rows.num_rows() as u64 && self.skip_errors <= last.errors.num_rows() as u64
    }

    /// Turns a batch into an item, unless it says nothing new.
    fn accept(&mut self, polled: Polled) -> Option<Item> {
        let rows = pass_over(polled.rows, &mut self.skip_rows);
        let errors = pass_over(polled.errors, &mut self.skip_errors);
        let state = match polled.state {
            PollState::More => SourceState::Reading,
            PollState::CaughtUp => SourceState::CaughtUp,
            PollState::Ended => SourceState::Ended,
        };
        let start = self.reached.clone();
        // As long as something is passed over, the place where it began stays the one to come back to.
        if self.skip_rows == 0 && self.skip_errors == 0 {
            self.reached = Reached { position: polled.position, rows_ahead: 0, errors_ahead: 0 };
        } else {
            self.reached.rows_ahead += rows.as_ref().map_or(0, |rows| rows.num_rows() as u64);
            self.reached.errors_ahead += errors.as_ref().map_or(0, |errors| errors.num_rows() as u64);
        }
        let news = rows.is_some() || errors.is_some() || start != self.reached || self.offered.as_ref() != Some(&state);
        self.offered = Some(state.clone());
        let divisible = self.divisible;
        news.then(|| Item { rows, errors, start, end: self.reached.clone(), state, arrived: Instant::now(), divisible })
    }

    fn fail(&mut self, object: ObjectId, inbox: &Inbox, message: String) {
        tracing::error!(%object, message, "a source cannot be read");
        let reached = self.reached.clone();
        let item = Item {
            rows: None,
            errors: None,
            start: reached.clone(),
            end: reached,
            state: SourceState::Failed(message),
            arrived: Instant::now(),
            divisible: false,
        };
        inbox.offer(object, item);
    }
}

/// What is left of `batch` when up to `skip` rows are passed over.
fn pass_over(batch: arrow::array::RecordBatch, skip: &mut u64) -> Option<arrow::array::RecordBatch> {
    let len = batch.num_rows();
    let passed = usize::try_from(*skip).unwrap_or(usize::MAX).min(len);
    *skip -= passed as u64;
    (passed < len).then(|| batch.slice(passed, len - passed))
}
