//! SQL: texts become statements, queries become plans. Pure: no catalog, no clock, no I/O.
//!
//! The way of a view: [`parse`] → [`plan_view`] (DataFusion plans and optimises, our lowering turns the result into
//! operators that can be maintained, or refuses). The way of a read: [`parse`] → [`plan_read`] → [`PlannedRead::run`].

mod envelope;
mod error;
mod explain;
mod index;
mod locate;
mod lower;
mod names;
mod plan;
mod provider;
mod read;
mod session;
mod statement;
mod write;

use arrow::datatypes::SchemaRef;
use headwater_dataflow::repr::CollectionId;

pub use envelope::{plan_envelope, record_schema};
pub use error::{Position, SqlError, SqlErrorKind};
pub use explain::{Measured, Notice, explain, explain_analyzed, explain_plan, notices};
pub use index::{NamedIndex, plan_index};
pub use plan::{PlannedView, plan_view, plan_view_as};
pub use read::{IndexLookup, PlannedRead, plan_read};
pub use statement::{
    AlterSource, CreateIndex, CreateSource, CreateTable, CreateView, DropObject, Explain, ExplainTarget, Order,
    PaceChange, Parsed, Show, Statement, Write, analyzed_query, parse,
};
pub use write::{
    Completion, EXCLUDED, OnConflict, PlannedWrite, RowsOf, Table, WriteKind, Written, first_rows, plan_table,
    plan_write,
};

/// The kinds of objects in the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum ObjectKind {
    /// Rows that come from outside.
    Source,
    /// A name for a query, inlined where it is used.
    View,
    /// A query whose answer is maintained.
    MaterializedView,
    /// Rows that statements bring.
    Table,
    /// Rows of another object once more, found by some of their columns.
    Index,
}

impl ObjectKind {
    /// The kind in words, with its article.
    pub fn one(self) -> String {
        let article = if self == ObjectKind::Index { "an" } else { "a" };
        format!("{article} {self}")
    }
}

impl std::fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ObjectKind::Source => "source",
            ObjectKind::View => "view",
            ObjectKind::MaterializedView => "materialized view",
            ObjectKind::Table => "table",
            ObjectKind::Index => "index",
        })
    }
}

/// What queries may name. Implemented by the catalog.
pub trait Relations {
    /// The relation of that name (already folded to lower case unless it was quoted), or `None`. `name$errors` names
    /// the errors of the object `name`, a collection in the shape of
    /// [`headwater_dataflow::repr::errors_schema`].
    fn relation(&self, name: &str) -> Option<Relation>;

    /// All names, for suggestions.
    fn names(&self) -> Vec<String>;

    /// The indexes of a collection, in the order of their creation.
    fn indexes(&self, _collection: CollectionId) -> Vec<NamedIndex> {
        Vec::new()
    }
}

/// Something that can stand after FROM.
#[derive(Clone, Debug)]
pub struct Relation {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: RelationKind,
}

/// What stands behind a name.
#[derive(Clone, Debug)]
pub enum RelationKind {
    /// A collection that is there at run time.
    Collection {
        /// Which one.
        collection: CollectionId,
        /// Its columns.
        schema: SchemaRef,
        /// Whether it never retracts.
        append_only: bool,
    },
    /// A query that stands for itself wherever its name is used.
    View {
        /// The query's text.
        query: String,
    },
    /// An index, which no query can name.
    Index {
        /// What it is an index of.
        of: String,
    },
}
