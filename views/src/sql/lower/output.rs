//! The columns in which a view shows itself: different names, our types.

use std::collections::BTreeSet;

use arrow::datatypes::Schema;
use datafusion::common::DFSchema;
use headwater_dataflow::expr::ScalarExpr;
use headwater_dataflow::plan::NodeId;

use super::nodes::Nodes;
use super::{Refusal, bind};
use crate::sql::error::{SqlError, two_columns};
use crate::sql::locate::Construct;
use crate::sql::session::types::column_type;

/// Gives the last node its names and types.
pub(super) fn columns(nodes: &mut Nodes, node: NodeId, names: &DFSchema) -> Result<NodeId, Refusal> {
    let schema = nodes.schema(node);
    let mut seen = BTreeSet::new();
    let mut project: Vec<ScalarExpr> = Vec::with_capacity(names.fields().len());
    for (index, field) in names.fields().iter().enumerate() {
        let name = field.name();
        if !seen.insert(name.as_str()) {
            return Err(Refusal::Invalid(two_columns(name)));
        }
        let data_type = column_type(schema.field(index).data_type()).map_err(|refusal| {
            Refusal::new(Construct::Name(name.clone()), format!("{} (\"{name}\")", refusal.message), refusal.hint)
        })?;
        let mut expr = bind::cast(bind::column(&schema, index), &data_type);
        expr.name.clone_from(name);
        project.push(expr);
    }
    if project.is_empty() {
        return Err(Refusal::Invalid(SqlError::invalid("a view needs at least one column").hint("select something")));
    }
    let same = schema.fields().len() == project.len()
        && schema
            .fields()
            .iter()
            .zip(&project)
            .all(|(field, expr)| *field.name() == expr.name && *field.data_type() == expr.data_type);
    Ok(if same { node } else { nodes.project(node, project) })
}

/// `node` with the types of `schema`.
pub(super) fn cast_to(nodes: &mut Nodes, node: NodeId, schema: &Schema) -> Result<NodeId, Refusal> {
    let found = nodes.schema(node);
    if found.fields().len() != schema.fields().len() {
        let error = SqlError::invalid("the queries of a UNION have different numbers of columns");
        return Err(Refusal::Invalid(error.hint("select as many columns in each")));
    }
    let project: Vec<ScalarExpr> = (0..found.fields().len())
        .map(|index| bind::cast(bind::column(&found, index), schema.field(index).data_type()))
        .collect();
    Ok(nodes.mfp(node, Vec::new(), project))
}
