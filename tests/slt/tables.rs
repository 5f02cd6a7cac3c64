//! The tables and views of one file: names, and rows as one batch each.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use headwater_dataflow::repr::{CollectionId, ObjectId};
use headwater_views::sql::{Relation, RelationKind, Relations};

use super::evaluate::Failure;

/// Numbers of tables begin here, far from those of the engines' objects.
const FIRST: u64 = 1 << 40;

/// What can stand after FROM.
#[derive(Default)]
pub(super) struct Tables {
    tables: BTreeMap<String, (CollectionId, RecordBatch)>,
    views: BTreeMap<String, String>,
    /// What could not be created, and why: queries over it are refused for the same reason.
    missing: BTreeMap<String, Failure>,
    created: u64,
}

impl Tables {
    /// Creates a table, or replaces its rows and columns.
    pub(super) fn put(&mut self, name: &str, rows: RecordBatch) {
        self.missing.remove(name);
        self.views.remove(name);
        let id = ObjectId(FIRST + self.created).rows();
        self.created += 1;
        self.tables.insert(name.to_owned(), (id, rows));
    }

    /// Gives a table other rows.
    pub(super) fn fill(&mut self, name: &str, rows: RecordBatch) {
        let table = self.tables.get_mut(name).expect("it was just read");
        table.1 = rows;
    }

    /// Creates a view that stands for its query.
    pub(super) fn put_view(&mut self, name: &str, query: String) {
        self.missing.remove(name);
        self.tables.remove(name);
        self.views.insert(name.to_owned(), query);
    }

    /// Notes that there is no `name`, and why.
    pub(super) fn put_missing(&mut self, name: &str, why: Failure) {
        self.remove(name);
        self.missing.insert(name.to_owned(), why);
    }

    /// Drops what has that name; whether there was something.
    pub(super) fn remove(&mut self, name: &str) -> bool {
        let missing = self.missing.remove(name).is_some();
        self.tables.remove(name).is_some() | self.views.remove(name).is_some() | missing
    }

    /// Whether there is a table or view of that name.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.tables.contains_key(name) || self.views.contains_key(name)
    }

    /// The rows of a table.
    pub(super) fn rows(&self, name: &str) -> Option<&RecordBatch> {
        self.tables.get(name).map(|(_, rows)| rows)
    }

    /// The rows of a collection.
    pub(super) fn content(&self, id: CollectionId) -> RecordBatch {
        let found = self.tables.values().find(|(known, _)| *known == id);
        found.map(|(_, rows)| rows.clone()).expect("the planner knows only what is here")
    }

    /// The failure of a query, or of what it would have read.
    pub(super) fn blame(&self, failure: Failure) -> Failure {
        let name = failure.message().strip_prefix("not found: relation \"").and_then(|rest| rest.split('"').next());
        name.and_then(|name| self.missing.get(name)).cloned().unwrap_or(failure)
    }
}

impl Relations for Tables {
    fn relation(&self, name: &str) -> Option<Relation> {
        let collection = |(id, rows): &(CollectionId, RecordBatch)| {
            let schema: SchemaRef = rows.schema();
            RelationKind::Collection { collection: *id, schema, append_only: false }
        };
        let view = |query: &String| RelationKind::View { query: query.clone() };
        let kind = self.tables.get(name).map(collection).or_else(|| self.views.get(name).map(view))?;
        Some(Relation { name: name.to_owned(), kind })
    }

    fn names(&self) -> Vec<String> {
        self.tables.keys().chain(self.views.keys()).cloned().collect()
    }
}
