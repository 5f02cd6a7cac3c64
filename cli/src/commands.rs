//! One file a command.

mod config;
mod deploy;
mod describe;
mod drop;
mod errors;
mod explain;
mod list;
mod objects;
mod pace;
pub(crate) mod produce;
mod progress;
mod query;
mod sql;
mod status;
mod subscribe;

use std::process::ExitCode;

use crate::args::{Cli, Command};
use crate::{demo, serve};

/// Runs the command of the line.
pub(crate) async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let global = cli.global;
    match cli.command {
        Command::Serve(args) => serve::run(args).await,
        Command::Demo(args) => demo::run(args).await,
        Command::Config(args) => config::run(&args, &global),
        Command::Deploy(args) => deploy::run(args, &global).await,
        Command::Sql(args) => sql::run(args, &global).await,
        Command::Drop(args) => drop::run(args, &global).await,
        Command::Pause(args) => pace::run(args, "PAUSE", &global).await,
        Command::Resume(args) => pace::run(args, "RESUME", &global).await,
        Command::List => list::run(&global).await,
        Command::Describe(args) => describe::run(args, &global).await,
        Command::Explain(args) => explain::run(args, &global).await,
        Command::Query(args) => query::run(args, &global).await,
        Command::Subscribe(args) => subscribe::run(args, &global).await,
        Command::Errors(args) => errors::run(args, &global).await,
        Command::Produce(args) => produce::run(&args),
        Command::Status(args) => status::run(args, &global).await,
    }
}
