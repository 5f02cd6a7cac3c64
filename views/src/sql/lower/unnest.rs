//! UNNEST, and the series of numbers and times that a constant call gives.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::NullHandling;
use datafusion::datasource::source_as_provider;
use datafusion::functions_table::generate_series::GenerateSeriesTable;
use datafusion::logical_expr::{TableScan, Unnest};
use headwater_dataflow::plan::EmptyLists;

use super::{Flow, Lowering, Refusal};
use crate::sql::locate::Construct;
use crate::sql::session::types::sql_name;

/// The most rows of a series: they are part of the plan.
const SERIES_ROWS_MAX: usize = 100_000;

impl Lowering<'_> {
    pub(super) fn unnest(&mut self, unnest: &Unnest) -> Result<Flow, Refusal> {
        let input = self.plan(&unnest.input)?;
        let empty = match unnest.options.null_handling {
            NullHandling::Drop => EmptyLists::Drop,
            NullHandling::Preserve => EmptyLists::KeepNull,
            NullHandling::PreserveAndExpandEmpty => EmptyLists::Keep,
        };
        let lists = &unnest.list_type_columns;
        let structs = unnest.struct_type_columns.clone();
        let depth = lists.iter().map(|(_, list)| list.depth).max().unwrap_or(1);
        if depth > 1 && (lists.len() > 1 || !structs.is_empty()) {
            return Err(Refusal::new(
                Construct::Unnest,
                "UNNEST of several levels beside another UNNEST",
                "unnest one level at a time, in queries inside each other",
            ));
        }
        let mut node = input.node;
        let positions: Vec<usize> = lists.iter().map(|(index, _)| *index).collect();
        // All levels but the last give lists again.
        for _ in 1..depth {
            let schema = self.nodes.schema(node);
            let fields = schema.fields().iter().enumerate().map(|(index, field)| match positions.contains(&index) {
                true => Ok(Arc::new(Field::new(field.name(), item_type(field.data_type())?, true))),
                false => Ok(Arc::clone(field)),
            });
            let schema = Arc::new(Schema::new(fields.collect::<Result<Vec<_>, Refusal>>()?));
            node = self.nodes.unnest(node, (positions.clone(), Vec::new()), empty, schema);
        }
        let schema = self.nodes.schema(node);
        for index in &positions {
            item_type(schema.field(*index).data_type())?;
        }
        let fields = unnest.schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let node = self.nodes.unnest(node, (positions, structs), empty, schema);
        Ok(Flow { node, schema: Arc::clone(&unnest.schema) })
    }

    /// The rows of `generate_series` or `range`, if `scan` is a call of one of them.
    pub(super) fn series(&mut self, scan: &TableScan) -> Result<Option<Flow>, Refusal> {
        let Ok(provider) = source_as_provider(&scan.source) else { return Ok(None) };
        let Some(series) = provider.downcast_ref::<GenerateSeriesTable>() else { return Ok(None) };
        let generator = series.as_generator(8 * 1024)?;
        let mut batches: Vec<RecordBatch> = Vec::new();
        while let Some(batch) = generator.write().generate_next_batch()? {
            batches.push(batch);
            if batches.iter().map(RecordBatch::num_rows).sum::<usize>() > SERIES_ROWS_MAX {
                let name = scan.table_name.table().trim_end_matches("()").to_owned();
                return Err(Refusal::new(
                    Construct::Name(name),
                    format!("a series of more than {SERIES_ROWS_MAX} rows in a view"),
                    "put the rows into a source",
                ));
            }
        }
        let schema = Arc::new(scan.source.schema().as_ref().clone());
        let rows = concat_batches(&schema, &batches).map_err(datafusion::error::DataFusionError::from)?;
        let rows = match &scan.projection {
            Some(columns) => rows.project(columns).map_err(datafusion::error::DataFusionError::from)?,
            None => rows,
        };
        if rows.num_columns() == 0 {
            let node = self.nodes.constant(rows_of_nothing(rows.num_rows())?);
            return self.filler(node).map(Some);
        }
        let node = self.nodes.constant(rows);
        let flow = Flow { node, schema: Arc::clone(&scan.projected_schema) };
        scan.filters.iter().try_fold(flow, |flow, filter| self.filtered(flow, filter)).map(Some)
    }
}

fn item_type(data_type: &DataType) -> Result<DataType, Refusal> {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            Ok(item.data_type().clone())
        }
        DataType::Null => Ok(DataType::Null),
        other => Err(Refusal::new(
            Construct::Unnest,
            format!("UNNEST of a value of type {} in a view", sql_name(other)),
            "unnest an array",
        )),
    }
}

fn rows_of_nothing(count: usize) -> Result<RecordBatch, Refusal> {
    let one = super::bind::one_row()?;
    let rows: Vec<&RecordBatch> = vec![&one; count];
    Ok(concat_batches(&one.schema(), rows).map_err(datafusion::error::DataFusionError::from)?)
}
