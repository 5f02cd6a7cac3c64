//! One timely worker: obeys commands between steps, keeps what it has built.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use timely::worker::Worker;

use crate::engine::Inbox;
use crate::protocol::{Command, DataflowDescription, IndexKeys, Response};
use crate::render::{
    Context, ErrorLog, Exported, Flow, InFlight, Meters, Outbox, Sealed, codec_for, decode_delta, render, tokens,
};
use crate::repr::{CollectionId, Diff, ObjectId, Part, RowBlock, Timestamp};
use crate::spines::{compact, for_each_row_at, for_each_row_of, held};

/// Rows in one delta of a peek's answer.
const PEEK_ROWS: usize = 8_192;
/// Closed ticks between two compactions: compacting costs a little each time, and merges are lazy anyway.
const TICKS_PER_COMPACTION: u32 = 8;
/// How long answers wait for each other, at most: a tick of one row over a few views takes less.
const ANSWERS_WAIT_MAX: Duration = Duration::from_millis(1);

/// A dataflow as one worker sees it.
struct Installed {
    dataflow: usize,
    exported: Exported,
    meters: Meters,
    sealed: Sealed,
    in_flight: Vec<InFlight>,
    since: Timestamp,
    upper: Timestamp,
    ticks: u32,
}

/// What a worker keeps between commands.
pub(crate) struct WorkerState<'w> {
    worker: &'w mut Worker,
    /// Its place among the workers of this process.
    lane: usize,
    /// How many workers this process has.
    lanes: usize,
    outbox: Outbox,
    installed: BTreeMap<ObjectId, Installed>,
    flows: BTreeMap<CollectionId, Flow>,
    /// Released dataflows that timely still runs, by dataflow number.
    leaving: Vec<(ObjectId, usize)>,
    /// Since when there is something to say.
    unsaid_since: Option<Instant>,
    /// Dataflows were created or may have left since the last report.
    installed_changed: bool,
}

/// Runs a worker, one of `workers` in this process, until it is told to stop.
pub(crate) fn run(worker: &mut Worker, workers: usize, inbox: &Inbox, responses: Sender<Response>) {
    let mut state = WorkerState {
        lane: worker.index() % workers,
        lanes: workers,
        worker,
        outbox: Outbox::default(),
        installed: BTreeMap::new(),
        flows: BTreeMap::new(),
        leaving: Vec::new(),
        unsaid_since: None,
        installed_changed: false,
    };
    loop {
        while let Some(command) = inbox.take() {
            state.obey(command);
        }
        if inbox.stopped() {
            return;
        }
        state.step(&responses);
        state.tend();
        if std::mem::take(&mut state.installed_changed) {
            inbox.report_installed(state.worker.installed_dataflows());
        }
    }
}

impl WorkerState<'_> {
    /// One step of all dataflows that have something to do, or a rest until one has.
    ///
    /// A tick takes several steps, and its answers leave together: when a step found nothing to do, or when they have
    /// waited for [`ANSWERS_WAIT_MAX`]. A worker that has something to say does not rest.
    fn step(&mut self, responses: &Sender<Response>) {
        if self.outbox.is_empty() {
            self.worker.step_or_park(None);
            self.unsaid_since = None;
            return;
        }
        let since = *self.unsaid_since.get_or_insert_with(Instant::now);
        self.worker.step_or_park(Some(Duration::ZERO));
        // What was active in a step stays listed until the next one, so an empty list means that nothing was.
        let idle = self.worker.activations().borrow().empty_for() != Some(Duration::ZERO);
        if idle || since.elapsed() >= ANSWERS_WAIT_MAX {
            self.outbox.flush(responses);
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Create(description) => self.create(&description),
            Command::Peek { peek, collection, at, keys } => self.peek(peek, (collection, at), keys.as_ref()),
            Command::Measure { measure } => self.measure(measure),
            Command::AllowCompaction { since } => {
                for (object, since) in since.iter() {
                    if let Some(installed) = self.installed.get_mut(object) {
                        installed.since = installed.since.max(*since);
                    }
                }
            }
            Command::CloseSink { object } => {
                if let Some(installed) = self.installed.get(&object) {
                    installed.exported.stop.set(true);
                }
                self.outbox.push(Response::SinkClosed { object, worker: self.worker.index() });
            }
            Command::Release { object } => self.release(object),
        }
    }

    fn create(&mut self, description: &DataflowDescription) {
        let dataflow = self.worker.next_dataflow_index();
        let sealed = Sealed::default();
        let meters = Meters::new(description.plan.nodes.len());
        let mut context = Context {
            as_of: description.as_of,
            index: self.worker.index(),
            lane: self.lane,
            lanes: self.lanes,
            peers: self.worker.peers(),
            name: Rc::from(description.name.as_str()),
            errors: ErrorLog::default(),
            meter: meters.output(),
            meters: meters.clone(),
            sealed: sealed.clone(),
            flows: &self.flows,
            outbox: self.outbox.clone(),
            tokens: Vec::new(),
            in_flight: Vec::new(),
        };
        let exported = self
            .worker
            .dataflow_named::<Timestamp, _, _>(&description.name, |scope| render(scope, description, &mut context));
        let (held, in_flight) = (tokens(context.tokens), context.in_flight);
        for (collection, trace) in
            [(description.object.rows(), exported.rows.clone()), (description.object.errors(), exported.errors.clone())]
        {
            self.flows.insert(collection, Flow { trace, tokens: Rc::clone(&held) });
        }
        let installed =
            Installed { dataflow, exported, meters, sealed, in_flight, since: description.as_of, upper: 0, ticks: 0 };
        self.installed.insert(description.object, installed);
        self.installed_changed = true;
    }

    fn peek(&mut self, peek: u64, (collection, at): (CollectionId, Timestamp), keys: Option<&IndexKeys>) {
        let mut rows = Vec::new();
        if let Some(installed) = self.installed.get_mut(&collection.object) {
            let (trace, schema) = match collection.part {
                Part::Rows => (&mut installed.exported.rows, installed.exported.rows_schema.clone()),
                Part::Errors => (&mut installed.exported.errors, crate::repr::errors_schema()),
            };
            let codec = codec_for(&schema);
            let (mut block, mut diffs): (RowBlock, Vec<Diff>) = Default::default();
            let mut visit = |row: &[u8], diff: Diff| {
                block.push(row);
                diffs.push(diff);
                if block.len() >= PEEK_ROWS {
                    rows.push(decode_delta(&block, &diffs, &codec, &schema));
                    block.clear();
                    diffs.clear();
                }
            };
            match keys {
                None => for_each_row_at(trace, at, visit),
                Some(IndexKeys { beginnings, whole: true }) => for_each_row_of(trace, beginnings, at, visit),
                Some(IndexKeys { beginnings, whole: false }) => for_each_row_at(trace, at, |row, diff| {
                    if beginnings.iter().any(|beginning| row.starts_with(beginning.bytes())) {
                        visit(row, diff);
                    }
                }),
            }
            if !block.is_empty() {
                rows.push(decode_delta(&block, &diffs, &codec, &schema));
            }
        }
        self.outbox.push(Response::Peeked { peek, worker: self.worker.index(), rows });
    }

    fn measure(&mut self, measure: u64) {
        let of = |(object, installed): (&ObjectId, &mut Installed)| {
            let Exported { rows, errors, .. } = &mut installed.exported;
            let mut arranged = held(rows);
            arranged += held(errors);
            (*object, installed.meters.figures(arranged))
        };
        let figures = self.installed.iter_mut().map(of).collect();
        self.outbox.push(Response::Measured { measure, worker: self.worker.index(), figures });
    }

    /// Drops this worker's tokens and handles. The dataflow leaves by itself in one of the next steps.
    fn release(&mut self, object: ObjectId) {
        self.flows.remove(&object.rows());
        self.flows.remove(&object.errors());
        match self.installed.remove(&object) {
            Some(installed) => self.leaving.push((object, installed.dataflow)),
            None => self.outbox.push(Response::Released { object, worker: self.worker.index() }),
        }
    }

    /// Between two steps: wakes sources that may go on, compacts arrangements, reports dataflows that have left.
    fn tend(&mut self) {
        for (object, installed) in &mut self.installed {
            if installed.tend() {
                // Every handle holds compaction back, the one for importers too.
                for collection in [object.rows(), object.errors()] {
                    if let Some(flow) = self.flows.get_mut(&collection) {
                        compact(&mut flow.trace, installed.since);
                    }
                }
            }
        }
        if !self.leaving.is_empty() {
            let running = self.worker.installed_dataflows();
            let index = self.worker.index();
            let outbox = &self.outbox;
            self.installed_changed = true;
            self.leaving.retain(|(object, dataflow)| {
                let left = !running.contains(dataflow);
                if left {
                    outbox.push(Response::Released { object: *object, worker: index });
                }
                !left
            });
        }
    }
}

impl Installed {
    /// Wakes the sources; returns whether it compacted.
    fn tend(&mut self) -> bool {
        for in_flight in &self.in_flight {
            in_flight.wake();
        }
        let Some(upper) = self.sealed.upper() else { return false };
        if upper <= self.upper {
            return false;
        }
        self.upper = upper;
        self.ticks = (self.ticks + 1) % TICKS_PER_COMPACTION;
        if self.ticks != 0 {
            return false;
        }
        compact(&mut self.exported.rows, self.since);
        compact(&mut self.exported.errors, self.since);
        true
    }
}
