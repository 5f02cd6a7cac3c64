//! The command line of Headwater: `serve` and `demo` run the engine, every other command is a client of it over
//! gRPC.

mod args;
mod call;
mod commands;
mod config;
mod demo;
mod memory;
mod output;
mod panic;
mod relation;
mod serve;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use self::args::Cli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Planning recurses along the query, deeper than the default stack of a runtime's thread.
const STACK_BYTES: usize = 8 << 20;

fn main() -> ExitCode {
    panic::install();
    let cli = Cli::parse();
    if cli.command.is_server() {
        memory::keep_freed();
    }
    match run(cli) {
        Ok(code) => code,
        Err(error) if reader_left(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // If the standard error is gone too, the exit code still tells.
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let mut runtime = if cli.command.is_server() {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    let runtime = runtime.enable_all().thread_stack_size(STACK_BYTES).build()?;
    runtime.block_on(Box::pin(commands::run(cli)))
}

/// Whether the command only failed because nobody reads its output any more, as in `headwater query … | head`.
fn reader_left(error: &anyhow::Error) -> bool {
    let broken = |error: &std::io::Error| error.kind() == std::io::ErrorKind::BrokenPipe;
    error.chain().any(|cause| cause.downcast_ref::<std::io::Error>().is_some_and(broken))
}
