//! The other side of the comparison: the same SQL, evaluated once over all rows of one time.

use std::collections::BTreeMap;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use headwater_dataflow::plan::Index;
use headwater_dataflow::repr::{CollectionId, Diff, RowCodec};
use headwater_views::sql::{self, IndexLookup, NamedIndex, Relation, RelationKind, Relations, SqlError};
use tokio::runtime::Runtime;

use crate::engine::rows::{Row, Rows, Value, add, add_all, batch_of, multiset};

/// What queries of a case can name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    relations: BTreeMap<String, Relation>,
    indexes: Vec<NamedIndex>,
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

    /// Adds an index of a collection.
    pub(crate) fn add_index(&mut self, name: &str, index: Index) {
        self.indexes.push(NamedIndex { name: name.to_owned(), index });
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

    fn indexes(&self, collection: CollectionId) -> Vec<NamedIndex> {
        self.indexes.iter().filter(|named| named.index.of == collection).cloned().collect()
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
        let lookups = planned.lookups().clone();
        let answer = multiset(&self.runtime.block_on(planned.run(tables))?);
        if !lookups.is_empty() {
            self.look_up(query, names, contents, &lookups, &answer);
        }
        Ok(Answer { schema, rows: answer })
    }

    /// A read that looks its rows up in indexes has the answer of one that gets all of them.
    fn look_up(
        &self,
        query: &str,
        names: &Names,
        contents: &Contents,
        lookups: &BTreeMap<CollectionId, IndexLookup>,
        answer: &Rows,
    ) {
        let planned = sql::plan_read(query, names).expect("it was planned before");
        let some = |id: &CollectionId| {
            let all = batches(&contents[id]);
            let lookup = lookups.get(id);
            (*id, all.iter().map(|all| lookup.map_or_else(|| all.clone(), |lookup| looked_up(lookup, all))).collect())
        };
        let tables = planned.collections().iter().map(some).collect();
        let looked_up = self.runtime.block_on(planned.run(tables)).expect("fewer rows bring no error");
        assert_eq!(multiset(&looked_up), *answer, "by {lookups:?}: {query}");
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

/// The rows that an index finds for a read.
fn looked_up(lookup: &IndexLookup, all: &RecordBatch) -> RecordBatch {
    // The order of the index, back from the places of the collection's columns in it.
    let mut order: Vec<usize> = (0..lookup.columns.len()).collect();
    order.sort_unstable_by_key(|column| lookup.columns[*column]);
    let columns: Vec<_> = order.iter().map(|column| all.column(*column).clone()).collect();
    let codec = RowCodec::new(columns.iter().map(|column| column.data_type())).expect("rows can be encoded");
    let rows = codec.encode(&columns).expect("they have their types");
    let wanted = |row: usize| Some(lookup.keys.beginnings.iter().any(|key| rows.get(row).starts_with(key.bytes())));
    let mask: BooleanArray = (0..all.num_rows()).map(wanted).collect();
    filter_record_batch(all, &mask).expect("a mask as long as the batch")
}

fn batches((schema, rows): &(SchemaRef, Rows)) -> Vec<RecordBatch> {
    let all: Vec<&Row> = rows
        .iter()
        .flat_map(|(row, count)| std::iter::repeat_n(row, usize::try_from(*count).expect("no count is negative")))
        .collect();
    vec![batch_of(schema, all)]
}
