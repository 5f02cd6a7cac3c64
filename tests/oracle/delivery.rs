//! How a case's history reaches the dataflows: snapshots whole or in slices, raw or net; ticks one by one, or many at
//! once so that operators see many times together; views created late, behind what is already fed.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use headwater_dataflow::port::{PortFeed, PortItem, Tick};
use headwater_dataflow::protocol::Import;
use headwater_dataflow::repr::{CollectionId, ObjectId, Timestamp};
use headwater_views::sql::PlannedView;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::case::Case;
use super::history::{Change, History};
use super::indexes::PlacedIndex;
use crate::engine::driver::{Driver, Stalled};
use crate::engine::rows::{Row, Rows, delta_of};

/// A view with its plan and its name in the engine.
pub(crate) struct Placed {
    pub(crate) object: ObjectId,
    pub(crate) planned: PlannedView,
    /// The first readable time.
    pub(crate) as_of: Timestamp,
    /// Rows and errors at `as_of`, where they have to be read at once.
    pub(crate) at_as_of: Option<(Rows, Rows)>,
}

/// A port that is being fed.
struct Lane {
    table: Option<usize>,
    feed: PortFeed,
}

/// Feeds `history` to the views of `case`.
pub(crate) struct Delivery<'a> {
    pub(crate) case: &'a Case,
    pub(crate) history: &'a History,
    /// Per table its collection and columns.
    pub(crate) tables: &'a [(CollectionId, SchemaRef)],
    indexes: &'a [PlacedIndex],
    /// The columns of the views' collections.
    schemas: BTreeMap<CollectionId, SchemaRef>,
    rng: ChaCha8Rng,
    lanes: Vec<Lane>,
    /// Ports whose live queue is opened at the end only.
    held: Vec<PortFeed>,
}

impl<'a> Delivery<'a> {
    /// A delivery whose chances come out of the case's seed.
    pub(crate) fn new(
        case: &'a Case,
        history: &'a History,
        tables: &'a [(CollectionId, SchemaRef)],
        indexes: &'a [PlacedIndex],
    ) -> Delivery<'a> {
        let rng = ChaCha8Rng::seed_from_u64(case.seed ^ 0x5EED);
        Delivery { case, history, tables, indexes, schemas: BTreeMap::new(), rng, lanes: Vec::new(), held: Vec::new() }
    }

    /// Creates all views and feeds everything; returns when every view has closed the last time.
    pub(crate) fn run(&mut self, driver: &mut Driver, views: &mut [Placed]) -> Result<(), Stalled> {
        for placed in &*views {
            self.schemas.insert(placed.object.rows(), placed.planned.schema.clone());
        }
        for placed in self.indexes {
            self.schemas.insert(placed.object.rows(), placed.planned.schema.clone());
        }
        let last = self.history.changes.len() - 1;
        let mut fed = self.case.views.iter().map(|view| view.created).min().unwrap_or(last);
        self.create_indexes(driver, None, fed);
        self.create_due(driver, views, fed)?;
        while fed < last {
            let group = if self.rng.random_bool(0.4) { last - fed } else { self.rng.random_range(1..=last - fed) };
            for _ in 0..group {
                fed += 1;
                self.push(&self.history.changes[fed]);
                self.create_due(driver, views, fed)?;
            }
            if self.rng.random_bool(0.4) && self.held.is_empty() {
                self.wait(driver, views, fed)?;
            }
            if !self.case.long_history {
                let created = self.case.views.iter().zip(&*views).filter(|(view, _)| view.created <= fed);
                let there = |placed: &&PlacedIndex| placed.view.is_none_or(|of| self.case.views[of].created <= fed);
                let indexes = self.indexes.iter().filter(there).map(|placed| placed.object);
                let objects = created.map(|(_, placed)| placed.object).chain(indexes);
                driver.allow_compaction(objects, self.history.changes[fed].time);
            }
        }
        for feed in self.held.drain(..) {
            feed.follow();
        }
        self.wait(driver, views, last)
    }

    fn wait(&self, driver: &mut Driver, views: &[Placed], fed: usize) -> Result<(), Stalled> {
        let upper = self.history.changes[fed].time + 1;
        for (view, placed) in self.case.views.iter().zip(views) {
            // A view whose `as_of` lies between this change and the next has nothing to say before the next.
            if view.created <= fed && placed.as_of < upper {
                driver.wait_upper(placed.object, upper)?;
            }
        }
        Ok(())
    }

    fn create_due(&mut self, driver: &mut Driver, views: &mut [Placed], fed: usize) -> Result<(), Stalled> {
        for index in 0..views.len() {
            if self.case.views[index].created == fed {
                self.create(driver, &mut views[index], self.case.views[index].as_of, fed)?;
                self.create_indexes(driver, Some(index), fed);
            }
        }
        Ok(())
    }

    /// Creates the indexes of a view, or of the tables, after change `fed`.
    fn create_indexes(&mut self, driver: &mut Driver, view: Option<usize>, fed: usize) {
        for placed in self.indexes.iter().filter(|placed| placed.view == view) {
            let plan = (&placed.planned, Some(placed.index.key));
            self.create_dataflow(driver, placed.object, plan, placed.as_of, fed);
        }
    }

    /// Creates one view after change `fed` with everything up to change `as_of` as its snapshot.
    fn create(&mut self, driver: &mut Driver, placed: &mut Placed, as_of: usize, fed: usize) -> Result<(), Stalled> {
        self.create_dataflow(driver, placed.object, (&placed.planned, None), (as_of, placed.as_of), fed);
        if !self.case.long_history {
            // Nothing holds old times back: read at once what is about to pass.
            driver.wait_upper(placed.object, placed.as_of + 1)?;
            let rows = driver.peek(placed.object.rows(), placed.as_of)?;
            let errors = driver.peek(placed.object.errors(), placed.as_of)?;
            placed.at_as_of = Some((rows, errors));
        }
        Ok(())
    }

    /// Creates the dataflow of a view, or of an index, as of a change and a time, after change `fed`.
    fn create_dataflow(
        &mut self,
        driver: &mut Driver,
        object: ObjectId,
        (planned, key): (&PlannedView, Option<usize>),
        (as_of, time): (usize, Timestamp),
        fed: usize,
    ) {
        let mut imports = Vec::new();
        let mut feeds = Vec::new();
        for collection in &planned.imports {
            let table = self.tables.iter().position(|(id, _)| id == collection);
            if table.is_none() && collection.object != ObjectId(0) {
                let schema = self.schemas[collection].clone();
                let index = self.indexes.iter().find(|placed| placed.object.rows() == *collection);
                imports.push(match index {
                    Some(placed) => Import::Index { collection: *collection, schema, key: placed.index.key },
                    None => Import::View { collection: *collection, schema },
                });
                continue;
            }
            let schema = table.map_or_else(|| Arc::new(Schema::empty()), |table| self.tables[table].1.clone());
            let (feed, import) = driver.port(*collection, &schema);
            imports.push(import);
            feeds.push(Lane { table, feed });
        }
        driver.create_keyed(object, imports, (planned.plan.clone(), key), time);
        let hold = self.case.long_history && self.rng.random_bool(0.2);
        for lane in &feeds {
            self.snapshot(lane, as_of);
            for change in &self.history.changes[as_of + 1..=fed] {
                let tick = self.tick(lane.table, change);
                lane.feed.replay(PortItem::Tick(tick)).expect("the dataflow exists");
            }
            if hold {
                self.held.push(lane.feed.clone());
            } else {
                lane.feed.follow();
            }
        }
        self.lanes.extend(feeds);
    }

    fn snapshot(&mut self, lane: &Lane, as_of: usize) {
        if let Some(table) = lane.table {
            let schema = &self.tables[table].1;
            let mut updates: Vec<(Row, i64)> = if self.rng.random_bool(0.5) {
                self.history.rows_at(table, as_of).into_iter().collect()
            } else {
                self.history.changes[..=as_of].iter().flat_map(|change| change.updates[table].clone()).collect()
            };
            if self.case.tables[table].append_only {
                // A source that only appends has a diff of one for every copy.
                updates = updates
                    .into_iter()
                    .flat_map(|(row, count)| {
                        std::iter::repeat_n((row, 1), usize::try_from(count).expect("it only appends"))
                    })
                    .collect();
            }
            while !updates.is_empty() {
                let size = self.rng.random_range(1..=updates.len());
                let rest = updates.split_off(size);
                let delta = delta_of(schema, &updates);
                lane.feed.replay(PortItem::Snapshot(Arc::new(delta))).expect("the dataflow exists");
                updates = rest;
            }
        }
        lane.feed.replay(PortItem::SnapshotComplete).expect("the dataflow exists");
    }

    fn tick(&self, table: Option<usize>, change: &Change) -> Arc<Tick> {
        let updates = table.map(|table| &change.updates[table]).filter(|updates| !updates.is_empty());
        let delta = table.zip(updates).map(|(table, updates)| delta_of(&self.tables[table].1, updates));
        Arc::new(Tick { time: change.time, delta })
    }

    fn push(&self, change: &Change) {
        for lane in &self.lanes {
            lane.feed.push(&self.tick(lane.table, change)).expect("the dataflow exists and keeps up");
        }
    }
}
