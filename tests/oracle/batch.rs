//! The other side of the comparison: the same SQL, evaluated once over all rows of one time.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use headwater_dataflow::repr::{CollectionId, Diff};
use headwater_views::sql::{self, Relation, RelationKind, Relations, SqlError};
use tokio::runtime::Runtime;

use crate::engine::rows::{Row, Rows, Value, add, add_all, batch_of, multiset};

/// What queries of a case can name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    relations: BTreeMap<String, Relation>,
}

impl Names {
    /// Adds a collection.
    pub(crate) fn add_collection(
        &mut self,
        name: &str,
        collection: CollectionId,
        schema: SchemaRef,
        append_only: bool,
    ) {
        let kind = RelationKind::Collection { collection, schema, append_only };
        self.relations.insert(name.to_owned(), Relation { name: name.to_owned(), kind });
    }

    /// Adds a view that is inlined.
    pub(crate) fn add_view(&mut self, name: &str, query: &str) {
        let kind = RelationKind::View { query: query.to_owned() };
        self.relations.insert(name.to_owned(), Relation { name: name.to_owned(), kind });
    }
}

impl Relations for Names {
    fn relation(&self, name: &str) -> Option<Relation> {
        self.relations.get(name).cloned()
    }

    fn names(&self) -> Vec<String> {
        self.relations.keys().cloned().collect()
    }
}

/// What collections contain at one time.
pub(crate) type Contents = BTreeMap<CollectionId, (SchemaRef, Rows)>;

/// Evaluates queries.
pub(crate) struct Batch {
    runtime: Runtime,
}

/// Rows and the schema they have.
pub(crate) struct Answer {
    pub(crate) schema: SchemaRef,
    pub(crate) rows: Rows,
}

impl Batch {
    /// Something that evaluates.
    pub(crate) fn new() -> Batch {
        Batch { runtime: tokio::runtime::Builder::new_current_thread().build().expect("a runtime starts") }
    }

    /// The answer of `query` over `contents`.
    pub(crate) fn answer(&self, query: &str, names: &Names, contents: &Contents) -> Result<Answer, SqlError> {
        let planned = sql::plan_read(query, names)?;
        let schema = planned.schema();
        let tables = planned.collections().iter().map(|id| (*id, batches(&contents[id]))).collect();
        let answer = self.runtime.block_on(planned.run(tables))?;
        Ok(Answer { schema, rows: multiset(&answer) })
    }

    /// The rows of the `units` on which `probe` (a query over the relation `core`) succeeds, and how many errors the others
    /// are. Found by bisection: a unit fails if the probe fails on it alone.
    pub(crate) fn probe(
        &self,
        (core, schema): (CollectionId, &SchemaRef),
        units: &[Unit],
        probe: &str,
        names: &Names,
    ) -> (Rows, Diff) {
        let mut good = Rows::new();
        let mut failing = 0;
        let mut pending = vec![units];
        while let Some(part) = pending.pop() {
            let mut rows = Rows::new();
            for (row, diff) in part.iter().flat_map(|unit| &unit.rows) {
                add(&mut rows, row.clone(), *diff);
            }
            let contents = Contents::from([(core, (schema.clone(), rows.clone()))]);
            if part.is_empty() || self.answer(probe, names, &contents).is_ok() {
                add_all(&mut good, &rows);
            } else if let [unit] = part {
                failing += unit.errors;
            } else {
                let (left, right) = part.split_at(part.len() / 2);
                pending.extend([left, right]);
            }
        }
        (good, failing)
    }
}

/// Rows that fail or succeed together.
pub(crate) struct Unit {
    pub(crate) rows: Vec<(Row, Diff)>,
    /// How many errors there are if they fail.
    pub(crate) errors: Diff,
}

impl Unit {
    /// Each different row by itself.
    pub(crate) fn rows(rows: &Rows) -> Vec<Unit> {
        rows.iter().map(|(row, diff)| Unit { rows: vec![(row.clone(), *diff)], errors: *diff }).collect()
    }

    /// All rows with the same first column together.
    pub(crate) fn groups(rows: &Rows) -> Vec<Unit> {
        let mut groups: BTreeMap<&Value, Vec<(Row, Diff)>> = BTreeMap::new();
        for (row, diff) in rows {
            groups.entry(&row[0]).or_default().push((row.clone(), *diff));
        }
        groups.into_values().map(|rows| Unit { rows, errors: 1 }).collect()
    }
}

fn batches((schema, rows): &(SchemaRef, Rows)) -> Vec<RecordBatch> {
    let all: Vec<&Row> = rows
        .iter()
        .flat_map(|(row, count)| std::iter::repeat_n(row, usize::try_from(*count).expect("no count is negative")))
        .collect();
    vec![batch_of(schema, all)]
}
