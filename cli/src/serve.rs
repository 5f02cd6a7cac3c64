//! `headwater serve`: the configuration, the log, and a server until it is told to stop.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use headwater_connectors::clock::SystemClock;
use headwater_views::server::{Server, ServerConfig};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::args::ServeArgs;
use crate::config::{Addresses, Config, Layers, Loaded, LogFormat, LogSection};
use crate::output::failure::Failure;

/// Reads the configuration from file, environment and flags.
pub(crate) fn load(args: &ServeArgs) -> Result<Loaded, Failure> {
    // A variable that is not UTF-8 is none of ours.
    let variables =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Layers::new(args, variables, ".".as_ref())?.load()
}

/// Runs a server until SIGTERM or SIGINT; a second signal ends the process at once.
pub(crate) async fn run(args: ServeArgs) -> anyhow::Result<ExitCode> {
    let config = load(&args)?.config;
    let addresses = config.addresses()?;
    start_log(&config.log)?;
    // Before the start, so that a signal during recovery is not lost.
    let mut signals = Signals::new()?;
    let server = tokio::select! {
        started = Server::start(server_config(&config, addresses)) => started?,
        name = signals.next() => {
            tracing::info!(signal = name, "stopped before the server had started");
            return Ok(ExitCode::SUCCESS);
        }
    };
    announce(&server, &config)?;
    let name = signals.next().await;
    tracing::info!(signal = name, "draining");
    tokio::select! {
        () = server.shutdown() => Ok(ExitCode::SUCCESS),
        name = signals.next() => {
            tracing::warn!(signal = name, "ended without draining");
            Ok(ExitCode::FAILURE)
        }
    }
}

fn server_config(config: &Config, addresses: Addresses) -> ServerConfig {
    ServerConfig {
        data_dir: config.server.data_dir.clone(),
        base_dir: config.server.base_dir.clone(),
        listen: addresses.grpc,
        http_listen: addresses.http,
        workers: config.engine.workers,
        history_ms: config.engine.history.millis(),
        tick_max_ms: config.ingest.tick_max.millis(),
        tick_rows_max: config.ingest.tick_rows_max,
        idle_tick_ms: config.ingest.idle_tick.millis(),
        read_wait: Duration::from_millis(config.engine.read_wait.millis()),
        clock: Arc::new(SystemClock),
    }
}

/// The one line on the standard output: the server can be asked.
fn announce(server: &Server, config: &Config) -> std::io::Result<()> {
    let mut line = format!("headwater {} ready: gRPC on http://{}", env!("CARGO_PKG_VERSION"), server.local_addr());
    if let Some(http) = server.http_addr() {
        line.push_str(&format!(", metrics on http://{http}/metrics"));
    }
    let data_dir = config.server.data_dir.display();
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}, data in {data_dir}, {} workers", config.engine.workers)?;
    out.flush()
}

fn start_log(log: &LogSection) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&log.filter).map_err(|error| {
        Failure::with_hint(
            format!("log.filter: \"{}\" is not a filter: {error}", log.filter),
            "write a level such as info, or directives such as info,headwater_views=debug",
        )
    })?;
    let colours = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
    match log.format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}

/// The signals that stop a server.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Signals> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Signals { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    /// The name of the next one.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
