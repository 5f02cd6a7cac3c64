//! Runs one case on one engine and compares.

use std::fmt::Write as _;

use headwater_dataflow::repr::{CollectionId, Timestamp};
use headwater_views::sql::{self, SqlError};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::batch::{Batch, Names};
use super::case::Case;
use super::delivery::{Delivery, Placed};
use super::expect::{Expected, Reader, Unusable, expectations};
use super::history::History;
use crate::engine::driver::{Driver, Stalled};
use crate::engine::rows::{Rows, difference};

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
        self.states += other.states;
        self.rows += other.rows;
        self.empty += other.empty;
        self.failing += other.failing;
        self.undecided += other.undecided;
    }
}

/// Runs `case`, feeding `fed` (the case's own history unless a test lies to the engine on purpose).
pub(crate) fn run(case: &Case, fed: &History, driver: &mut Driver, batch: &Batch) -> Outcome {
    let mut names = Names::default();
    let tables: Vec<_> = case.tables.iter().map(|table| (driver.new_object().rows(), table.schema())).collect();
    for (table, (collection, schema)) in case.tables.iter().zip(&tables) {
        names.add_collection(&table.name, *collection, schema.clone(), table.append_only);
    }
    for (name, query) in &case.inlined {
        names.add_view(name, &query.sql());
    }
    let mut views = Vec::new();
    let mut readers = Vec::new();
    let mut gaps = ChaCha8Rng::seed_from_u64(case.seed ^ 0x6A9);
    for view in &case.views {
        let text = view.check.sql();
        let planned = match sql::plan_view(&text, &names) {
            Ok(planned) => planned,
            Err(error) => return Outcome::Refused(text, error),
        };
        let object = driver.new_object();
        names.add_collection(&view.name, object.rows(), planned.schema.clone(), planned.append_only);
        readers.push(Reader { check: view.check.clone(), collection: object.rows(), schema: planned.schema.clone() });
        let time = case.history.changes[view.as_of].time;
        let next = case.history.changes.get(view.as_of + 1).map_or(time + 1, |change| change.time);
        // Where views are read as soon as they are created, no tick may have to come first.
        let between = case.long_history && view.as_of == view.created;
        let as_of = if between { gaps.random_range(time..next) } else { time };
        // It may read earlier views: its as_of must not be before theirs.
        let placed: &[Placed] = &views;
        let readable = case.views.iter().zip(placed).filter(|(earlier, _)| earlier.as_of <= view.as_of);
        let as_of = readable.map(|(_, placed)| placed.as_of).fold(as_of, Timestamp::max);
        views.push(Placed { object, planned, as_of, at_as_of: None });
    }
    let expected = match expectations(case, batch, &names, &tables, &readers) {
        Ok(expected) => expected,
        Err(unusable) => return Outcome::Unusable(unusable),
    };
    match observe(case, fed, driver, &tables, &mut views, &expected) {
        Ok(Ok(tally)) => Outcome::Right(tally),
        Ok(Err(wrong)) => Outcome::Wrong(wrong),
        Err(stalled) => Outcome::Stalled(stalled),
    }
}

fn observe(
    case: &Case,
    fed: &History,
    driver: &mut Driver,
    tables: &[(CollectionId, arrow::datatypes::SchemaRef)],
    views: &mut [Placed],
    expected: &[Vec<Expected>],
) -> Result<Result<Tally, String>, Stalled> {
    Delivery::new(case, fed, tables).run(driver, views)?;
    let mut tally = Tally::default();
    let mut wrong = String::new();
    for (index, placed) in views.iter().enumerate() {
        tally.views += 1;
        compare(case, index, placed, driver, &expected[index], &mut tally, &mut wrong)?;
    }
    let objects: Vec<_> = views.iter().rev().map(|placed| placed.object).collect();
    driver.drop_views(&objects)?;
    for violation in driver.violations.drain(..) {
        let _ = writeln!(wrong, "{violation}");
    }
    Ok(if wrong.is_empty() { Ok(tally) } else { Err(wrong) })
}

/// Compares one view at every closed time from its `as_of` on.
fn compare(
    case: &Case,
    index: usize,
    placed: &Placed,
    driver: &mut Driver,
    expected: &[Expected],
    tally: &mut Tally,
    wrong: &mut String,
) -> Result<(), Stalled> {
    let view = &case.views[index];
    let (rows, errors) = match placed.at_as_of.clone() {
        Some(both) => both,
        None => (driver.peek(placed.object.rows(), placed.as_of)?, driver.peek(placed.object.errors(), placed.as_of)?),
    };
    let changes = &case.history.changes;
    let last = changes.last().expect("a history has changes").time;
    let times: Vec<Timestamp> = (placed.as_of..=last).collect();
    let at = |time: Timestamp| changes.iter().rposition(|change| change.time <= time).expect("from as_of on");
    let export = driver.export(placed.object);
    let rows_at = export.states(&rows, &times);
    let errors_at = export.error_states(&errors, &times);
    for (time, (rows, errors)) in times.iter().zip(rows_at.iter().zip(&errors_at)) {
        let said = judge(&expected[at(*time)], rows, errors, tally);
        if !said.is_empty() {
            let _ = writeln!(wrong, "{} at {time} (as_of {}):\n{said}", view.name, placed.as_of);
            let _ = writeln!(wrong, "{}", placed.planned.explain);
            return Ok(());
        }
    }
    let mut rng = ChaCha8Rng::seed_from_u64(case.seed ^ 0x9EE);
    if placed.as_of <= last {
        let since = if case.long_history { placed.as_of } else { last };
        let time = rng.random_range(since..=last);
        let (rows, errors) = (driver.peek(placed.object.rows(), time)?, driver.peek(placed.object.errors(), time)?);
        let said = judge(&expected[at(time)], &rows, &errors, tally);
        if !said.is_empty() {
            let _ = writeln!(wrong, "{} peeked at {time} (as_of {}):\n{said}", view.name, placed.as_of);
        }
    }
    Ok(())
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
