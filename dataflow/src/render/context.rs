//! What the operators of one dataflow share on one worker.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use crossbeam_channel::Sender;
use timely::progress::frontier::AntichainRef;
use timely::scheduling::Activator;

use super::meter::{Meter, Meters};
use crate::port::Arrivals;
use crate::protocol::Response;
use crate::repr::{CollectionId, Diff, ErrorRow, Timestamp};
use crate::spines::RowTrace;

/// Values whose drop releases a dataflow's inputs on this worker. Importers hold their producers' tokens too.
pub(crate) type Tokens = Rc<Vec<Box<dyn Any>>>;

/// An arrangement that other dataflows may import.
pub(crate) struct Flow {
    /// The arrangement's handle.
    pub(crate) trace: RowTrace,
    /// Keeps the producer alive.
    pub(crate) tokens: Tokens,
}

/// Errors on their way to the errors arrangement.
///
/// Operators write here while they handle a time; the errors operator stands behind all of them, so when its input
/// frontier passes a time, every error of that time on this worker has been written.
#[derive(Clone, Default)]
pub(crate) struct ErrorLog(Rc<RefCell<ErrorsByTime>>);

type ErrorsByTime = BTreeMap<Timestamp, Vec<(ErrorRow, Diff)>>;

impl ErrorLog {
    /// Notes errors of one time.
    pub(crate) fn extend(&self, time: Timestamp, errors: impl IntoIterator<Item = (ErrorRow, Diff)>) {
        let mut errors = errors.into_iter().peekable();
        if errors.peek().is_some() {
            self.0.borrow_mut().entry(time).or_default().extend(errors);
        }
    }

    /// Takes the errors of the earliest time before `upper` (of any time if `None`).
    pub(crate) fn take_before(&self, upper: Option<Timestamp>) -> Option<(Timestamp, Vec<(ErrorRow, Diff)>)> {
        let mut log = self.0.borrow_mut();
        let (time, _) = log.first_key_value()?;
        if upper.is_some_and(|upper| *time >= upper) {
            return None;
        }
        log.pop_first()
    }
}

/// What a worker has to say, until it has nothing else to do: whoever listens is woken once a tick, not once a dataflow and
/// not once a step.
#[derive(Clone, Default)]
pub(crate) struct Outbox(Rc<RefCell<Vec<Response>>>);

impl Outbox {
    /// Notes what is to be said.
    pub(crate) fn push(&self, response: Response) {
        self.0.borrow_mut().push(response);
    }

    /// Whether there is something to say.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// Says everything now.
    pub(crate) fn flush(&self, responses: &Sender<Response>) {
        for response in self.0.borrow_mut().drain(..) {
            // Nobody listens any more only when the engine is being shut down.
            let _ = responses.send(response);
        }
    }
}

/// Ticks in flight per dataflow: enough that no worker waits for the slower one at every tick, few enough that live
/// views keep their latency.
const TICKS_IN_FLIGHT: usize = 8;

/// How far a dataflow is on this worker: the first time that its end has not sealed.
#[derive(Clone)]
pub(crate) struct Sealed(Rc<Cell<Option<Timestamp>>>);

impl Default for Sealed {
    fn default() -> Self {
        Sealed(Rc::new(Cell::new(Some(0))))
    }
}

impl Sealed {
    /// Everything outside of `frontier` is sealed.
    pub(super) fn set(&self, frontier: AntichainRef<'_, Timestamp>) {
        self.0.set(frontier.first().copied());
    }

    /// The first time that is not sealed; `None` for a dataflow on its way out.
    pub(crate) fn upper(&self) -> Option<Timestamp> {
        self.0.get()
    }

    /// Whether `time` is sealed.
    fn contains(&self, time: Timestamp) -> bool {
        self.upper().is_none_or(|upper| time < upper)
    }
}

/// How many ticks a source has released that the dataflow has not finished, and how to wake the source.
#[derive(Clone)]
pub(crate) struct InFlight {
    sealed: Sealed,
    released: Rc<RefCell<VecDeque<Timestamp>>>,
    waiting: Rc<Cell<bool>>,
    arrivals: Rc<Arrivals>,
    activator: Rc<Activator>,
}

impl InFlight {
    /// Measures by `sealed`; `activator` wakes the source, for whom `arrivals` come.
    pub(crate) fn new(sealed: Sealed, arrivals: Arrivals, activator: Activator) -> InFlight {
        InFlight {
            sealed,
            released: Rc::default(),
            waiting: Rc::default(),
            arrivals: Rc::new(arrivals),
            activator: Rc::new(activator),
        }
    }

    /// Whether another tick may be released. If not, the source is woken when that changes.
    pub(crate) fn room(&self) -> bool {
        let mut released = self.released.borrow_mut();
        while released.front().is_some_and(|time| self.sealed.contains(*time)) {
            released.pop_front();
        }
        let room = released.len() < TICKS_IN_FLIGHT;
        self.waiting.set(!room);
        room
    }

    /// Notes a released tick.
    pub(crate) fn release(&self, time: Timestamp) {
        self.released.borrow_mut().push_back(time);
    }

    /// Wakes the source if something has arrived, or if it waits and there is room. Called by the worker between steps.
    pub(crate) fn wake(&self) {
        if self.arrivals.take() || (self.waiting.get() && self.room()) {
            self.activator.activate();
        }
    }
}

/// What rendering needs besides the plan, and collects.
pub(crate) struct Context<'a> {
    /// The first readable time.
    pub(crate) as_of: Timestamp,
    /// This worker, among those of all processes.
    pub(crate) index: usize,
    /// This worker, among those of its process.
    pub(crate) lane: usize,
    /// How many workers this process has.
    pub(crate) lanes: usize,
    /// How many workers, in all processes.
    pub(crate) peers: usize,
    /// The name of the view, for error positions.
    pub(crate) name: Rc<str>,
    /// Where operators note errors.
    pub(crate) errors: ErrorLog,
    /// What the nodes of the plan do.
    pub(crate) meters: Meters,
    /// The meter of the node that is being rendered.
    pub(crate) meter: Meter,
    /// How far this dataflow is.
    pub(crate) sealed: Sealed,
    /// Arrangements of other dataflows.
    pub(crate) flows: &'a BTreeMap<CollectionId, Flow>,
    /// Where closed batches go.
    pub(crate) outbox: Outbox,
    /// What must be held for the inputs to live.
    pub(crate) tokens: Vec<Box<dyn Any>>,
    /// The sources' flow control.
    pub(crate) in_flight: Vec<InFlight>,
}

impl Context<'_> {
    /// Where an error happened: the view and the operator.
    pub(crate) fn position(&self, operator: &str) -> String {
        format!("{}: {operator}", self.name)
    }
}

/// A batch of columns that planning says fit the schema.
///
/// Panics if they do not: then the plan and the operators disagree about types.
pub(crate) fn batch(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> RecordBatch {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options)
        .unwrap_or_else(|error| panic!("the columns do not fit the planned schema: {error}"))
}
