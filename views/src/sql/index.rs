//! Indexes: a collection kept once more, each row beginning with the columns of the index.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use headwater_dataflow::plan::{Index, Op, Plan};
use headwater_dataflow::repr::{CollectionId, ObjectId};

use super::error::{SqlError, SqlErrorKind};
use super::explain::explain_index;
use super::plan::PlannedView;
use super::statement::CreateIndex;
use super::{RelationKind, Relations};

/// An index of a collection, and its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedIndex {
    /// The name.
    pub name: String,
    /// What it is.
    pub index: Index,
}

/// Plans the index that `object` is to be: what it is, and how it is maintained.
///
/// # Errors
/// There is no such relation or column, or none that can be indexed. Places are those in the statement.
pub fn plan_index(
    object: ObjectId,
    create: &CreateIndex,
    relations: &dyn Relations,
) -> Result<(Index, PlannedView), SqlError> {
    let CreateIndex { of, place, columns, .. } = create;
    let refuse = |what: &str, hint: &str| {
        Err(SqlError::unsupported(format!("an index on \"{of}\", which is {what}")).at(*place).hint(hint))
    };
    let (collection, schema, append_only) = match relations.relation(of).map(|relation| relation.kind) {
        Some(RelationKind::Collection { collection, .. }) if collection != collection.object.rows() => {
            return refuse("an errors relation", "index the relation itself");
        }
        Some(RelationKind::Collection { collection, schema, append_only }) => (collection, schema, append_only),
        Some(RelationKind::View { .. }) => {
            return refuse("a view", "a view keeps no rows: create it as a MATERIALIZED VIEW, or index what it reads");
        }
        Some(RelationKind::Index { of }) => {
            return refuse("an index", &format!("create another index on \"{of}\""));
        }
        None => {
            return Err(SqlError::new(SqlErrorKind::NotFound, format!("relation \"{of}\" does not exist"))
                .at(*place)
                .hint("create it first, or see SHOW OBJECTS for what there is"));
        }
    };
    let mut key = Vec::with_capacity(columns.len());
    for (name, place) in columns {
        key.push(find(&schema, name, of).map_err(|error| error.at(*place))?);
    }
    let rest = (0..schema.fields().len()).filter(|column| !key.contains(column));
    let index = Index {
        of: collection,
        rows: object.rows(),
        columns: key.iter().copied().chain(rest).collect(),
        key: key.len(),
    };
    let planned = planned(&index, (of, &schema), append_only);
    Ok((index, planned))
}

/// The column `name`, which can be one of an index.
fn find(schema: &Schema, name: &str, of: &str) -> Result<usize, SqlError> {
    let Some((position, field)) = schema.fields().iter().enumerate().find(|(_, field)| field.name() == name) else {
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        return Err(SqlError::invalid(format!("column \"{name}\" of relation \"{of}\" does not exist"))
            .hint(format!("the columns are {}", names.join(", "))));
    };
    if field.data_type().is_nested() || matches!(field.data_type(), DataType::Interval(_) | DataType::Null) {
        return Err(SqlError::unsupported(format!("the type of column \"{name}\" in an index"))
            .hint("an index consists of numbers, texts, booleans, dates and timestamps"));
    }
    Ok(position)
}

fn planned(index: &Index, (name, schema): (&str, &SchemaRef), append_only: bool) -> PlannedView {
    let fields: Vec<_> = index.columns.iter().map(|column| Arc::clone(&schema.fields()[*column])).collect();
    let mut plan = Plan::default();
    let columns = index.columns.clone();
    plan.push(Op::Get { collection: index.of, columns, append_only }, Arc::new(Schema::new(fields)));
    let names: BTreeMap<CollectionId, String> = BTreeMap::from([(index.of, name.to_owned())]);
    PlannedView {
        schema: plan.schema(),
        imports: vec![index.of],
        reads: vec![name.to_owned()],
        append_only,
        explain: explain_index(index, &plan, &names),
        names,
        plan,
    }
}

#[cfg(test)]
mod tests;
