//! The plan behind an enveloped source: its log, record by record, becomes one row a key. It is a materialised view that
//! nobody wrote; whoever reads the source reads that view.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use headwater_connectors::source::SourceDescription;
use headwater_dataflow::plan::{Op, Plan};

use super::error::{Position, SqlError};
use super::explain::explain_plan;
use super::plan::{PlannedView, plan_view};
use super::statement::Order;
use super::{Relation, RelationKind, Relations};

/// The name of the column in which the place of a record in the order of arrival stands.
const SEQUENCE: &str = "$sequence";

/// The columns in which the log of an enveloped source enters its dataflow: those of the log and the order of arrival.
pub fn record_schema(source: &SourceDescription) -> SchemaRef {
    let logged = source.logged_schema();
    let sequence = Arc::new(Field::new(SEQUENCE, DataType::Int64, false));
    Arc::new(Schema::new(logged.fields().iter().cloned().chain([sequence]).collect::<Vec<_>>()))
}

/// How the rows of an enveloped source are maintained; `None` if its rows are only appended. Places in errors are places
/// in the script.
///
/// # Errors
/// The order is no expression over one record, or its values have no order.
pub fn plan_envelope(source: &SourceDescription, order: Option<&Order>) -> Result<Option<PlannedView>, SqlError> {
    let Some(keys) = source.envelope.key() else { return Ok(None) };
    let (records, collection) = (record_schema(source), source.object.rows());
    let mut plan = match order {
        Some(order) => plan_order(source, &records, order)?,
        None => {
            let mut plan = Plan::default();
            let columns = (0..records.fields().len()).collect();
            plan.push(Op::Get { collection, columns, append_only: true }, Arc::clone(&records));
            plan
        }
    };
    let (input, order) = (plan.output(), order.map(|_| records.fields().len()));
    plan.push(Op::Upsert { input, keys: keys.to_vec(), order }, Arc::clone(&source.schema));
    let names = BTreeMap::from([(collection, format!("the records of {}", source.name))]);
    Ok(Some(PlannedView {
        schema: Arc::clone(&source.schema),
        imports: vec![collection, source.object.errors()],
        reads: Vec::new(),
        append_only: false,
        explain: explain_plan(&plan, &names),
        names,
        plan,
    }))
}

/// The records with the value that orders them behind their columns.
fn plan_order(source: &SourceDescription, records: &SchemaRef, order: &Order) -> Result<Plan, SqlError> {
    /// What stands before the expression in the text that is planned: one line.
    const BEFORE: &str = "SELECT *,\n";
    let name = source.name.replace('"', "\"\"");
    let query = format!("{BEFORE}{}\nAS \"$order\" FROM \"{name}\"", order.text);
    let relations = Records { name: &source.name, source, schema: records };
    let planned = plan_view(&query, &relations).map_err(|error| {
        let inside = error.position.filter(|place| (2..2 + lines(&order.text)).contains(&place.line));
        let inside = inside.map(|place| Position { line: place.line - 1, column: place.column });
        // Columns that are not the author's are not offered.
        let offered = |hint: String| {
            let names: Vec<&str> = hint.split(", ").filter(|name| !name.contains(".$")).collect();
            names.join(", ")
        };
        SqlError { position: inside, hint: error.hint.clone().map(offered), ..error }.within(order.position)
    })?;
    // Anything else, such as a subquery, looks at more than the one record.
    if !planned.plan.nodes.iter().all(|node| matches!(node.op, Op::Get { .. } | Op::Mfp { .. })) {
        return Err(SqlError::unsupported("an order in an envelope that needs more than the record")
            .at(order.position)
            .hint("compute it from the columns of the source"));
    }
    let data_type = planned.schema.field(records.fields().len()).data_type();
    if data_type.is_nested() || matches!(data_type, DataType::Interval(_)) {
        return Err(SqlError::unsupported("an order in an envelope by values that are no numbers, texts or times")
            .at(order.position)
            .hint("order by a number, a text, a date or a timestamp"));
    }
    Ok(planned.plan)
}

fn lines(text: &str) -> u32 {
    u32::try_from(text.lines().count()).unwrap_or(u32::MAX - 2)
}

/// The records of a source, and nothing else.
struct Records<'a> {
    name: &'a str,
    source: &'a SourceDescription,
    schema: &'a SchemaRef,
}

impl Relations for Records<'_> {
    fn relation(&self, name: &str) -> Option<Relation> {
        let (collection, schema) = (self.source.object.rows(), Arc::clone(self.schema));
        let kind = RelationKind::Collection { collection, schema, append_only: true };
        (name == self.name).then(|| Relation { name: name.to_owned(), kind })
    }

    fn names(&self) -> Vec<String> {
        vec![self.name.to_owned()]
    }
}

#[cfg(test)]
mod tests {
    use headwater_connectors::source::Pace;
    use headwater_dataflow::repr::ObjectId;

    use super::*;
    use crate::sql::{SqlErrorKind, Statement, parse};

    /// Plans a source with the columns `id BIGINT, event TEXT, tags TEXT[]` and the envelope `tail`, which begins a line.
    fn plan(tail: &str) -> Result<Option<PlannedView>, SqlError> {
        let text = format!(
            "CREATE SOURCE \"My s\" (id BIGINT PRIMARY KEY, event TEXT NOT NULL, tags TEXT[])
FROM KAFKA (BROKERS 'h', TOPIC 't') FORMAT JSON INCLUDE TIMESTAMP AS sent
{tail}"
        );
        let Statement::CreateSource(create) = parse(&text)?.remove(0).statement else { panic!("{text}") };
        let description = SourceDescription {
            object: ObjectId(3),
            name: create.name,
            schema: create.schema,
            connector: create.connector,
            format: create.format,
            envelope: create.envelope,
            pace: Pace::default(),
        };
        plan_envelope(&description, create.order.as_ref())
    }

    #[test]
    fn the_last_record_of_a_key_is_planned() {
        let explained = |tail| plan(tail).unwrap().unwrap().explain;
        assert_eq!(
            explained("ENVELOPE UPSERT"),
            "Upsert (private table, the last record of each key)
    key: id
    order: arrival
  Get the records of My s (shared import, append-only)
      columns: id, event, tags, sent, $deleted, $sequence
"
        );
        assert_eq!(explained("ENVELOPE UPSERT"), explained("ENVELOPE DEBEZIUM"));
        let text = explained("ENVELOPE UPSERT (ORDER BY CAST(substr(event, 3) AS BIGINT))");
        assert!(text.contains("order: $order, then arrival") && text.contains("substr(event, 3)"), "{text}");
        let planned = plan("ENVELOPE UPSERT (ORDER BY sent)").unwrap().unwrap();
        let columns: Vec<(&str, bool)> =
            planned.schema.fields().iter().map(|field| (field.name().as_str(), field.is_nullable())).collect();
        assert_eq!(columns, [("id", false), ("event", false), ("tags", true), ("sent", true)]);
        assert_eq!(planned.imports, [ObjectId(3).rows(), ObjectId(3).errors()]);
        assert!(!planned.append_only, "rows are replaced");
    }

    #[test]
    fn an_order_that_is_none_is_refused_with_its_place() {
        let cases = [
            ("nothing", SqlErrorKind::NotFound, "3:27", "column \"nothing\" does not exist"),
            ("id +\n  nothing", SqlErrorKind::NotFound, "4:3", "column \"nothing\" does not exist"),
            ("tags", SqlErrorKind::Unsupported, "3:27", "no numbers, texts or times"),
            ("max(id)", SqlErrorKind::Invalid, "3:31", "aggregate"),
            ("now()", SqlErrorKind::Unsupported, "3:27", "the function now()"),
            ("(SELECT max(id) FROM \"My s\")", SqlErrorKind::Unsupported, "3:27", "needs more than the record"),
            ("(SELECT a FROM other)", SqlErrorKind::NotFound, "3:42", "relation \"other\" does not exist"),
        ];
        let wrong = cases.into_iter().filter_map(|(order, kind, place, message)| {
            let error = plan(&format!("ENVELOPE UPSERT (ORDER BY {order})")).map(|_| ()).expect_err(order);
            let found = error.position.map(|place| place.to_string()).unwrap_or_default();
            let hint = error.hint.clone().unwrap_or_default();
            let right = error.kind == kind && found == place && error.message.contains(message) && !hint.contains('$');
            (!right).then(|| format!("{order}: {error:?}"))
        });
        assert_eq!(wrong.collect::<Vec<_>>(), [""; 0]);
    }
}
