//! `headwater subscribe`: views and every change of them.

use std::io;
use std::process::ExitCode;

use anyhow::Context;
use arrow::datatypes::SchemaRef;
use headwater_proto::v1::subscribe_response::Message;
use headwater_proto::v1::{Encoding, Notice, SubscribeRequest, SubscriptionStarted, Transition};

use crate::args::{Global, SubscribeArgs};
use crate::call::{connect, failure};
use crate::output::changes::Changes;
use crate::output::failure::Failure;
use crate::output::{notice, stdout};
use crate::relation::Relation;

/// Prints changes until the server ends the subscription or the time asked for is complete.
pub(super) async fn run(args: SubscribeArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let client = connect(&global.server).await?;
    let request = SubscribeRequest {
        views: args.views.clone(),
        skip_snapshot: args.no_snapshot,
        // Without marks the end of a quiet time would never be known.
        progress: args.progress || args.until_progress.is_some(),
        encoding: Encoding::ArrowIpc.into(),
    };
    let mut messages = client.subscribe(request).await.map_err(failure)?;
    let first = messages.next().await.map_err(failure)?.and_then(|first| first.message);
    let started = match first {
        Some(Message::Started(started)) => started,
        Some(Message::Closing(closing)) => return Err(ended(&closing.reason)),
        _ => anyhow::bail!("the server sent no columns"),
    };
    let relations = relations(started, args.views.len())?;
    let schemas: Vec<SchemaRef> = relations.iter().map(|relation| SchemaRef::clone(relation.schema())).collect();
    let mut printer = Changes::start(stdout(), global.output, &args.views, &schemas, args.progress)?;
    printer.flush()?;
    let mut errors = 0;
    while let Some(message) = messages.next().await.map_err(failure)? {
        // The first time that may still change, where the message tells it.
        let upper = match message.message.context("the server sent an empty message")? {
            Message::Started(_) => anyhow::bail!("the server sent the columns twice"),
            Message::Transition(transition) => {
                // The mark of a snapshot follows at once, and says how many rows are in errors.
                let complete = !transition.more && !transition.snapshot;
                let upper = transition.to.saturating_add(1);
                print(transition, &relations, &mut printer)?;
                complete.then_some(upper)
            }
            Message::Progress(progress) => {
                printer.progress(progress.upper, progress.errors)?;
                if std::mem::replace(&mut errors, progress.errors) != progress.errors {
                    printer.flush()?;
                    say_errors(errors, &args.views);
                }
                Some(progress.upper)
            }
            Message::Closing(closing) => {
                printer.flush()?;
                return Err(ended(&closing.reason));
            }
        };
        printer.flush()?;
        if let (Some(upper), Some(until)) = (upper, args.until_progress)
            && upper >= until
        {
            return Ok(ExitCode::SUCCESS);
        }
    }
    Err(ended("the connection was closed"))
}

/// Rows that failed are missing in the views, whoever reads them should know.
fn say_errors(errors: u64, views: &[String]) {
    let message = match errors {
        0 => "no row is in errors any more".to_owned(),
        1 => "1 row is in errors".to_owned(),
        errors => format!("{errors} rows are in errors"),
    };
    let hint = if errors == 0 {
        String::new()
    } else {
        format!("see `headwater errors {}`", views.join("` or `headwater errors "))
    };
    notice::say(&views.join(", "), &[Notice { message, hint }]);
}

fn ended(reason: &str) -> anyhow::Error {
    Failure::with_hint(format!("the subscription ended: {reason}"), "subscribe again to go on from a new snapshot")
        .into()
}

fn relations(started: SubscriptionStarted, views: usize) -> anyhow::Result<Vec<Relation>> {
    if started.schemas.len() != views {
        anyhow::bail!("the server sent the columns of {} views instead of {views}", started.schemas.len());
    }
    started.schemas.into_iter().map(|schema| Relation::start(Some(schema))).collect()
}

fn print(transition: Transition, relations: &[Relation], printer: &mut Changes<impl io::Write>) -> anyhow::Result<()> {
    for change in transition.changes {
        let view = usize::try_from(change.view_index)?;
        let relation = relations.get(view).context("the server sent a change of a view that was not asked for")?;
        let mut diffs = change.diffs.as_slice();
        for rows in relation.rows(&change.rows.unwrap_or_default())? {
            let (of_rows, rest) =
                diffs.split_at_checked(rows.num_rows()).context("the server sent fewer diffs than rows")?;
            printer.changes(transition.to, view, &rows, of_rows)?;
            diffs = rest;
        }
    }
    Ok(())
}
