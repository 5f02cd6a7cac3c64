//! Queries as views: planned, created before their rows arrive, fed a random history, read at the end and at every tick.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast::{Distinct, SetExpr, Statement};
use headwater_dataflow::port::{PortFeed, PortItem, Tick};
use headwater_dataflow::repr::{CollectionId, ObjectId, Timestamp};
use headwater_views::sql::{self, PlannedView};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::evaluate::{Failure, caught};
use super::history::History;
use super::statement::{World, parse};
use super::words::before;
use crate::engine::driver::{Driver, Stalled};
use crate::engine::rows::Rows;

/// The first readable time of every view.
const AS_OF: Timestamp = 10;
/// The clock's rows, which views without other imports read.
const CLOCK: ObjectId = ObjectId(0);

/// Engines of 1, 2 and 4 workers, started when they are first needed.
#[derive(Default)]
pub(super) struct Engines {
    drivers: BTreeMap<usize, Driver>,
}

/// Columns of views are given names: queries may have several of one name.
const COLUMNS_MAX: usize = 100;

/// What a view showed.
pub(super) struct Shown {
    pub(super) schema: SchemaRef,
    /// Rows and errors at the end.
    pub(super) rows: Rows,
    pub(super) errors: Rows,
    /// Per tick the rows and errors.
    pub(super) states: Vec<(Rows, Rows)>,
    /// Per collection how it came to its rows.
    pub(super) histories: BTreeMap<CollectionId, History>,
}

impl Engines {
    /// Maintains `query` over the tables of `world`.
    pub(super) fn maintain(&mut self, query: &str, world: &World<'_>, number: u64) -> Result<Shown, Failure> {
        let text = without_order(query)?;
        let columns: Vec<String> = (0..COLUMNS_MAX).map(|index| format!("c{index}")).collect();
        let planned = caught(|| sql::plan_view_as(&text, &columns, &world.tables))?;
        let planned = planned.map_err(|error| world.tables.blame(Failure::planning(&error)))?;
        let workers = [1, 2, 4][usize::try_from(number % 3).expect("less than 3")];
        let driver = self.drivers.entry(workers).or_insert_with(|| Driver::start(workers));
        let mut rng = ChaCha8Rng::seed_from_u64(number);
        let ticks = rng.random_range(2..=5);
        let sources = planned.imports.iter().filter(|id| id.object != CLOCK);
        let histories: BTreeMap<_, _> =
            sources.map(|id| (*id, History::random(&mut rng, world.tables.content(*id), ticks))).collect();
        let shown = run(driver, planned, histories, ticks);
        let broken: Vec<String> = driver.violations.drain(..).collect();
        match shown {
            Ok(shown) if broken.is_empty() => Ok(shown),
            Ok(_) => Err(Failure::Failed(format!("a promise of the protocol is broken: {}", broken.join("; ")))),
            Err(stalled) => {
                // Its threads may hang: they are left behind.
                std::mem::forget(self.drivers.remove(&workers));
                Err(Failure::Failed(stalled.to_string()))
            }
        }
    }

    /// Ends all engines.
    pub(super) fn shutdown(self) {
        for driver in self.drivers.into_values() {
            driver.shutdown();
        }
    }
}

fn run(
    driver: &mut Driver,
    planned: PlannedView,
    histories: BTreeMap<CollectionId, History>,
    ticks: usize,
) -> Result<Shown, Stalled> {
    let object = driver.new_object();
    let mut imports = Vec::new();
    let mut feeds: Vec<(PortFeed, Option<&History>)> = Vec::new();
    for id in &planned.imports {
        let history = histories.get(id);
        let schema = history.map_or_else(|| Arc::new(Schema::empty()), |history| history.rows_at(0).schema());
        let (feed, import) = driver.port(*id, &schema);
        imports.push(import);
        feeds.push((feed, history));
    }
    let schema = planned.schema.clone();
    driver.create(object, imports, planned.plan, AS_OF);
    for (feed, history) in &feeds {
        let put = |item| feed.replay(item).expect("the dataflow exists");
        if let Some(delta) = history.and_then(|history| history.delta(0)) {
            put(PortItem::Snapshot(Arc::new(delta)));
        }
        put(PortItem::SnapshotComplete);
        for tick in 1..ticks {
            let delta = history.and_then(|history| history.delta(tick));
            put(PortItem::Tick(Arc::new(Tick { time: AS_OF + tick as Timestamp, delta })));
        }
        feed.follow();
    }
    let last = AS_OF + ticks as Timestamp - 1;
    driver.wait_upper(object, last + 1)?;
    let (rows, errors) = (driver.peek(object.rows(), last)?, driver.peek(object.errors(), last)?);
    let at_as_of = (driver.peek(object.rows(), AS_OF)?, driver.peek(object.errors(), AS_OF)?);
    let times: Vec<Timestamp> = (AS_OF..=last).collect();
    let export = driver.export(object);
    let states = export.states(&at_as_of.0, &times).into_iter().zip(export.error_states(&at_as_of.1, &times)).collect();
    driver.drop_views(&[object])?;
    Ok(Shown { schema, rows, errors, states, histories })
}

/// The query without an order that only its reader would see.
fn without_order(query: &str) -> Result<String, Failure> {
    let mut statements = parse(query)?;
    let Some(DfStatement::Statement(statement)) = statements.pop() else {
        return Err(Failure::Refused("no query".to_owned()));
    };
    let Statement::Query(parsed) = *statement else { return Err(Failure::Refused("no query".to_owned())) };
    let distinct_on =
        matches!(&*parsed.body, SetExpr::Select(select) if matches!(select.distinct, Some(Distinct::On(_))));
    let limited = parsed.limit_clause.is_some() || parsed.fetch.is_some();
    let order = parsed.order_by.is_some() && !limited && !distinct_on;
    Ok(if order { before(query, "ORDER").to_owned() } else { query.trim_end_matches(';').to_owned() })
}
