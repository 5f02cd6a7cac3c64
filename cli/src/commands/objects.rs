//! How sources, tables and views are named and shown.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, UInt64Array};
use headwater_proto::v1::data_type::Kind;
use headwater_proto::v1::{Column, DataType, Object, ObjectKind, ObjectPhase};

/// What an object is, in SQL's words.
pub(super) fn kind(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::Unspecified => "object",
        ObjectKind::Source => "source",
        ObjectKind::View => "view",
        ObjectKind::MaterializedView => "materialized view",
        ObjectKind::Table => "table",
        ObjectKind::Index => "index",
    }
}

/// Where an object is in its life, in a word.
pub(super) fn phase(phase: ObjectPhase) -> &'static str {
    match phase {
        ObjectPhase::Unspecified => "unknown",
        ObjectPhase::Planned => "planned",
        ObjectPhase::Hydrating => "hydrating",
        ObjectPhase::CatchingUp => "catching up",
        ObjectPhase::Serving => "serving",
        ObjectPhase::Failed => "failed",
        ObjectPhase::Stopping => "stopping",
        ObjectPhase::Paused => "paused",
    }
}

/// Where an object is in its life, with how far or why.
pub(super) fn state(object: &Object) -> String {
    let word = phase(object.phase());
    let limit = object.max_rows_per_second.map_or_else(String::new, |limit| format!(", at most {limit} rows/s"));
    match object.ratio {
        Some(ratio) => format!("{word} {:.0} %{limit}", (ratio * 100.0).clamp(0.0, 100.0).floor()),
        None if object.reason.is_empty() => format!("{word}{limit}"),
        None => format!("{word}: {}", object.reason),
    }
}

/// Objects as a relation.
pub(super) fn relation(objects: &[Object]) -> anyhow::Result<RecordBatch> {
    let texts = |of: &dyn Fn(&Object) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(objects.iter().map(of)))
    };
    let counts =
        |of: &dyn Fn(&Object) -> u64| -> ArrayRef { Arc::new(UInt64Array::from_iter_values(objects.iter().map(of))) };
    let times =
        |of: &dyn Fn(&Object) -> i64| -> ArrayRef { Arc::new(Int64Array::from_iter_values(objects.iter().map(of))) };
    Ok(RecordBatch::try_from_iter([
        ("name", texts(&|object| object.name.clone())),
        ("kind", texts(&|object| kind(object.kind()).to_owned())),
        ("state", texts(&state)),
        ("updates", counts(&|object| object.updates)),
        ("errors", counts(&|object| object.errors)),
        ("since", times(&|object| object.since)),
        ("upper", times(&|object| object.upper)),
        ("reads", texts(&|object| object.reads.join(", "))),
    ])?)
}

/// Objects as a relation of what they are doing: how fresh, how dear, how large.
pub(super) fn figures(objects: &[Object]) -> anyhow::Result<RecordBatch> {
    let texts = |of: &dyn Fn(&Object) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(objects.iter().map(of)))
    };
    let counts =
        |of: &dyn Fn(&Object) -> Option<u64>| -> ArrayRef { Arc::new(objects.iter().map(of).collect::<UInt64Array>()) };
    let elapsed = objects.iter().map(|object| object.figures.map(|figures| millis(figures.elapsed_nanos)));
    Ok(RecordBatch::try_from_iter([
        ("name", texts(&|object| object.name.clone())),
        ("kind", texts(&|object| kind(object.kind()).to_owned())),
        ("state", texts(&state)),
        ("updates", counts(&|object| Some(object.updates))),
        ("errors", counts(&|object| Some(object.errors))),
        ("freshness_ms", counts(&|object| object.freshness_millis)),
        ("elapsed_ms", Arc::new(elapsed.collect::<Float64Array>()) as ArrayRef),
        ("held_records", counts(&|object| object.figures.map(|figures| figures.held_records))),
        ("held_bytes", counts(&|object| object.figures.map(|figures| figures.held_bytes))),
    ])?)
}

/// Nanoseconds in milliseconds, to the microsecond.
pub(super) fn millis(nanos: u64) -> f64 {
    // Figures above 2^53 microseconds lose their last digits.
    #[allow(clippy::cast_precision_loss, clippy::as_conversions, reason = "shown, not computed with")]
    let micros = (nanos / 1_000) as f64;
    micros / 1_000.0
}

/// The SQL name of a type.
pub(super) fn type_name(data_type: &DataType) -> String {
    let field = |column: &Column| {
        let inner = column.r#type.as_ref().map(type_name).unwrap_or_default();
        if data_type.kind() == Kind::List { inner } else { format!("{} {inner}", column.name) }
    };
    let fields: Vec<String> = data_type.fields.iter().map(field).collect();
    let name = match data_type.kind() {
        Kind::Unspecified => "?",
        Kind::Null => "NULL",
        Kind::Boolean => "BOOLEAN",
        Kind::Smallint => "SMALLINT",
        Kind::Integer => "INT",
        Kind::Bigint => "BIGINT",
        Kind::UnsignedBigint => "BIGINT UNSIGNED",
        Kind::Real => "REAL",
        Kind::Double => "DOUBLE",
        Kind::Decimal => return format!("DECIMAL({},{})", data_type.precision, data_type.scale),
        Kind::Text => "TEXT",
        Kind::Bytes => "BYTEA",
        Kind::Date => "DATE",
        Kind::Time => "TIME",
        Kind::Timestamp => "TIMESTAMP",
        Kind::Timestamptz => "TIMESTAMPTZ",
        Kind::Interval => "INTERVAL",
        Kind::Struct => return format!("STRUCT<{}>", fields.join(", ")),
        Kind::List => return format!("{}[]", fields.join(", ")),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use arrow::array::Array;
    use headwater_proto::v1::Figures;

    use super::*;

    #[test]
    fn states_say_how_far_and_why() {
        let object = |phase: ObjectPhase, ratio, reason: &str| Object {
            phase: phase.into(),
            ratio,
            reason: reason.to_owned(),
            ..Object::default()
        };
        assert_eq!(state(&object(ObjectPhase::Serving, None, "")), "serving");
        let limited = Object { max_rows_per_second: Some(500), ..object(ObjectPhase::Paused, None, "") };
        assert_eq!(state(&limited), "paused, at most 500 rows/s");
        assert_eq!(state(&object(ObjectPhase::Hydrating, Some(0.429), "")), "hydrating 42 %");
        assert_eq!(state(&object(ObjectPhase::CatchingUp, None, "")), "catching up");
        assert_eq!(state(&object(ObjectPhase::Failed, None, "no such file")), "failed: no such file");
    }

    #[test]
    fn figures_stand_where_something_is_maintained() {
        let figures = Figures { elapsed_nanos: 1_234_567, held_records: 3, held_bytes: 210 };
        let view = Object { freshness_millis: Some(40), figures: Some(figures), ..Object::default() };
        let rows = super::figures(&[Object::default(), view]).unwrap();
        let column = |name: &str| arrow::util::display::array_value_to_string(rows.column_by_name(name).unwrap(), 1);
        let texts = ["freshness_ms", "elapsed_ms", "held_records", "held_bytes"].map(|name| column(name).unwrap());
        assert_eq!(texts, ["40", "1.234", "3", "210"]);
        assert!(["freshness_ms", "elapsed_ms"].iter().all(|name| rows.column_by_name(name).unwrap().is_null(0)));
    }

    #[test]
    fn types_have_their_names_in_sql() {
        let of = |kind: Kind, fields: Vec<Column>| DataType { kind: kind.into(), precision: 12, scale: 2, fields };
        let column = |name: &str, data_type| Column { name: name.to_owned(), r#type: Some(data_type), nullable: true };
        assert_eq!(type_name(&of(Kind::Decimal, vec![])), "DECIMAL(12,2)");
        let list = of(Kind::List, vec![column("item", of(Kind::Text, vec![]))]);
        assert_eq!(type_name(&list), "TEXT[]");
        let fields = vec![column("a", of(Kind::Bigint, vec![])), column("b", list)];
        assert_eq!(type_name(&of(Kind::Struct, fields)), "STRUCT<a BIGINT, b TEXT[]>");
    }
}
