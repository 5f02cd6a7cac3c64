//! `headwater list`: the sources, tables and views.

use std::process::ExitCode;

use super::objects;
use crate::args::Global;
use crate::call::{connect, failure};
use crate::output::{counted, print_rows, stdout};

/// Prints one row an object.
pub(super) async fn run(global: &Global) -> anyhow::Result<ExitCode> {
    let client = connect(&global.server).await?;
    let objects = client.list().await.map_err(failure)?.objects;
    let note = format!("({})", counted(objects.len(), "object"));
    print_rows(stdout(), global.output, &objects::relation(&objects)?, &note)?;
    Ok(ExitCode::SUCCESS)
}
