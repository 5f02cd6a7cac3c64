//! `headwater errors`: the records and rows that failed.

use std::process::ExitCode;

use anyhow::Context;
use headwater_proto::v1::{GetRequest, Script};

use super::query;
use crate::args::{ErrorsArgs, Global};
use crate::call::{connect, failure};
use crate::output::stdout;

/// Prints the errors relation of a source or view.
pub(super) async fn run(args: ErrorsArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let client = connect(&global.server).await?;
    // The server knows how the name is spelt, and says so if there is none.
    let answer = client.get(GetRequest { name: args.name }).await.map_err(failure)?;
    let name = answer.object.context("the server sent no object")?.name;
    let text = format!("SELECT * FROM \"{}$errors\"", name.replace('"', "\"\""));
    let script = Script { origin: "<query>".to_owned(), text };
    query::print(&client, script, args.at, global.output, stdout()).await?;
    Ok(ExitCode::SUCCESS)
}
