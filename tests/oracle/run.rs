//! Runs one case on one engine and compares.

use std::fmt::Write as _;

use arrow::datatypes::SchemaRef;
use headwater_dataflow::repr::{CollectionId, Timestamp};
use headwater_views::sql::{self, SqlError};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::batch::{Batch, Names};
use super::case::Case;
use super::delivery::{Delivery, Placed};
use super::expect::{Expected, Reader, Unusable, expectations};
use super::history::History;
use super::indexes::{Indexes, PlacedIndex};
use super::peer::Peer;
use crate::engine::driver::{Driver, Stalled};
use crate::engine::rows::{Rows, add_all, difference};

/// What became of a case.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The text is not maintained.
    Refused(String, SqlError),
    /// The batch side cannot say what is right.
    Unusable(Unusable),
    /// Every state is right.
    Right(Tally),
    /// A state is wrong, or a promise of the protocol is broken.
    Wrong(String),
    /// The engine hangs or is gone.
    Stalled(Stalled),
}

/// What was compared.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) views: usize,
    /// Views that look indexes up.
    pub(crate) indexed: usize,
    pub(crate) states: usize,
    pub(crate) rows: usize,
    /// States without rows and errors.
    pub(crate) empty: usize,
    /// States that had errors.
    pub(crate) failing: usize,
    /// States of which one side had errors and the other none, where that is allowed.
    pub(crate) undecided: usize,
}

impl Tally {
    /// Adds another tally.
    pub(crate) fn add(&mut self, other: Tally) {
        self.views += other.views;
        self.indexed += other.indexed;
        self.states += other.states;
        self.rows += other.rows;
        self.empty += other.empty;
        self.failing += other.failing;
        self.undecided += other.undecided;
    }
}

/// A case's tables and views as they stand in an engine.
struct Placement {
    names: Names,
    tables: Vec<(CollectionId, SchemaRef)>,
    views: Vec<Placed>,
    indexes: Vec<PlacedIndex>,
    readers: Vec<Reader>,
}

/// What was seen of one view: rows and errors at each time from its `as_of` on, and once more by a peek at one of them.
/// Where several processes compute, each sees a part.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Seen {
    states: Vec<(Rows, Rows)>,
    peeked: Option<(Timestamp, Rows, Rows)>,
}

impl Seen {
    /// Adds what another process saw of the same view.
    fn add(&mut self, other: &Seen) {
        for ((rows, errors), (other_rows, other_errors)) in self.states.iter_mut().zip(&other.states) {
            add_all(rows, other_rows);
            add_all(errors, other_errors);
        }
        if let (Some((_, rows, errors)), Some((_, other_rows, other_errors))) = (&mut self.peeked, &other.peeked) {
            add_all(rows, other_rows);
            add_all(errors, other_errors);
        }
    }
}

/// Runs `case`, feeding `fed` (the case's own history unless a test lies to the engine on purpose).
pub(crate) fn run(case: &Case, fed: &History, driver: &mut Driver, batch: &Batch) -> Outcome {
    run_with(case, fed, driver, batch, None)
}

/// Runs `case` together with another process, if there is one.
pub(crate) fn run_with(
    case: &Case,
    fed: &History,
    driver: &mut Driver,
    batch: &Batch,
    mut peer: Option<&mut Peer>,
) -> Outcome {
    let first = driver.next_object();
    let Placement { names, tables, mut views, indexes, readers } = match place(case, driver) {
        Ok(placement) => placement,
        Err(refused) => return refused,
    };
    let expected = match expectations(case, batch, &names, &tables, &readers) {
        Ok(expected) => expected,
        Err(unusable) => return Outcome::Unusable(unusable),
    };
    if let Some(peer) = &mut peer {
        peer.begin(case.seed, first);
    }
    match observe(case, fed, driver, (&tables, &indexes, &mut views), &expected, peer) {
        Ok(Ok(tally)) => Outcome::Right(tally),
        Ok(Err(wrong)) => Outcome::Wrong(wrong),
        Err(stalled) => Outcome::Stalled(stalled),
    }
}

/// The other process's part of a case: `show` gets what it sees of each view, `wait` returns when all has been compared.
pub(crate) fn take_part(
    case: &Case,
    driver: &mut Driver,
    mut show: impl FnMut(Seen),
    wait: impl FnOnce(),
) -> Result<(), Stalled> {
    let placement = place(case, driver).map_err(|refused| Stalled(format!("the other process says {refused:?}")))?;
    let Placement { tables, mut views, indexes, .. } = placement;
    Delivery::new(case, &case.history, &tables, &indexes).run(driver, &mut views)?;
    for placed in &views {
        show(see(case, placed, driver)?);
    }
    wait();
    drop_all(&views, &indexes, driver)
}

fn place(case: &Case, driver: &mut Driver) -> Result<Placement, Outcome> {
    let mut names = Names::default();
    let tables: Vec<_> = case.tables.iter().map(|table| (driver.new_object().rows(), table.schema())).collect();
    for (table, (collection, schema)) in case.tables.iter().zip(&tables) {
        names.add_collection(&table.name, *collection, schema.clone(), table.append_only);
    }
    let mut indexes = Indexes::of_tables(case, &mut names, driver);
    for (name, query) in &case.inlined {
        names.add_view(name, &query.sql());
    }
    let mut views: Vec<Placed> = Vec::new();
    let mut readers = Vec::new();
    let mut gaps = ChaCha8Rng::seed_from_u64(case.seed ^ 0x6A9);
    for (place, view) in case.views.iter().enumerate() {
        let text = view.check.sql();
        let planned = sql::plan_view(&text, &names).map_err(|error| Outcome::Refused(text, error))?;
        let object = driver.new_object();
        names.add_collection(&view.name, object.rows(), planned.schema.clone(), planned.append_only);
        readers.push(Reader { check: view.check.clone(), collection: object.rows(), schema: planned.schema.clone() });
        let time = case.history.changes[view.as_of].time;
        let next = case.history.changes.get(view.as_of + 1).map_or(time + 1, |change| change.time);
        // Where views are read as soon as they are created, no tick may have to come first.
        let between = case.long_history && view.as_of == view.created;
        let as_of = if between { gaps.random_range(time..next) } else { time };
        // It may read earlier views: its as_of must not be before theirs.
        let readable = case.views.iter().zip(&views).filter(|(earlier, _)| earlier.as_of <= view.as_of);
        let as_of = readable.map(|(_, placed)| placed.as_of).fold(as_of, Timestamp::max);
        indexes.of_view((case, place), (&planned, as_of), &mut names, driver);
        views.push(Placed { object, planned, as_of, at_as_of: None });
    }
    Ok(Placement { names, tables, views, indexes: indexes.placed, readers })
}

fn observe(
    case: &Case,
    fed: &History,
    driver: &mut Driver,
    (tables, indexes, views): (&[(CollectionId, SchemaRef)], &[PlacedIndex], &mut [Placed]),
    expected: &[Vec<Expected>],
    mut peer: Option<&mut Peer>,
) -> Result<Result<Tally, String>, Stalled> {
    Delivery::new(case, fed, tables, indexes).run(driver, views)?;
    let mut tally = Tally::default();
    let mut wrong = String::new();
    for (index, placed) in views.iter().enumerate() {
        tally.views += 1;
        tally.indexed += usize::from(!placed.planned.indexes().is_empty());
        let mut seen = see(case, placed, driver)?;
        if let Some(peer) = &mut peer {
            seen.add(&peer.seen()?);
        }
        compare(case, index, placed, &seen, &expected[index], &mut tally, &mut wrong);
    }
    if let Some(peer) = peer {
        peer.end();
    }
    drop_all(views, indexes, driver)?;
    for violation in driver.violations.drain(..) {
        let _ = writeln!(wrong, "{violation}");
    }
    Ok(if wrong.is_empty() { Ok(tally) } else { Err(wrong) })
}

fn drop_all(views: &[Placed], indexes: &[PlacedIndex], driver: &mut Driver) -> Result<(), Stalled> {
    let objects = views.iter().map(|placed| placed.object).chain(indexes.iter().map(|placed| placed.object));
    // Who reads has a greater number than what is read.
    let mut objects: Vec<_> = objects.collect();
    objects.sort_unstable_by(|a, b| b.cmp(a));
    driver.drop_views(&objects)
}

/// The times at which a view is looked at: every one from its `as_of` on.
fn times(case: &Case, placed: &Placed) -> std::ops::RangeInclusive<Timestamp> {
    placed.as_of..=case.history.changes.last().expect("a history has changes").time
}

/// What this process has of a view.
fn see(case: &Case, placed: &Placed, driver: &mut Driver) -> Result<Seen, Stalled> {
    let (rows, errors) = match placed.at_as_of.clone() {
        Some(both) => both,
        None => (driver.peek(placed.object.rows(), placed.as_of)?, driver.peek(placed.object.errors(), placed.as_of)?),
    };
    let (times, last) = (times(case, placed).collect::<Vec<_>>(), *times(case, placed).end());
    let export = driver.export(placed.object);
    let states = export.states(&rows, &times).into_iter().zip(export.error_states(&errors, &times)).collect();
    let mut seen = Seen { states, peeked: None };
    if placed.as_of <= last {
        let mut rng = ChaCha8Rng::seed_from_u64(case.seed ^ 0x9EE);
        let since = if case.long_history { placed.as_of } else { last };
        let time = rng.random_range(since..=last);
        let (rows, errors) = (driver.peek(placed.object.rows(), time)?, driver.peek(placed.object.errors(), time)?);
        seen.peeked = Some((time, rows, errors));
    }
    Ok(seen)
}

/// Compares one view at every closed time from its `as_of` on.
fn compare(
    case: &Case,
    index: usize,
    placed: &Placed,
    seen: &Seen,
    expected: &[Expected],
    tally: &mut Tally,
    wrong: &mut String,
) {
    let (view, changes) = (&case.views[index], &case.history.changes);
    let at = |time: Timestamp| changes.iter().rposition(|change| change.time <= time).expect("from as_of on");
    for (time, (rows, errors)) in times(case, placed).zip(&seen.states) {
        let said = judge(&expected[at(time)], rows, errors, tally);
        if !said.is_empty() {
            let _ = writeln!(wrong, "{} at {time} (as_of {}):\n{said}", view.name, placed.as_of);
            let _ = writeln!(wrong, "{}", placed.planned.explain);
            return;
        }
    }
    if let Some((time, rows, errors)) = &seen.peeked {
        let said = judge(&expected[at(*time)], rows, errors, tally);
        if !said.is_empty() {
            let _ = writeln!(wrong, "{} peeked at {time} (as_of {}):\n{said}", view.name, placed.as_of);
        }
    }
}

/// What is wrong with a state; empty if nothing is.
fn judge(expected: &Expected, rows: &Rows, errors: &Rows, tally: &mut Tally) -> String {
    let count: i64 = errors.values().sum();
    tally.states += 1;
    tally.rows += rows.len();
    tally.empty += usize::from(rows.is_empty() && errors.is_empty());
    tally.failing += usize::from(!errors.is_empty());
    if let Some((row, diff)) = rows.iter().chain(errors).find(|(_, diff)| **diff < 0) {
        return format!("  a count below zero: {diff} x {row:?}\n");
    }
    match expected {
        Expected::Rows(right, failing) => {
            let mut said = difference(right, rows, 8);
            if count != *failing {
                let _ = writeln!(said, "  {count} instead of {failing} errors");
                for (error, count) in errors.iter().take(4) {
                    let _ = writeln!(said, "    {count} x {error:?}");
                }
            }
            said
        }
        Expected::RowsOrErrors(right) if errors.is_empty() => difference(right, rows, 8),
        Expected::RowsOrErrors(_) => {
            tally.undecided += 1;
            String::new()
        }
        Expected::Errors => {
            tally.undecided += usize::from(errors.is_empty());
            String::new()
        }
    }
}
