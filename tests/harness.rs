//! Real servers: `headwater serve` processes in temporary directories, asked over gRPC and by the command line.
//!
//! Servers run one test at a time, so that none of them waits for another's. What a server logged is shown when its test
//! fails.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use headwater_proto::client::Client;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::table::Table;
use crate::wire;

/// How long a server may take from its start until it answers, the recovery of a year included.
pub(crate) const START_MAX: Duration = Duration::from_secs(120);

/// How long anything else that is waited for may take.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(180);

/// How long one test may take with its servers. A test that hangs ends the run and says where it stood; nobody waits for
/// the CI's own limit, which says nothing.
const TEST_MAX: Duration = Duration::from_secs(600);

/// How long a condition rests between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(15);

/// Lines of a server's log that a failed test shows.
const LOG_LINES: usize = 60;

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The directory of one test: the data of its servers, the files of their sources, their logs.
pub(crate) struct Home(TempDir);

impl Home {
    /// The directory in which relative paths of sources are looked for.
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// The data directory of the servers.
    pub(crate) fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// Where the servers log.
    pub(crate) fn log(&self) -> PathBuf {
        self.path().join("server.log")
    }

    /// Writes a file and returns its path.
    pub(crate) fn file(&self, name: &str, text: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.path().join(name);
        fs::write(&path, text).with_context(|| path.display().to_string())?;
        Ok(path)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the end of the server's log\n{}", tail(&self.log()));
        }
    }
}

/// The last lines of a log.
pub(crate) fn tail(path: &Path) -> String {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}

/// Ends the whole run if it is not dropped within [`TEST_MAX`].
struct Deadline(Sender<()>);

impl Deadline {
    /// Watches the test of this thread, whose servers log to `log`.
    fn watch(log: PathBuf) -> Deadline {
        let (ended, watched) = channel();
        let test = std::thread::current().name().unwrap_or_default().to_owned();
        std::thread::spawn(move || {
            if watched.recv_timeout(TEST_MAX) == Err(RecvTimeoutError::Timeout) {
                // The test's own output is held back by the runner; this thread's is not.
                eprintln!("{test} hangs: it runs for more than {TEST_MAX:?}\n--- its server's log\n{}", tail(&log));
                std::process::exit(101);
            }
        });
        Deadline(ended)
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        // The watching thread waits for this, or has ended the run.
        let _ = self.0.send(());
    }
}

/// Runs a test in a home of its own, while no other test has servers.
pub(crate) fn run(test: impl FnOnce(&Home) -> Result<()>) {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let home = Home(tempfile::Builder::new().prefix("headwater-test-").tempdir().expect("a temporary directory"));
    let _deadline = Deadline::watch(home.log());
    if let Err(error) = test(&home) {
        panic!("{error:?}");
    }
}

/// The binary under test, built by `make test` or `cargo build --profile ci --workspace`.
pub(crate) fn binary() -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let dir = test.ancestors().nth(2).context("the test binary lies in no target directory")?;
    let binary = dir.join("headwater");
    ensure!(
        binary.is_file(),
        "{} is missing: build it with `cargo build --profile ci --workspace` (make test does)",
        binary.display()
    );
    Ok(binary)
}

/// `headwater` with the environment's settings for it taken away.
pub(crate) fn headwater() -> Result<Command> {
    let mut command = Command::new(binary()?);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("HEADWATER_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    Ok(command)
}

/// What a command printed and how it ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a command to its end.
pub(crate) fn outcome(command: &mut Command) -> Result<Outcome> {
    let output = command.output()?;
    let code = output.status.code().with_context(|| format!("{command:?} ended by a signal"))?;
    Ok(Outcome { code, stdout: String::from_utf8(output.stdout)?, stderr: String::from_utf8(output.stderr)? })
}

/// Looks every few milliseconds until `look` has found what it looks for.
pub(crate) fn wait_for<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look().with_context(|| what.to_owned())? {
            return Ok(found);
        }
        ensure!(Instant::now() < deadline, "not within {limit:?}: {what}");
        std::thread::park_timeout(LOOK_EVERY);
    }
}

/// A server process that has been started and may not answer yet. Dropping it kills it.
pub(crate) struct Starting {
    child: Child,
    announced: Receiver<String>,
    log: PathBuf,
}

impl Starting {
    /// Starts a server over the data of `home`.
    pub(crate) fn spawn(home: &Home, workers: usize) -> Result<Starting> {
        Starting::spawn_command(home, serve(home, workers)?)
    }

    /// Starts a server with a command of one's own; see [`serve`].
    fn spawn_command(home: &Home, mut command: Command) -> Result<Starting> {
        let log = OpenOptions::new().create(true).append(true).open(home.log())?;
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn()?;
        let stdout = child.stdout.take().context("the server has no standard output")?;
        let (announce, announced) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // Nobody listens once the server has announced itself.
                let _ = announce.send(line);
            }
        });
        Ok(Starting { child, announced, log: home.log() })
    }

    /// Waits until the server answers.
    pub(crate) fn ready(mut self) -> Result<Headwater> {
        let line = match self.announced.recv_timeout(START_MAX) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => bail!("the server does not answer after {START_MAX:?}"),
            Err(RecvTimeoutError::Disconnected) => {
                let status = self.child.wait()?;
                bail!("the server ended with {status} before it answered:\n{}", tail(&self.log));
            }
        };
        let addresses: Vec<&str> = line
            .split([' ', ','])
            .filter(|word| word.starts_with("http://"))
            .map(|word| word.trim_end_matches("/metrics"))
            .collect();
        let [address, http] = addresses[..] else { bail!("the server announces itself with {line:?}") };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = runtime.block_on(Client::connect(address))?;
        Ok(Headwater { address: address.to_owned(), http: http.to_owned(), runtime, client, process: self })
    }

    /// Waits at most `limit` for the server to answer, and kills it then.
    pub(crate) fn kill_within(mut self, limit: Duration) -> Result<()> {
        // Whether it was in time does not matter.
        let _ = self.announced.recv_timeout(limit);
        self.kill()
    }

    /// Waits for the end of a server that cannot start, and returns what it said.
    pub(crate) fn refused(mut self) -> Result<(i32, String)> {
        let status = wait_for("the end of a server that cannot start", START_MAX, || Ok(self.child.try_wait()?))?;
        Ok((status.code().context("ended by a signal")?, tail(&self.log)))
    }

    fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.kill();
    }
}

/// The command of a server over the data of `home`, on free ports.
pub(crate) fn serve(home: &Home, workers: usize) -> Result<Command> {
    let mut command = headwater()?;
    command.arg("serve").current_dir(home.path());
    command.arg("--data-dir").arg(home.data()).arg("--base-dir").arg(home.path());
    command.args(["--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--workers", &workers.to_string()]);
    Ok(command)
}

/// A server that answers.
pub(crate) struct Headwater {
    pub(crate) address: String,
    pub(crate) http: String,
    pub(crate) runtime: Runtime,
    pub(crate) client: Client,
    process: Starting,
}

impl Headwater {
    /// Starts a server and waits until it answers.
    pub(crate) fn start(home: &Home, workers: usize) -> Result<Headwater> {
        Starting::spawn(home, workers)?.ready()
    }

    /// Starts a server with a command of one's own, see [`serve`], and waits until it answers.
    pub(crate) fn spawn(home: &Home, command: Command) -> Result<Headwater> {
        Starting::spawn_command(home, command)?.ready()
    }

    /// Kills it as a power cut would: no signal that it could handle.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.process.kill()
    }

    /// Kills it and starts another one over the same data in its place.
    pub(crate) fn replace_by_kill(&mut self, home: &Home, workers: usize) -> Result<()> {
        self.process.kill()?;
        *self = Headwater::start(home, workers)?;
        Ok(())
    }

    /// Stops it with SIGTERM and returns how it ended.
    pub(crate) fn stop(mut self) -> Result<ExitStatus> {
        let status = Command::new("kill").args(["-TERM", &self.pid().to_string()]).status()?;
        ensure!(status.success(), "kill -TERM ended with {status}");
        wait_for("the end of a server after SIGTERM", WAIT_MAX, || Ok(self.process.child.try_wait()?))
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.child.id()
    }

    /// A client command of the binary.
    pub(crate) fn command<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Result<Command> {
        let mut command = headwater()?;
        command.arg("--server").arg(&self.address).args(args);
        Ok(command)
    }

    /// Runs a client command of the binary.
    pub(crate) fn cli<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Result<Outcome> {
        outcome(&mut self.command(args)?)
    }

    /// Runs a client command that must end with exit code 0, and returns what it printed.
    pub(crate) fn cli_ok<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Result<String> {
        let outcome = self.cli(args)?;
        ensure!(outcome.code == 0, "exit code {}: {}{}", outcome.code, outcome.stdout, outcome.stderr);
        Ok(outcome.stdout)
    }

    /// Deploys statements with the binary, which waits until they have caught up.
    pub(crate) fn deploy(&self, home: &Home, name: &str, text: &str) -> Result<()> {
        let path = home.file(name, text)?;
        self.cli_ok([OsStr::new("deploy"), path.as_os_str()]).map(drop)
    }

    /// The rows of a query at the newest time.
    pub(crate) fn query(&self, sql: &str) -> Result<Table> {
        Ok(self.query_now(sql)?.1)
    }

    /// The newest time and the rows of a query at it.
    pub(crate) fn query_now(&self, sql: &str) -> Result<(i64, Table)> {
        self.runtime.block_on(wire::query(&self.client, sql, None))
    }

    /// The rows of a query at `at`.
    pub(crate) fn query_at(&self, sql: &str, at: i64) -> Result<Table> {
        Ok(self.runtime.block_on(wire::query(&self.client, sql, Some(at)))?.1)
    }

    /// Waits until the view `totals` holds `lines` lines, and returns a time at which it does. Other views may not have
    /// reached that time yet: read at it, and the query waits for them.
    pub(crate) fn wait_for_lines(&self, lines: usize) -> Result<i64> {
        let mut seen = 0;
        let found = wait_for(&format!("{lines} lines in totals"), WAIT_MAX, || {
            let (at, table) = self.query_now("SELECT lines FROM totals")?;
            seen = table.cell("lines")?.parse()?;
            ensure!(seen <= lines, "{seen} lines in totals instead of {lines}");
            Ok((seen == lines).then_some(at))
        });
        found.with_context(|| format!("{seen} lines were there"))
    }

    /// The value of a metric without labels.
    pub(crate) fn metric(&self, name: &str) -> Result<f64> {
        let text = self.http_get("/metrics")?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(line.with_context(|| format!("no metric {name}"))?.parse()?)
    }

    /// The answer of the HTTP port to GET `path`, with its head.
    pub(crate) fn http_get(&self, path: &str) -> Result<String> {
        use std::io::{Read, Write};
        let host = self.http.trim_start_matches("http://");
        let mut stream = std::net::TcpStream::connect(host)?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    }

    /// Resident memory in bytes.
    pub(crate) fn resident_bytes(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(kib.trim().trim_end_matches("kB").trim().parse::<u64>()? * 1024)
    }

    /// User and system CPU time so far. Linux counts it in hundredths of a second.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid()))?;
        let (_, rest) = stat.rsplit_once(')').context("no end of the name")?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let ticks = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        Ok(Duration::from_millis(10 * ticks))
    }
}

/// A file that a source follows, and the lines that go into it.
pub(crate) struct Feed {
    file: File,
    text: Vec<u8>,
    /// Where each line ends; the header is line 0.
    ends: Vec<usize>,
    written: usize,
}

impl Feed {
    /// A new file with the header of `text` only. No field of the text holds a line break.
    pub(crate) fn create(path: &Path, text: Vec<u8>) -> Result<Feed> {
        let ends: Vec<usize> =
            text.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1).collect();
        let mut feed = Feed { file: File::create(path)?, text, ends, written: 0 };
        feed.write(0)?;
        Ok(feed)
    }

    /// How many lines there are, the header not counted.
    pub(crate) fn lines(&self) -> usize {
        self.ends.len() - 1
    }

    /// Appends the lines up to and with the line `line`, counted from 1.
    pub(crate) fn write(&mut self, line: usize) -> Result<()> {
        use std::io::Write;
        let end = self.ends[line];
        self.file.write_all(&self.text[self.written..end])?;
        self.written = end;
        Ok(())
    }

    /// Appends any text.
    pub(crate) fn write_text(&mut self, text: &str) -> Result<()> {
        use std::io::Write;
        Ok(self.file.write_all(text.as_bytes())?)
    }
}
