//! `headwater drop`: takes a source or view out of the catalog.

use std::process::ExitCode;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use headwater_proto::v1::DropRequest;

use crate::args::{DropArgs, Global};
use crate::call::{connect, failure};
use crate::output::{counted, print_rows, stdout};

/// Drops, and prints the names dropped, dependents first.
pub(super) async fn run(args: DropArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let client = connect(&global.server).await?;
    let request = DropRequest { name: args.name, cascade: args.cascade, if_exists: args.if_exists };
    let dropped = client.drop_object(request).await.map_err(failure)?.dropped;
    let note = format!("({} dropped)", counted(dropped.len(), "object"));
    let column: ArrayRef = Arc::new(StringArray::from(dropped));
    print_rows(stdout(), global.output, &RecordBatch::try_from_iter([("dropped", column)])?, &note)?;
    Ok(ExitCode::SUCCESS)
}
