//! A small ingest for tests: tables that change tick by tick, a log of all ticks, and ports made at the seam.
//!
//! Everything that decides which tick a dataflow sees first happens under one `&mut`, which stands for the critical
//! section of the real one.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use headwater_dataflow::port::{PortFeed, PortItem, PushError, Tick};
use headwater_dataflow::protocol::Import;
use headwater_dataflow::repr::{CollectionId, Diff, Timestamp};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::driver::Driver;
use super::rows::{Row, Rows, Value, add, delta_of};

/// How a table changes.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// How many different keys there are; every table has the columns (key, value).
    pub(crate) keys: i64,
    /// Rows around which the table stays.
    pub(crate) rows: usize,
    /// Most updates in one tick.
    pub(crate) updates: usize,
    pub(crate) append_only: bool,
    /// One in so many values is below zero, so that `late` keeps a worker busy; 0: none.
    pub(crate) late: u32,
    /// One in so many keys and values is NULL; 0: none.
    pub(crate) nulls: u32,
}

/// One table.
pub(crate) struct Table {
    pub(crate) collection: CollectionId,
    pub(crate) schema: SchemaRef,
    shape: Shape,
    bag: Vec<Row>,
}

/// What happened at one time, per table.
pub(crate) struct Logged {
    time: Timestamp,
    updates: Vec<Vec<(Row, Diff)>>,
    ticks: Vec<Arc<Tick>>,
}

/// All that has happened, times ascending. Clones share what they hold.
#[derive(Clone, Default)]
pub(crate) struct Log {
    /// The rows before the first of `changes`, per table.
    base: Vec<Rows>,
    /// How many changes are in `base`.
    forgotten: usize,
    changes: Vec<Arc<Logged>>,
}

/// A port that is being fed.
struct Lane {
    number: usize,
    table: usize,
    feed: PortFeed,
    /// The first tick that the closed live queue did not take.
    refused: Option<usize>,
}

/// A port whose feeding end has to replay from the log before it may follow.
#[derive(Clone)]
pub(crate) struct Behind {
    lane: usize,
    table: usize,
    feed: PortFeed,
}

/// All tables.
pub(crate) struct World {
    rng: ChaCha8Rng,
    pub(crate) now: Timestamp,
    pub(crate) tables: Vec<Table>,
    pub(crate) log: Log,
    lanes: Vec<Lane>,
    lanes_made: usize,
    /// How often a live queue was full.
    pub(crate) overflows: usize,
}

/// What a new importer gets at the seam.
pub(crate) struct Seam {
    pub(crate) as_of: Timestamp,
    log: Log,
    feeds: Vec<Behind>,
    pub(crate) imports: Vec<Import>,
}

impl World {
    /// Empty tables.
    pub(crate) fn new(seed: u64, schema: &SchemaRef, shapes: &[Shape], driver: &mut Driver) -> World {
        let table = |shape: &Shape| Table {
            collection: driver.new_object().rows(),
            schema: schema.clone(),
            shape: shape.clone(),
            bag: Vec::new(),
        };
        World {
            rng: ChaCha8Rng::seed_from_u64(seed),
            now: 100,
            tables: shapes.iter().map(table).collect(),
            log: Log { base: vec![Rows::new(); shapes.len()], ..Log::default() },
            lanes: Vec::new(),
            lanes_made: 0,
            overflows: 0,
        }
    }

    /// Random changes at a new time, pushed to every port.
    pub(crate) fn tick(&mut self) {
        let updates = (0..self.tables.len()).map(|table| self.change(table)).collect();
        self.tick_of(updates);
    }

    /// Given changes at a new time, pushed to every port.
    pub(crate) fn tick_of(&mut self, updates: Vec<Vec<(Row, Diff)>>) {
        self.now += self.rng.random_range(1..4);
        let tick = |(table, updates): (&Table, &Vec<(Row, Diff)>)| {
            let delta = (!updates.is_empty()).then(|| delta_of(&table.schema, updates));
            Arc::new(Tick { time: self.now, delta })
        };
        let ticks: Vec<Arc<Tick>> = self.tables.iter().zip(&updates).map(tick).collect();
        let index = self.log.forgotten + self.log.changes.len();
        self.lanes.retain_mut(|lane| match lane.feed.push(&ticks[lane.table]) {
            Ok(()) => true,
            Err(PushError::Closed) => false,
            Err(PushError::Full) => {
                if lane.refused.is_none() {
                    lane.refused = Some(index);
                    self.overflows += 1;
                }
                true
            }
        });
        self.log.changes.push(Arc::new(Logged { time: self.now, updates, ticks }));
    }

    fn change(&mut self, table: usize) -> Vec<(Row, Diff)> {
        let (rng, table) = (&mut self.rng, &mut self.tables[table]);
        let shape = &table.shape;
        let mut updates = Vec::new();
        for _ in 0..rng.random_range(0..=shape.updates) {
            if !shape.append_only && rng.random_range(0..=table.bag.len()) * 2 > shape.rows {
                let index = rng.random_range(0..table.bag.len());
                updates.push((table.bag.swap_remove(index), -1));
                continue;
            }
            let mut null = || shape.nulls > 0 && rng.random_ratio(1, shape.nulls);
            let (no_key, no_value) = (null(), null());
            // The lower keys are the hotter ones.
            let key = rng.random_range(0..shape.keys).min(rng.random_range(0..shape.keys));
            let late = shape.late > 0 && rng.random_ratio(1, shape.late);
            let value = if late { rng.random_range(-3..0) } else { rng.random_range(0..9) };
            let row = vec![
                if no_key { Value::Null } else { Value::Int(key) },
                if no_value { Value::Null } else { Value::Int(value) },
            ];
            let copies = if !shape.append_only && rng.random_ratio(1, 8) { rng.random_range(2..=3) } else { 1 };
            table.bag.extend(std::iter::repeat_n(row.clone(), usize::try_from(copies).expect("it is small")));
            updates.push((row, copies));
        }
        updates
    }

    /// The seam: a port per table of `tables` that gets every later tick, and the log so far. Finish it with
    /// [`Seam::replay`] outside of the critical section.
    pub(crate) fn import(&mut self, tables: &[usize], as_of: Option<Timestamp>, driver: &Driver) -> Seam {
        let mut seam =
            Seam { as_of: as_of.unwrap_or(self.now), log: self.log.clone(), feeds: Vec::new(), imports: Vec::new() };
        for table in tables {
            let (feed, import) = driver.port(self.tables[*table].collection, &self.tables[*table].schema);
            let lane = self.lanes_made;
            self.lanes_made += 1;
            self.lanes.push(Lane { number: lane, table: *table, feed: feed.clone(), refused: None });
            seam.feeds.push(Behind { lane, table: *table, feed });
            seam.imports.push(import);
        }
        seam
    }

    /// Ports whose live queue was full.
    pub(crate) fn behind(&self) -> Vec<Behind> {
        let behind = self.lanes.iter().filter(|lane| lane.refused.is_some());
        behind.map(|lane| Behind { lane: lane.number, table: lane.table, feed: lane.feed.clone() }).collect()
    }

    /// Lets a port follow, if its live queue has taken everything since it was opened; otherwise opens it again and
    /// returns what it missed.
    fn settle(&mut self, behind: &Behind) -> Vec<Arc<Tick>> {
        let Some(lane) = self.lanes.iter_mut().find(|lane| lane.number == behind.lane) else { return Vec::new() };
        match lane.refused.take() {
            Some(first) => {
                lane.feed.reopen();
                self.log.changes[first - self.log.forgotten..]
                    .iter()
                    .map(|logged| logged.ticks[lane.table].clone())
                    .collect()
            }
            None => {
                lane.feed.follow();
                Vec::new()
            }
        }
    }
}

impl Log {
    /// The times, ascending.
    pub(crate) fn times(&self) -> Vec<Timestamp> {
        self.changes.iter().map(|logged| logged.time).collect()
    }

    /// Keeps the last `kept` changes only: states before them cannot be told any more.
    pub(crate) fn forget(&mut self, kept: usize) {
        let count = self.changes.len().saturating_sub(kept);
        for logged in self.changes.drain(..count) {
            for (rows, updates) in self.base.iter_mut().zip(&logged.updates) {
                for (row, diff) in updates {
                    add(rows, row.clone(), *diff);
                }
            }
        }
        self.forgotten += count;
    }

    /// Every table's rows at each of `times`, which ascend.
    pub(crate) fn states(&self, times: &[Timestamp]) -> BTreeMap<Timestamp, Vec<Rows>> {
        let mut state = self.base.clone();
        let mut log = self.changes.iter().peekable();
        let mut states = BTreeMap::new();
        for time in times {
            while let Some(logged) = log.next_if(|logged| logged.time <= *time) {
                for (rows, updates) in state.iter_mut().zip(&logged.updates) {
                    for (row, diff) in updates {
                        add(rows, row.clone(), *diff);
                    }
                }
            }
            states.insert(*time, state.clone());
        }
        states
    }
}

impl Seam {
    /// Feeds what the log holds: everything up to `as_of` as a snapshot in slices, the rest tick by tick, until the ports
    /// follow. `enter` is the critical section.
    pub(crate) fn replay(&self, schema: &SchemaRef, slice: usize, enter: &mut dyn FnMut(&mut dyn FnMut(&mut World))) {
        let (before, after): (Vec<_>, Vec<_>) = self.log.changes.iter().partition(|logged| logged.time <= self.as_of);
        for behind in &self.feeds {
            let base = self.log.base[behind.table].clone().into_iter();
            let news = before.iter().flat_map(|logged| logged.updates[behind.table].iter().cloned());
            let updates: Vec<(Row, Diff)> = base.chain(news).collect();
            let mut items: Vec<PortItem> = updates
                .chunks(slice.max(1))
                .map(|slice| PortItem::Snapshot(Arc::new(delta_of(schema, slice))))
                .collect();
            items.push(PortItem::SnapshotComplete);
            items.extend(after.iter().map(|logged| PortItem::Tick(logged.ticks[behind.table].clone())));
            behind.replay(items, enter);
        }
    }
}

impl Behind {
    /// Replays what the port missed until it follows.
    pub(crate) fn catch_up(&self, enter: &mut dyn FnMut(&mut dyn FnMut(&mut World))) {
        self.replay(Vec::new(), enter);
    }

    fn replay(&self, mut items: Vec<PortItem>, enter: &mut dyn FnMut(&mut dyn FnMut(&mut World))) {
        loop {
            for item in items {
                // A dataflow that is gone needs nothing more.
                if self.feed.replay(item).is_err() {
                    return;
                }
            }
            let mut missed = Vec::new();
            enter(&mut |world| missed = world.settle(self));
            if missed.is_empty() {
                return;
            }
            items = missed.into_iter().map(PortItem::Tick).collect();
        }
    }
}
