//! Real services for the tests, each one process: started on free ports over temporary folders, waited for by condition,
//! stopped by process id.
//!
//! A service never outlives the test process: a shell holds the reading end of a pipe from it, and kills the service and
//! removes its folder when that end closes, however the test process ended.

pub(crate) mod kafka;
mod postgres;
mod redis;

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::harness::{tail, wait_for};

/// How long a service may take from its start until it answers.
pub(crate) const READY_MAX: Duration = Duration::from_secs(90);

/// How long a service may take to end after SIGTERM.
const STOP_MAX: Duration = Duration::from_secs(60);

/// Starts the words behind the first as the service, writes its process id, and ends with it. Its folder, the first word,
/// goes when the pipe on its standard input closes, and the service before it.
const KEEPER: &str = r#"
folder=$1; shift
exec 3<&0
"$@" 0</dev/null 1>&2 3<&- & service=$!
echo $service
(cat 0<&3 >/dev/null; : >"$folder/abandoned"; kill -KILL $service) 2>/dev/null & watch=$!
wait $service
status=$?
[ -e "$folder/abandoned" ] || kill $watch
[ -e "$folder/abandoned" ] && rm -rf "$folder"
exit $status
"#;

/// Removes the folder when the pipe on its standard input closes and whoever worked in it has been killed.
const FOLDER_KEEPER: &str = r#"cat >/dev/null; sleep 3; rm -rf "$1""#;

/// A folder that lasts as long as the test process, however that ends, and whether its service runs or not.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    _keeper: Child,
}

impl Folder {
    /// A new folder whose name begins with `prefix`.
    pub(crate) fn create(prefix: &str) -> Result<Folder> {
        let path = tempfile::Builder::new().prefix(prefix).tempdir()?.keep();
        let mut keeper = Command::new("sh");
        keeper.args(["-c", FOLDER_KEEPER, "keeper"]).arg(&path).stdin(Stdio::piped());
        let _keeper = keeper.stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("cannot start sh")?;
        Ok(Folder { path, _keeper })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// A service that runs.
#[derive(Debug)]
pub(crate) struct Service {
    name: &'static str,
    keeper: Child,
    pid: u32,
    log: PathBuf,
}

impl Service {
    /// Starts `command` over `folder`; what it prints is appended to `folder/log`.
    pub(crate) fn spawn(name: &'static str, folder: &Path, command: &[String]) -> Result<Service> {
        let log = folder.join("log");
        let out = OpenOptions::new().create(true).append(true).open(&log)?;
        let mut keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(folder)
            .args(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(out.try_clone()?)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().context("the keeper has no standard output")?).read_line(&mut line)?;
        let pid = line.trim().parse().with_context(|| format!("{name}: no process id but {line:?}"))?;
        Ok(Service { name, keeper, pid, log })
    }

    /// Waits until `answers` says yes; a service that ended before is an error with the end of its log.
    pub(crate) fn wait_until(&mut self, mut answers: impl FnMut() -> bool) -> Result<()> {
        let (name, keeper, log) = (self.name, &mut self.keeper, &self.log);
        wait_for(&format!("an answer of {name}"), READY_MAX, || {
            if let Some(status) = keeper.try_wait()? {
                anyhow::bail!("{name} ended with {status} before it answered:\n{}", tail(log));
            }
            Ok(answers().then_some(()))
        })
    }

    /// Ends it with SIGTERM, or at once as a power cut would; its folder stays, so that it can be started again.
    pub(crate) fn stop(mut self, at_once: bool) -> Result<()> {
        let signal = if at_once { "-KILL" } else { "-TERM" };
        let status = Command::new("kill").args([signal, &self.pid.to_string()]).status()?;
        ensure!(status.success(), "kill {signal} {} ended with {status}", self.pid);
        let (name, keeper) = (self.name, &mut self.keeper);
        wait_for(&format!("the end of {name}"), STOP_MAX, || Ok(keeper.try_wait()?))?;
        Ok(())
    }

    /// The last lines that it printed.
    pub(crate) fn log_tail(&self) -> String {
        tail(&self.log)
    }
}

/// A port that is free at this moment. It lies below those that the system gives to clients and to whoever asks for any:
/// otherwise one of them could have it while its service is being started again.
pub(crate) fn free_port() -> Result<u16> {
    const PORTS: std::ops::Range<u16> = 15_000..32_000;
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let mut ports = std::iter::repeat_with(|| rand::random_range(PORTS)).take(1_000);
    ports.find(free).context("no port is free")
}

/// The folder that keeps what is fetched once: `HEADWATER_TEST_CACHE`, or `headwater-tests` in the user's cache.
pub(crate) fn cache() -> Result<PathBuf> {
    let named = std::env::var_os("HEADWATER_TEST_CACHE").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache/headwater-tests"));
    let folder = named.or_else(home).unwrap_or_else(|| std::env::temp_dir().join("headwater-tests"));
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    Ok(folder)
}
