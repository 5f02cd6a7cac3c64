//! `headwater demo`: a server with the example's views, fed with a year of a gift shop's invoice lines in about a minute,
//! shown as they change, and checked against a plain sum at the end.
//!
//! ```text
//!  Replay ── paced writer thread ──► online_retail.csv ──► Server (this process) ── subscription ──► Board ──► Screen
//! ```
//! Nothing needs to be installed and no data at hand. What is deployed are the files of `examples/online-retail`.

mod board;
mod generator;
mod line;
mod replay;
mod report;
mod screen;
mod tally;
mod writer;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use headwater_connectors::clock::SystemClock;
use headwater_views::control::{Control, ControlError, ObjectState, Script, SubscribeOptions, SubscriptionEvent};
use headwater_views::server::{Server, ServerConfig};
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::Receiver;
use tokio::time::MissedTickBehavior;

use self::board::{Board, VIEWS};
use self::replay::Replay;
use self::report::Report;
use self::screen::Screen;
use self::writer::Writer;

/// The file that the source follows, in the demo's directory.
const FEED: &str = "online_retail.csv";

/// The statements that the demo deploys.
const SCRIPTS: [(&str, &str); 3] = [
    ("sources.sql", include_str!("../../examples/online-retail/sources.sql")),
    ("kpi.sql", include_str!("../../examples/online-retail/kpi.sql")),
    ("rfm_base.sql", include_str!("../../examples/online-retail/rfm_base.sql")),
];

/// How long nothing may arrive, once everything is written, before the demo gives up.
const STANDSTILL_MAX: Duration = Duration::from_secs(60);

/// How often the screen is drawn.
const FRAME: Duration = Duration::from_millis(100);

/// Arguments of `demo`.
#[derive(Debug, Args)]
#[command(after_help = "\
Nothing needs to be installed and no data at hand: a year of a gift shop's invoices is made up, always the same for
the same seed. The published file of a real shop comes from the UCI Machine Learning Repository, id 352 (see README).

Examples:
  headwater demo
  headwater demo --once --seconds 20
  headwater demo --data online_retail.csv.zst
  headwater demo --rows 50000 --seed 7 --data-dir demo")]
pub(crate) struct DemoArgs {
    /// End after the totals instead of serving on until Ctrl-C; without a terminal the demo does so anyway.
    #[arg(long)]
    once: bool,
    /// How long the replay takes; 0 writes everything at once.
    #[arg(long, value_name = "N", default_value_t = 60.0, value_parser = seconds)]
    seconds: f64,
    /// How many times faster than it happened, instead of --seconds: 525600 is a year a minute.
    #[arg(long, value_name = "N", conflicts_with = "seconds", value_parser = speed)]
    speed: Option<f64>,
    /// About how many lines the made-up year has.
    #[arg(long, value_name = "N", default_value_t = 541_909, value_parser = clap::value_parser!(u64).range(100..=5_000_000))]
    rows: u64,
    /// Which made-up year.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Replay this file in the columns of the published one instead: CSV, plain, .gz or .zst.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["rows", "seed"])]
    data: Option<PathBuf>,
    /// Keep everything in this new or empty directory; without it a temporary one is removed at the end.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// How many threads compute.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    workers: u8,
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=86_400.0).contains(&seconds) { Ok(seconds) } else { Err("must be from 0 to 86400".to_owned()) }
}

fn speed(text: &str) -> Result<f64, String> {
    let speed: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if speed > 0.0 && speed.is_finite() { Ok(speed) } else { Err("must be above 0".to_owned()) }
}

/// Runs the demo. The exit code is 0 if the views came to exactly what a plain sum over the lines comes to, or if it was
/// interrupted before the end.
pub(crate) async fn run(args: DemoArgs) -> Result<ExitCode> {
    let mut screen = Screen::new();
    let replay = Arc::new(tokio::task::block_in_place(|| load(&args, &mut screen))?);
    let home = Home::new(args.data_dir.as_deref())?;
    let feed = home.path().join(FEED);
    std::fs::write(&feed, &replay.text[..replay.header_end])
        .with_context(|| format!("cannot write {}", feed.display()))?;
    let server = Server::start(server_config(home.path(), &args)).await.context("the demo's server did not start")?;
    let code = show(&args, &replay, &server, &feed, &mut screen).await;
    screen.restore();
    server.shutdown().await;
    home.close()?;
    code
}

/// Everything between the start of the server and its end.
async fn show(
    args: &DemoArgs,
    replay: &Arc<Replay>,
    server: &Server,
    feed: &Path,
    screen: &mut Screen,
) -> Result<ExitCode> {
    let control = server.control();
    let mut interrupt = Interrupt::new()?;
    tokio::select! {
        deployed = deploy(&control) => deployed?,
        () = interrupt.wait() => return Ok(ExitCode::SUCCESS),
    }
    let report = tokio::select! {
        report = watch(args, replay, server, feed, screen) => report?,
        () = interrupt.wait() => return Ok(ExitCode::SUCCESS),
    };
    let errors = control.get("online_retail").await.map_err(plain)?.errors;
    let report = Report { errors, ..report };
    let stays = !args.once && std::io::stdout().is_terminal();
    screen.finish(&report.lines(&server.local_addr().to_string(), args.data_dir.as_deref(), stays))?;
    if stays {
        interrupt.wait().await;
    }
    Ok(if report.equal() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Draws the year, or reads the file.
fn load(args: &DemoArgs, screen: &mut Screen) -> Result<Replay> {
    match &args.data {
        Some(path) => {
            screen.say(&format!("reading {}", path.display()))?;
            Replay::of_file(path)
        }
        None => {
            screen.say(&format!("making up a year of a gift shop, seed {}", args.seed))?;
            Ok(Replay::generated(args.seed, args.rows as usize))
        }
    }
}

fn server_config(home: &Path, args: &DemoArgs) -> ServerConfig {
    ServerConfig {
        data_dir: home.join("data"),
        base_dir: home.to_path_buf(),
        listen: ([127, 0, 0, 1], 0).into(),
        http_listen: Some(([127, 0, 0, 1], 0).into()),
        workers: args.workers.into(),
        history_ms: 60_000,
        tick_max_ms: 50,
        tick_rows_max: 10_000,
        idle_tick_ms: 1_000,
        read_wait: Duration::from_secs(10),
        clock: Arc::new(SystemClock),
    }
}

/// Deploys the example over the feed and waits until every view serves.
async fn deploy(control: &Control) -> Result<()> {
    let published = format!("(PATH '{FEED}')");
    let scripts = SCRIPTS.map(|(origin, text)| {
        let text = text.replace(&published, &format!("(PATH '{FEED}', FOLLOW true)"));
        Script { origin: origin.to_owned(), text }
    });
    ensure!(scripts[0].text.contains("FOLLOW true"), "sources.sql does not read {published}");
    let outcomes = control.deploy(scripts.into(), false).await.map_err(plain)?;
    let names = outcomes.into_iter().map(|outcome| outcome.name).collect();
    let mut states = control.watch(names).await.map_err(plain)?;
    while let Some(objects) = states.recv().await {
        for object in objects {
            if let ObjectState::Failed { reason } = object.state {
                bail!("{} failed: {reason}", object.name);
            }
        }
    }
    Ok(())
}

/// A refusal in one line, with its place.
fn plain(error: ControlError) -> anyhow::Error {
    match &error {
        ControlError::Sql { origin, error } => {
            let place = error.position.map(|at| format!(":{}:{}", at.line, at.column)).unwrap_or_default();
            let hint = error.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
            anyhow::anyhow!("{origin}{place}: {error}{hint}")
        }
        _ => error.into(),
    }
}

/// Writes the feed and shows the views until they hold all of it.
async fn watch(
    args: &DemoArgs,
    replay: &Arc<Replay>,
    server: &Server,
    feed: &Path,
    screen: &mut Screen,
) -> Result<Report> {
    let views = VIEWS.map(str::to_owned).to_vec();
    let options = SubscribeOptions { views, skip_snapshot: false, progress: false };
    let mut events = server.control().subscribe(options).await.map_err(plain)?;
    let pace = match args.speed {
        Some(speed) => {
            let (first, last) = replay.span();
            Duration::from_secs_f64((last - first).as_seconds_f64() / speed)
        }
        None => Duration::from_secs_f64(args.seconds),
    };
    screen.begin(&server.local_addr().to_string(), pace)?;
    let started = Instant::now();
    let mut writer = Writer::start(Arc::clone(replay), feed, pace).context("cannot write the feed")?;
    let mut board = Board::default();
    let mut frames = tokio::time::interval(FRAME);
    frames.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut arrived = Instant::now();
    while board.totals().lines < replay.totals.lines {
        tokio::select! {
            changed = next(&mut events, &mut board) => if changed? {
                arrived = Instant::now();
                writer.note_visible(board.totals().lines);
            },
            _ = frames.tick() => {
                writer.check()?;
                screen.draw(&board, &writer, replay)?;
            }
        }
        ensure!(
            !writer.ended() || arrived.elapsed() < STANDSTILL_MAX,
            "the views hold {} of {} lines and nothing has arrived for {} s",
            board.totals().lines,
            replay.totals.lines,
            STANDSTILL_MAX.as_secs()
        );
    }
    screen.draw(&board, &writer, replay)?;
    let delays = writer.finish()?;
    Ok(Report { shown: board.totals(), errors: 0, expected: replay.totals, elapsed: started.elapsed(), delays })
}

/// Applies the next event; whether the views changed.
async fn next(events: &mut Receiver<SubscriptionEvent>, board: &mut Board) -> Result<bool> {
    match events.recv().await {
        Some(SubscriptionEvent::Transition { more, changes, .. }) => board.apply(&changes, more),
        Some(SubscriptionEvent::Started { .. } | SubscriptionEvent::Progress { .. }) => Ok(false),
        Some(SubscriptionEvent::Closing { reason }) => bail!("the subscription ended: {reason}"),
        None => bail!("the subscription ended"),
    }
}

/// The directory of the demo.
enum Home {
    Temporary(TempDir),
    Kept(PathBuf),
}

impl Home {
    fn new(kept: Option<&Path>) -> Result<Home> {
        let Some(path) = kept else {
            let dir = tempfile::Builder::new().prefix("headwater-demo-").tempdir();
            return Ok(Home::Temporary(dir.context("cannot create a temporary directory")?));
        };
        std::fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))?;
        let empty = std::fs::read_dir(path)?.next().is_none();
        ensure!(empty, "{} is not empty: give a new or an empty directory", path.display());
        Ok(Home::Kept(std::path::absolute(path)?))
    }

    fn path(&self) -> &Path {
        match self {
            Home::Temporary(dir) => dir.path(),
            Home::Kept(path) => path,
        }
    }

    fn close(self) -> Result<()> {
        match self {
            Home::Temporary(dir) => dir.close().context("cannot remove the temporary directory"),
            Home::Kept(_) => Ok(()),
        }
    }
}

/// Ctrl-C or SIGTERM.
struct Interrupt {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Interrupt {
    fn new() -> Result<Interrupt> {
        Ok(Interrupt { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
