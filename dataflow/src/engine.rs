//! The engine: starts the timely workers of this process and hands them commands.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use crossbeam_channel::Sender;
use timely::CommunicationConfig;

use crate::protocol::{Command, Response};
use crate::worker;

/// How the engine runs.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Timely worker threads in this process, at least 1.
    pub workers: usize,
    /// The processes that compute together; `None` for this one alone.
    pub cluster: Option<Cluster>,
}

/// Processes with as many workers each. All of them must be given the same commands in the same order, and feed the same
/// ticks to their ports: each takes its part of them.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Which of the processes this one is.
    pub process: usize,
    /// Where each process listens for the others, HOST:PORT. Nothing there is authenticated.
    pub addresses: Vec<String>,
}

impl EngineConfig {
    /// This process alone.
    pub fn alone(workers: usize) -> EngineConfig {
        EngineConfig { workers, cluster: None }
    }
}

/// Why the engine did not start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No worker at all.
    #[error("the engine needs at least one worker")]
    NoWorkers,
    /// A process that is not among those of the cluster.
    #[error("process {process} of a cluster of {processes}")]
    NoProcess {
        /// The process.
        process: usize,
        /// How many there are.
        processes: usize,
    },
    /// Timely or the operating system refused.
    #[error("cannot start the workers: {0}")]
    Start(String),
}

/// One worker's commands, and what it says about itself.
#[derive(Default)]
pub(crate) struct Inbox {
    commands: Mutex<VecDeque<Command>>,
    thread: Mutex<Option<Thread>>,
    stopped: AtomicBool,
    installed: Mutex<Vec<usize>>,
}

impl Inbox {
    pub(crate) fn take(&self) -> Option<Command> {
        self.commands.lock().expect("no thread panics while it holds an inbox").pop_front()
    }

    pub(crate) fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    pub(crate) fn report_installed(&self, dataflows: Vec<usize>) {
        let mut installed = self.installed.lock().expect("no thread panics while it holds an inbox");
        if *installed != dataflows {
            *installed = dataflows;
        }
    }

    fn wake(&self) {
        if let Some(thread) = &*self.thread.lock().expect("no thread panics while it holds an inbox") {
            thread.unpark();
        }
    }
}

/// A running engine. Dropping it stops the workers.
pub struct Engine {
    inboxes: Arc<Vec<Inbox>>,
    /// Orders commands: every worker gets them in the same order.
    order: Mutex<()>,
    main: Option<JoinHandle<Result<(), String>>>,
}

impl Engine {
    /// Starts the workers. What they have to say goes to `responses`; a full channel makes workers wait, so its reader
    /// must never wait for the engine.
    ///
    /// # Errors
    /// [`EngineError`] when there is nothing to start or it cannot be started.
    pub fn start(config: EngineConfig, responses: Sender<Response>) -> Result<Engine, EngineError> {
        if config.workers == 0 {
            return Err(EngineError::NoWorkers);
        }
        if let Some(Cluster { process, addresses }) = &config.cluster
            && *process >= addresses.len()
        {
            return Err(EngineError::NoProcess { process: *process, processes: addresses.len() });
        }
        let inboxes: Arc<Vec<Inbox>> = Arc::new((0..config.workers).map(|_| Inbox::default()).collect());
        let shared = Arc::clone(&inboxes);
        let main = std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || run_workers(config, &shared, &responses))
            .map_err(|error| EngineError::Start(error.to_string()))?;
        Ok(Engine { inboxes, order: Mutex::new(()), main: Some(main) })
    }

    /// How many workers run in this process.
    pub fn workers(&self) -> usize {
        self.inboxes.len()
    }

    /// Gives a command to every worker of this process. Returns at once.
    pub fn send(&self, command: Command) {
        let order = self.order.lock().expect("no thread panics while it sends a command");
        for inbox in self.inboxes.iter() {
            inbox.commands.lock().expect("no thread panics while it holds an inbox").push_back(command.clone());
        }
        drop(order);
        for inbox in self.inboxes.iter() {
            inbox.wake();
        }
    }

    /// The dataflows that timely runs, on all workers.
    pub fn installed_dataflows(&self) -> Vec<usize> {
        let mut all: Vec<usize> = self
            .inboxes
            .iter()
            .flat_map(|inbox| inbox.installed.lock().expect("no thread panics while it holds an inbox").clone())
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Stops the workers and waits for them.
    pub fn shutdown(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        let Some(main) = self.main.take() else { return };
        for inbox in self.inboxes.iter() {
            inbox.stopped.store(true, Ordering::Release);
            inbox.wake();
        }
        match main.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(error, "the workers did not stop cleanly"),
            Err(_) => tracing::error!("the engine's thread panicked"),
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A worker that panics takes the process with it: its peers would wait for it for ever, and half an engine gives wrong
/// answers.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("a worker panicked: an invariant is broken, the process ends");
            std::process::abort();
        }
    }
}

fn run_workers(
    EngineConfig { workers, cluster }: EngineConfig,
    inboxes: &Arc<Vec<Inbox>>,
    responses: &Sender<Response>,
) -> Result<(), String> {
    let mut config = timely::Config::process(workers);
    if let Some(Cluster { process, addresses }) = cluster {
        config.communication =
            CommunicationConfig::Cluster { threads: workers, process, addresses, report: false, zerocopy: false };
    }
    crate::spines::configure(&mut config.worker);
    // What a worker waits for takes longer than a look around: it rests at once.
    config.worker = config.worker.idle_spin(Duration::ZERO);
    let (inboxes, responses) = (Arc::clone(inboxes), responses.clone());
    let guards = timely::execute(config, move |worker| {
        let _abort = AbortOnPanic;
        // Workers are numbered process by process.
        let inbox = &inboxes[worker.index() % workers];
        *inbox.thread.lock().expect("no thread panics while it holds an inbox") = Some(std::thread::current());
        worker::run(worker, workers, inbox, responses.clone());
        // The process is done with all dataflows on all workers: only here may they be forgotten one by one.
        for dataflow in worker.installed_dataflows() {
            #[allow(clippy::disallowed_methods, reason = "shutdown of the whole engine: no peer waits for progress")]
            worker.drop_dataflow(dataflow);
        }
    })?;
    for guard in guards.join() {
        guard?;
    }
    Ok(())
}
