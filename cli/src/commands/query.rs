//! `headwater query`: any SELECT, at one time.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use headwater_proto::client::Client;
use headwater_proto::v1::query_response::Message;
use headwater_proto::v1::{Encoding, QueryRequest, Script};

use crate::args::{Global, QueryArgs};
use crate::call::{connect, read_script, texts};
use crate::output::failure::Failure;
use crate::output::{OutputFormat, Printer, counted, stdout};
use crate::relation::Relation;

/// Prints the rows of the query as they come.
pub(super) async fn run(args: QueryArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let script = match (&args.file, args.sql) {
        (Some(file), _) => read_script(file)?,
        (None, Some(sql)) if sql == "-" => read_script(Path::new("-"))?,
        (None, sql) => Script { origin: "<query>".to_owned(), text: sql.unwrap_or_default() },
    };
    let client = connect(&global.server).await?;
    print(&client, script, args.at, global.output, stdout()).await?;
    Ok(ExitCode::SUCCESS)
}

/// Asks the query of `script` and prints its rows to `out`.
pub(super) async fn print(
    client: &Client,
    script: Script,
    at: Option<i64>,
    format: OutputFormat,
    out: impl Write,
) -> anyhow::Result<()> {
    let texts = texts(std::slice::from_ref(&script));
    let refused = |error| Failure::of_call(error, &texts);
    let request = QueryRequest { sql: script.text, at, encoding: Encoding::ArrowIpc.into() };
    let mut messages = client.query(request).await.map_err(refused)?;
    let Some(Message::Started(started)) = messages.next().await.map_err(refused)?.and_then(|first| first.message)
    else {
        anyhow::bail!("the server sent no columns");
    };
    let relation = Relation::start(started.schema)?;
    let mut printer = Printer::start(out, format, relation.schema())?;
    let mut count = 0;
    while let Some(message) = messages.next().await.map_err(refused)? {
        let Message::Batch(part) = message.message.context("the server sent an empty message")? else {
            anyhow::bail!("the server sent the columns twice");
        };
        for rows in relation.rows(&part)? {
            count += rows.num_rows();
            printer.rows(&rows)?;
        }
    }
    printer.finish(&format!("({} at {})", counted(count, "row"), started.at))?;
    Ok(())
}
