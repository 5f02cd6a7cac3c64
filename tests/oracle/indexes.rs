//! Indexes of a case: in a share of the cases some tables and views have some, before the views that may look them up.

use headwater_dataflow::plan::Index;
use headwater_dataflow::repr::{ObjectId, Timestamp};
use headwater_views::sql::{self, CreateIndex, PlannedView, Position};
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::batch::Names;
use super::case::Case;
use crate::engine::driver::Driver;

/// An index as it stands in an engine.
pub(crate) struct PlacedIndex {
    pub(crate) object: ObjectId,
    pub(crate) index: Index,
    pub(crate) planned: PlannedView,
    /// Which view it is an index of, which is created before it; `None` if it is one of a table.
    pub(crate) view: Option<usize>,
    /// The change that is the dataflow's `as_of`, and the time: never after that of a view that may look it up.
    pub(crate) as_of: (usize, Timestamp),
}

/// Makes indexes.
pub(crate) struct Indexes {
    rng: ChaCha8Rng,
    /// Whether the case has any.
    any: bool,
    pub(crate) placed: Vec<PlacedIndex>,
}

impl Indexes {
    /// The indexes of a case's tables.
    pub(crate) fn of_tables(case: &Case, names: &mut Names, driver: &mut Driver) -> Indexes {
        let mut rng = ChaCha8Rng::seed_from_u64(case.seed ^ 0x1DE);
        let any = rng.random_bool(0.5);
        let mut indexes = Indexes { rng, any, placed: Vec::new() };
        let earliest = case.views.iter().map(|view| view.as_of).min().unwrap_or(0);
        for table in &case.tables {
            let columns: Vec<String> = table.columns.iter().map(|column| column.name.clone()).collect();
            let change = indexes.rng.random_range(0..=earliest);
            let as_of = (change, case.history.changes[change].time);
            indexes.add((&table.name, &columns), (None, as_of, 0.8), names, driver);
        }
        indexes
    }

    /// The indexes of a view.
    pub(crate) fn of_view(
        &mut self,
        (case, view): (&Case, usize),
        (planned, as_of): (&PlannedView, Timestamp),
        names: &mut Names,
        driver: &mut Driver,
    ) {
        let columns: Vec<String> = planned.schema.fields().iter().map(|field| field.name().clone()).collect();
        let as_of = (case.views[view].as_of, as_of);
        self.add((&case.views[view].name, &columns), (Some(view), as_of, 0.5), names, driver);
    }

    fn add(
        &mut self,
        (of, columns): (&str, &[String]),
        (view, as_of, chance): (Option<usize>, (usize, Timestamp), f64),
        names: &mut Names,
        driver: &mut Driver,
    ) {
        while self.any && self.rng.random_bool(chance) {
            let mut key = Vec::new();
            for _ in 0..self.rng.random_range(1..=2).min(columns.len()) {
                let first = self.rng.random_bool(0.7);
                let column = if first { &columns[0] } else { columns.choose(&mut self.rng).expect("there is a first") };
                if !key.contains(column) {
                    key.push(column.clone());
                }
            }
            let place = Position { line: 1, column: 1 };
            let create = CreateIndex {
                name: format!("{of}_{}_idx", key.join("_")),
                if_not_exists: false,
                of: of.to_owned(),
                place,
                columns: key.into_iter().map(|name| (name, place)).collect(),
            };
            let object = driver.new_object();
            // Not every type can be indexed.
            let Ok((index, planned)) = sql::plan_index(object, &create, names) else { continue };
            names.add_index(&create.name, index.clone());
            self.placed.push(PlacedIndex { object, index, planned, view, as_of });
        }
    }
}
