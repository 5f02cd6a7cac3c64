//! `headwater describe`: everything known of one source or view.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;
use headwater_proto::v1::{Column, Figures, GetRequest, Object};

use super::objects;
use crate::args::{Global, NameArgs};
use crate::call::{connect, failure};
use crate::output::table::{Heading, Pages, safe};
use crate::output::{OutputFormat, csv, stdout, value};

/// Prints the object: its figures, columns and statement. As CSV, one row a column of it.
pub(super) async fn run(args: NameArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let client = connect(&global.server).await?;
    let answer = client.get(GetRequest { name: args.name }).await.map_err(failure)?;
    let object = answer.object.context("the server sent no object")?;
    let mut out = stdout();
    match global.output {
        OutputFormat::Table => write_table(&mut out, &object)?,
        OutputFormat::Csv => write_csv(&mut out, &object)?,
        OutputFormat::Json => writeln!(out, "{}", json(&object))?,
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn columns(object: &Object) -> Vec<[String; 3]> {
    let column = |column: &Column| {
        let type_name = column.r#type.as_ref().map(objects::type_name).unwrap_or_default();
        let nullable = if column.nullable { "" } else { "NOT NULL" };
        [column.name.clone(), type_name, nullable.to_owned()]
    };
    object.schema.iter().flat_map(|schema| &schema.columns).map(column).collect()
}

/// One object, for people.
pub(super) fn write_table(out: &mut impl Write, object: &Object) -> io::Result<()> {
    let reads = if object.reads.is_empty() { "-".to_owned() } else { object.reads.join(", ") };
    let figures = [
        ("name", object.name.clone()),
        ("kind", objects::kind(object.kind()).to_owned()),
        ("state", objects::state(object)),
        ("reads", reads),
        ("readable", format!("from {} to before {}", object.since, object.upper)),
        ("updates", object.updates.to_string()),
        ("errors", object.errors.to_string()),
        ("fresh", object.freshness_millis.map_or_else(|| "-".to_owned(), |millis| format!("to {millis} ms ago"))),
        ("figures", object.figures.map_or_else(|| "-".to_owned(), figures)),
    ];
    for (name, value) in figures {
        writeln!(out, "{name:<9} {}", safe(&value))?;
    }
    let mut pages = Pages::new(vec![Heading::text("column"), Heading::text("type"), Heading::text("")]);
    let cells = columns(object).iter().map(|cells| cells.iter().map(|cell| safe(cell)).collect()).collect();
    write!(out, "\n{}\n", pages.page(cells, true))?;
    for line in object.sql.lines() {
        writeln!(out, "{}", safe(line))?;
    }
    Ok(())
}

/// What operators did and hold, for people.
fn figures(figures: Figures) -> String {
    let Figures { elapsed_nanos, held_records, held_bytes } = figures;
    format!(
        "{} ms in operators, which hold {held_records} records in {held_bytes} bytes",
        objects::millis(elapsed_nanos)
    )
}

fn write_csv(out: &mut impl Write, object: &Object) -> io::Result<()> {
    writeln!(out, "column,type,nullable")?;
    for [name, type_name, not_null] in columns(object) {
        let nullable = if not_null.is_empty() { "true" } else { "false" };
        let mut line = String::new();
        csv::write_fields([name.as_str(), &type_name, nullable], &mut line);
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// One object, its columns nested.
pub(super) fn json(object: &Object) -> String {
    let text = |text: &str| {
        let mut out = String::new();
        value::write_json_string(text, &mut out);
        out
    };
    let column = |[name, type_name, not_null]: [String; 3]| {
        let (name, type_name) = (text(&name), text(&type_name));
        format!("{{\"name\":{name},\"type\":{type_name},\"nullable\":{}}}", not_null.is_empty())
    };
    let columns: Vec<String> = columns(object).into_iter().map(column).collect();
    let reads: Vec<String> = object.reads.iter().map(|name| text(name)).collect();
    let ratio = object.ratio.map_or_else(|| "null".to_owned(), |ratio| ratio.to_string());
    let limit = object.max_rows_per_second.map_or_else(|| "null".to_owned(), |limit| limit.to_string());
    let count = |count: Option<u64>| count.map_or_else(|| "null".to_owned(), |count| count.to_string());
    let elapsed = object.figures.map(|figures| objects::millis(figures.elapsed_nanos).to_string());
    let figures = format!(
        "\"freshness_ms\":{},\"elapsed_ms\":{},\"held_records\":{},\"held_bytes\":{}",
        count(object.freshness_millis),
        elapsed.unwrap_or_else(|| "null".to_owned()),
        count(object.figures.map(|figures| figures.held_records)),
        count(object.figures.map(|figures| figures.held_bytes)),
    );
    let reason = if object.reason.is_empty() { "null".to_owned() } else { text(&object.reason) };
    format!(
        "{{\"id\":{},\"name\":{},\"kind\":{},\"state\":{},\"ratio\":{ratio},\"reason\":{reason},\"since\":{},\
         \"upper\":{},\"updates\":{},\"errors\":{},{figures},\"max_rows_per_second\":{limit},\"reads\":[{}],\"columns\":[{}],\"sql\":{}}}",
        object.id,
        text(&object.name),
        text(objects::kind(object.kind())),
        text(objects::phase(object.phase())),
        object.since,
        object.upper,
        object.updates,
        object.errors,
        reads.join(","),
        columns.join(","),
        text(&object.sql),
    )
}

#[cfg(test)]
mod tests {
    use headwater_proto::v1::data_type::Kind;
    use headwater_proto::v1::{DataType, ObjectKind, ObjectPhase, Schema};

    use super::*;

    fn object() -> Object {
        let data_type = DataType { kind: Kind::Decimal.into(), precision: 12, scale: 2, fields: Vec::new() };
        let column = Column { name: "amount".to_owned(), r#type: Some(data_type), nullable: false };
        Object {
            id: 3,
            name: "daily".to_owned(),
            kind: ObjectKind::MaterializedView.into(),
            phase: ObjectPhase::Serving.into(),
            sql: "CREATE ...\nSELECT \"x\"".to_owned(),
            schema: Some(Schema { columns: vec![column], arrow_ipc: Vec::new() }),
            reads: vec!["lines".to_owned()],
            since: 5,
            upper: 9,
            updates: 2,
            errors: 1,
            ..Object::default()
        }
    }

    #[test]
    fn json_is_valid_and_whole() {
        let value: serde_json::Value = serde_json::from_str(&json(&object())).unwrap();
        assert_eq!(value["columns"][0]["type"], "DECIMAL(12,2)");
        assert_eq!(value["columns"][0]["nullable"], false);
        assert_eq!(value["sql"], "CREATE ...\nSELECT \"x\"");
        assert_eq!(
            (&value["state"], &value["ratio"], &value["upper"]),
            (&"serving".into(), &serde_json::Value::Null, &9.into())
        );
    }

    #[test]
    fn a_table_shows_figures_columns_and_statement() {
        let mut out = Vec::new();
        write_table(&mut out, &object()).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("state     serving\nreads     lines\nreadable  from 5 to before 9\n"), "{text}");
        assert!(text.contains("amount  DECIMAL(12,2)  NOT NULL\n"), "{text}");
        assert!(text.ends_with("\nCREATE ...\nSELECT \"x\"\n"), "{text}");
    }

    #[test]
    fn csv_has_one_row_a_column() {
        let mut out = Vec::new();
        write_csv(&mut out, &object()).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "column,type,nullable\namount,\"DECIMAL(12,2)\",false\n");
    }
}
