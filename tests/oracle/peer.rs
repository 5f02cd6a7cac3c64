//! Cases on two processes: this one and another that runs the same cases, feeds the same ticks, and tells what its workers
//! have of every view. What both have together is compared.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::ensure;
use headwater_dataflow::engine::Cluster;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::batch::Batch;
use super::case::Case;
use super::report::describe;
use super::run::{Outcome, Seen, run_with, take_part};
use super::{FIRST_SEED, Summary, all_seeds, note_running, number, on_large_stack};
use crate::engine::driver::{Driver, Stalled};
use crate::harness::wait_for;

/// Every so many cases one runs on two processes too.
const EVERY: u64 = 50;
/// Tells the other process what it is for.
const PEER: &str = "HEADWATER_ORACLE_PEER";
/// How long the other process may take to start or to answer.
const PATIENCE: Duration = Duration::from_secs(90);

/// What the other process is asked.
#[derive(Serialize, Deserialize)]
enum Ask {
    /// To run the case of a seed, its objects numbered from the second number on, telling what it sees.
    Run(u64, u64),
    /// To forget the case: all has been compared.
    Compared,
    /// To end.
    End,
}

/// What the other process is told when it starts: where to say what it sees, how many workers each process has, and where
/// both listen.
#[derive(Serialize, Deserialize)]
struct Task {
    parent: String,
    workers: usize,
    addresses: Vec<String>,
}

/// The other process, seen from the one that compares.
pub(crate) struct Peer {
    child: Child,
    stream: TcpStream,
}

impl Peer {
    /// Starts the other process; returns it with this process's part of the engine.
    fn start(workers: usize) -> (Peer, Driver) {
        let parent = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let addresses = free_addresses();
        let task = Task {
            parent: parent.local_addr().expect("it is bound").to_string(),
            workers,
            addresses: addresses.clone(),
        };
        let mut child = Command::new(std::env::current_exe().expect("a test has a program"))
            .args(["--exact", "oracle::peer::the_other_process_of_a_case", "--nocapture"])
            .env(PEER, serde_json::to_string(&task).expect("plain values"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("the other process starts");
        let stream = accept(&parent, &mut child);
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout that is not zero");
        (Peer { child, stream }, Driver::start_in(workers, Some(Cluster { process: 0, addresses })))
    }

    /// Lets it begin with a case, whose objects are numbered from `first` on.
    pub(crate) fn begin(&mut self, seed: u64, first: u64) {
        send(&mut self.stream, &Ask::Run(seed, first));
    }

    /// What it sees of the next view.
    pub(crate) fn seen(&mut self) -> Result<Seen, Stalled> {
        receive(&mut self.stream).map_err(|error| Stalled(format!("the other process: {error}")))
    }

    /// Lets it drop the case's views.
    pub(crate) fn end(&mut self) {
        send(&mut self.stream, &Ask::Compared);
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// Waits for the other process to call.
fn accept(parent: &TcpListener, child: &mut Child) -> TcpStream {
    parent.set_nonblocking(true).expect("a socket can be polled");
    let stream = wait_for("the other process", PATIENCE, || {
        if let Ok((stream, _)) = parent.accept() {
            return Ok(Some(stream));
        }
        let ended = child.try_wait()?;
        ensure!(ended.is_none(), "the other process has ended: {ended:?}");
        Ok(None)
    });
    let stream = stream.expect("the other process starts");
    stream.set_nonblocking(false).expect("a socket can wait");
    stream
}

/// Two addresses that were free a moment ago.
fn free_addresses() -> Vec<String> {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port is free"));
    listeners.iter().map(|listener| listener.local_addr().expect("it is bound").to_string()).collect()
}

fn send(stream: &mut TcpStream, message: &impl Serialize) {
    let bytes = bincode::serialize(message).expect("plain values");
    let length = u64::try_from(bytes.len()).expect("a length is a u64").to_le_bytes();
    // Whoever is gone is noticed by who waits for it.
    let _ = stream.write_all(&length).and_then(|()| stream.write_all(&bytes));
}

fn receive<T: DeserializeOwned>(stream: &mut TcpStream) -> std::io::Result<T> {
    let mut length = [0; 8];
    stream.read_exact(&mut length)?;
    let length = usize::try_from(u64::from_le_bytes(length)).expect("a length fits the memory");
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes)?;
    bincode::deserialize(&bytes).map_err(std::io::Error::other)
}

/// Runs cases on two processes with `workers` workers each.
fn check(workers: usize) {
    let start = Instant::now();
    let batch = Batch::new();
    let (mut peer, mut driver) = Peer::start(workers);
    let mut summary = Summary::default();
    let asked = number("HEADWATER_ORACLE_SEED").is_some();
    for seed in all_seeds().filter(|seed| asked || (seed - FIRST_SEED).is_multiple_of(EVERY)) {
        note_running(2 * workers, seed);
        let case = Case::new(seed);
        match run_with(&case, &case.history, &mut driver, &batch, Some(&mut peer)) {
            Outcome::Refused(text, error) => summary.refuse(format!("{:?}", error.kind), &text),
            Outcome::Unusable(_) => summary.unusable += 1,
            Outcome::Right(tally) => {
                summary.cases += 1;
                summary.tally.add(tally);
            }
            Outcome::Wrong(said) => {
                eprintln!("{}", describe(&case, 2 * workers, &said));
                summary.failures.push(said);
            }
            Outcome::Stalled(stalled) => {
                // Both processes would wait for each other when they end.
                std::mem::forget(driver);
                peer.child.kill().expect("a child can be killed");
                panic!("{}", describe(&case, 2 * workers, &stalled.to_string()));
            }
        }
    }
    summary.print(&format!("2 processes of {workers} worker(s)"), start);
    // Only when both end do their engines.
    send(&mut peer.stream, &Ask::End);
    driver.shutdown();
    assert!(summary.failures.is_empty(), "{} cases differ", summary.failures.len());
}

#[test]
fn random_views_equal_a_batch_on_2_processes_of_1_worker() {
    on_large_stack(|| check(1));
}

#[test]
fn random_views_equal_a_batch_on_2_processes_of_2_workers() {
    on_large_stack(|| check(2));
}

/// Does nothing unless it is the other process.
#[test]
fn the_other_process_of_a_case() {
    let Ok(task) = std::env::var(PEER) else { return };
    let task: Task = serde_json::from_str(&task).expect("what the first process wrote");
    on_large_stack(move || follow(task));
}

fn follow(Task { parent, workers, addresses }: Task) {
    let mut stream = TcpStream::connect(parent).expect("the first process listens");
    let mut driver = Driver::start_in(workers, Some(Cluster { process: 1, addresses }));
    while let Ok(Ask::Run(seed, first)) = receive(&mut stream) {
        driver.go_on_with(first);
        let case = Case::new(seed);
        let mut asked = stream.try_clone().expect("a socket can be shared");
        let show = |seen| send(&mut stream, &seen);
        let wait = move || drop(receive::<Ask>(&mut asked));
        take_part(&case, &mut driver, show, wait).expect("the cluster answers");
    }
    driver.shutdown();
}
