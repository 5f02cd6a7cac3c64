//! Commands of the shell, which begin with a backslash; they work in scripts, too.

use std::io::{Write, stdout};

use anyhow::Context;
use headwater_proto::client::Client;
use headwater_proto::v1::{GetRequest, Object, ObjectKind};

use crate::call::failure;
use crate::commands::{describe, objects};
use crate::output::failure::Failure;
use crate::output::{OutputFormat, counted, print_rows};

/// What there is.
const HELP: &str = "\
  \\d           list sources, tables and views
  \\d NAME      show the columns and the statement of one of them
  \\ds \\dt \\dv \\dm  list sources, tables, views, materialized views
  \\di          list indexes
  \\?           this list
  \\q           end; so does Ctrl-D

A statement ends with a semicolon and may have several lines. Ctrl-C gives up
what has been typed. COPY t FROM STDIN; takes lines up to one that is \\.
";

/// How to go on after a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// With what follows.
    GoOn,
    /// Not at all.
    Quit,
}

/// Carries out a command.
pub(super) async fn run(line: &str, client: &Client, format: OutputFormat) -> anyhow::Result<Next> {
    let mut words = line.trim_end_matches(';').split_whitespace();
    let (command, name) = (words.next().unwrap_or_default(), words.next());
    let kind = match command {
        "\\q" | "\\quit" => return Ok(Next::Quit),
        "\\?" | "\\h" | "\\help" => {
            stdout().write_all(HELP.as_bytes())?;
            return Ok(Next::GoOn);
        }
        "\\d" => match name {
            Some(name) => return describe_one(name, client).await,
            None => None,
        },
        "\\ds" => Some(ObjectKind::Source),
        "\\dt" => Some(ObjectKind::Table),
        "\\dv" => Some(ObjectKind::View),
        "\\dm" => Some(ObjectKind::MaterializedView),
        "\\di" => Some(ObjectKind::Index),
        other => {
            let failure = Failure::with_hint(format!("there is no command {other}"), "\\? lists those that there are");
            return Err(failure.into());
        }
    };
    let mut listed: Vec<Object> = client.list().await.map_err(failure)?.objects;
    listed.retain(|object| kind.is_none_or(|kind| object.kind() == kind));
    let note = format!("({})", counted(listed.len(), "object"));
    print_rows(stdout(), format, &objects::relation(&listed)?, &note)?;
    Ok(Next::GoOn)
}

async fn describe_one(name: &str, client: &Client) -> anyhow::Result<Next> {
    let name = name.trim_matches('"').to_owned();
    let object = client.get(GetRequest { name }).await.map_err(failure)?.object;
    let object = object.context("the server sent no object")?;
    let mut out = stdout();
    describe::write_table(&mut out, &object)?;
    out.flush()?;
    Ok(Next::GoOn)
}
