//! The plan behind an enveloped source: its log, record by record, becomes one row a key. It is a materialised view that
//! nobody wrote; whoever reads the source reads that view.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use headwater_connectors::source::SourceDescription;
use headwater_dataflow::plan::{Op, Plan};

use super::explain::explain_plan;
use super::plan::PlannedView;

/// The name of the column in which the place of a record in the order of arrival stands.
const SEQUENCE: &str = "$sequence";

/// The columns in which the log of an enveloped source enters its dataflow: those of the log and the order of arrival.
pub fn record_schema(source: &SourceDescription) -> SchemaRef {
    let logged = source.logged_schema();
    let sequence = Arc::new(Field::new(SEQUENCE, DataType::Int64, false));
    Arc::new(Schema::new(logged.fields().iter().cloned().chain([sequence]).collect::<Vec<_>>()))
}

/// How the rows of an enveloped source are maintained; `None` if its rows are only appended.
pub fn plan_envelope(source: &SourceDescription) -> Option<PlannedView> {
    let keys = source.envelope.key()?.to_vec();
    let order = source.envelope.order();
    let (records, collection) = (record_schema(source), source.object.rows());
    let mut plan = Plan::default();
    let columns = (0..records.fields().len()).collect();
    let input = plan.push(Op::Get { collection, columns, append_only: true }, records);
    plan.push(Op::Upsert { input, keys, order }, Arc::clone(&source.schema));
    let names = BTreeMap::from([(collection, format!("the records of {}", source.name))]);
    Some(PlannedView {
        schema: Arc::clone(&source.schema),
        imports: vec![collection],
        reads: Vec::new(),
        append_only: false,
        explain: explain_plan(&plan, &names),
        plan,
    })
}
