//! The example's SQL says what the definitions say: run once by plain DataFusion over the real rows, without the engine.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use arrow::array::{
    ArrayRef, Decimal128Builder, Int32Builder, RecordBatch, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::data::{CHECKED_VIEWS, TOTALS, example, online_retail, reference, reference_json, unpack};
use crate::table::{Table, assert_cells};

/// Statements without comments. The example's texts hold no semicolon but at the ends of statements.
fn statements(text: &str) -> Vec<String> {
    let bare: Vec<&str> = text.lines().map(|line| line.split("--").next().unwrap_or_default()).collect();
    bare.join("\n").split(';').map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned).collect()
}

/// The columns of the source in `sources.sql`.
fn published_schema() -> SchemaRef {
    let text = |name: &str, nullable| Field::new(name, DataType::Utf8, nullable);
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()));
    Arc::new(Schema::new(vec![
        text("InvoiceNo", false),
        text("StockCode", false),
        text("Description", true),
        Field::new("Quantity", DataType::Int32, false),
        Field::new("InvoiceDate", time, false),
        Field::new("UnitPrice", DataType::Decimal128(12, 3), false),
        Field::new("CustomerID", DataType::Decimal128(12, 1), true),
        text("Country", false),
    ]))
}

/// A plain decimal as an integer of `scale` digits behind the point.
fn scaled(text: &str, scale: usize) -> Result<i128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    Ok(format!("{whole}{fraction:0<scale$}").parse()?)
}

/// Microseconds of `2010-12-01 08:26:00`, as UTC.
fn micros(text: &str) -> Result<i64> {
    let time = arrow::compute::kernels::cast_utils::string_to_timestamp_nanos(text)?;
    Ok(time / 1000)
}

/// The published file's rows up to and with the time `until`, as one batch.
fn published_rows(dir: &Path, until: &str) -> Result<RecordBatch> {
    let text = unpack(&dir.join("online_retail.csv.zst"))?;
    let (mut quantities, mut times) = (Int32Builder::new(), TimestampMicrosecondBuilder::new());
    let mut texts: [StringBuilder; 4] = Default::default();
    let (mut prices, mut customers) = (Decimal128Builder::new(), Decimal128Builder::new());
    let until = micros(until)?;
    for row in csv::Reader::from_reader(&text[..]).records() {
        let row = row?;
        let time = micros(&row[4])?;
        if time > until {
            continue;
        }
        texts[0].append_value(&row[0]);
        texts[1].append_value(&row[1]);
        texts[2].append_option(Some(&row[2]).filter(|text| !text.is_empty()));
        texts[3].append_value(&row[7]);
        quantities.append_value(row[3].parse()?);
        times.append_value(time);
        prices.append_value(scaled(&row[5], 3)?);
        customers.append_option(if row[6].is_empty() { None } else { Some(scaled(&row[6], 1)?) });
    }
    let [invoices, codes, descriptions, countries] = &mut texts;
    let columns: Vec<ArrayRef> = vec![
        Arc::new(invoices.finish()),
        Arc::new(codes.finish()),
        Arc::new(descriptions.finish()),
        Arc::new(quantities.finish()),
        Arc::new(times.finish().with_timezone("+00:00")),
        Arc::new(prices.finish().with_precision_and_scale(12, 3)?),
        Arc::new(customers.finish().with_precision_and_scale(12, 1)?),
        Arc::new(countries.finish()),
    ];
    Ok(RecordBatch::try_new(published_schema(), columns)?)
}

/// Checks every view of the example against the reference of one prefix of the file.
async fn check_prefix(dir: &Path, prefix: &str) -> Result<()> {
    let totals = reference_json(dir, &format!("{prefix}/totals.json"))?;
    let rows = published_rows(dir, totals["cut_ts"].as_str().context("cut_ts")?)?;
    let mut config = SessionConfig::new().with_target_partitions(2);
    config.options_mut().sql_parser.map_string_types_to_utf8view = false;
    config.options_mut().sql_parser.dialect = datafusion::common::config::Dialect::PostgreSQL;
    config.options_mut().execution.time_zone = Some("+00:00".into());
    let session = SessionContext::new_with_config(config);
    session.register_batch("online_retail", rows)?;
    for file in ["sources.sql", "kpi.sql", "rfm_base.sql"] {
        for statement in statements(&example(file)?).iter().filter(|text| !text.starts_with("CREATE SOURCE")) {
            let plain = statement.replace("CREATE MATERIALIZED VIEW", "CREATE VIEW");
            session.sql(&plain).await.with_context(|| plain.clone())?;
        }
    }
    for (view, file, left_out) in CHECKED_VIEWS {
        let got = Table::from_batches(&session.table(view).await?.collect().await?)?;
        assert_cells(view, &got, &reference(dir, &format!("{prefix}/{file}"))?, left_out)?;
    }
    let got = Table::from_batches(&session.table("totals").await?.collect().await?)?;
    for (column, figure) in TOTALS {
        assert_eq!(got.cell(column)?, totals[figure].to_string().trim_matches('"'), "{prefix}: totals.{column}");
    }
    Ok(())
}

#[tokio::test]
async fn example_sql_equals_the_definitions_over_the_whole_file() -> Result<()> {
    let Some(dir) = online_retail("example_sql_equals_the_definitions_over_the_whole_file") else { return Ok(()) };
    check_prefix(&dir, "full").await
}

#[tokio::test]
async fn example_sql_equals_the_definitions_over_the_first_half() -> Result<()> {
    let Some(dir) = online_retail("example_sql_equals_the_definitions_over_the_first_half") else { return Ok(()) };
    check_prefix(&dir, "p50").await
}
