//! CPU and wall time of this process, and the hash that every way of computing a query must arrive at.

use std::collections::BTreeMap;
use std::fs::DirEntry;
use std::time::{Duration, Instant};

/// What a run cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// CPU time of all threads, in nanoseconds.
    pub(crate) cpu_ns: u64,
    /// Wall time.
    pub(crate) wall: Duration,
}

impl Cost {
    /// CPU microseconds for each of `count`.
    pub(crate) fn cpu_us(&self, count: usize) -> f64 {
        self.cpu_ns as f64 / 1e3 / count as f64
    }

    /// Wall microseconds for each of `count`.
    pub(crate) fn wall_us(&self, count: usize) -> f64 {
        self.wall.as_secs_f64() * 1e6 / count as f64
    }
}

/// Runs `work` and says what it cost. Threads that end meanwhile are not counted.
pub(crate) fn measure<T>(work: impl FnOnce() -> T) -> (T, Cost) {
    let (cpu, start) = (cpu_ns(), Instant::now());
    let result = work();
    (result, Cost { cpu_ns: cpu_ns() - cpu, wall: start.elapsed() })
}

/// Waits until the process is idle, at most ten seconds.
pub(crate) fn settle() {
    const LOOK_EVERY: Duration = Duration::from_millis(20);
    const IDLE_NS: u64 = 200_000;
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut before = cpu_ns();
    loop {
        std::thread::sleep(LOOK_EVERY);
        let now = cpu_ns();
        if now - before < IDLE_NS || Instant::now() > deadline {
            return;
        }
        before = now;
    }
}

fn cpu_ns() -> u64 {
    threads().values().map(|thread| thread.cpu_ns).sum()
}

/// What a thread has done so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Thread {
    /// Its CPU time in nanoseconds.
    pub(crate) cpu_ns: u64,
    /// How often it gave up the CPU by itself.
    pub(crate) rests: u64,
}

/// The threads of this process by their number, which is that of the process for the first.
pub(crate) fn threads() -> BTreeMap<u32, Thread> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux lists a process's threads");
    let thread = |task: DirEntry| {
        // A thread may end while it is being looked at.
        let spent = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        let status = std::fs::read_to_string(task.path().join("status")).ok()?;
        let rests = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        let thread =
            Thread { cpu_ns: spent.split_whitespace().next()?.parse().ok()?, rests: rests.trim().parse().ok()? };
        Some((task.file_name().to_str()?.parse().ok()?, thread))
    };
    tasks.flatten().filter_map(thread).collect()
}

/// The memory of this process that is in use, in bytes: pages of its own that the system holds for it.
pub(crate) fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("Linux describes a process");
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("its memory is among that");
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).expect("it is a number") * 1024
}

/// The load of the machine over one, five and fifteen minutes.
pub(crate) fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// The middle one of several runs.
pub(crate) fn median(costs: &[Cost], by: impl Fn(&Cost) -> f64) -> f64 {
    let mut values: Vec<f64> = costs.iter().map(by).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Counts changes and hashes them: equal answers have equal hashes, whatever changes led there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sink {
    /// Changed rows.
    pub(crate) changes: u64,
    /// The sum of the rows' hashes, each as often as the row is there.
    pub(crate) hash: u64,
    /// Rows that are there.
    pub(crate) rows: i64,
}

impl Sink {
    /// Takes in one change.
    pub(crate) fn add(&mut self, row: u64, diff: i64) {
        self.changes += 1;
        self.rows += diff;
        self.hash = self.hash.wrapping_add(row.wrapping_mul(diff as u64));
    }
}

/// The hash of a row's beginning and its next value.
#[inline]
pub(crate) fn mix(hash: u64, value: u64) -> u64 {
    (hash ^ value).wrapping_mul(0x9FB2_1C65_1E98_DF25).rotate_left(23)
}

/// What stands for NULL in a hash.
pub(crate) const NULL: u64 = 0x6E75_6C6C;

/// A text of at most eight bytes as a value; longer ones are folded.
#[inline]
pub(crate) fn text_value(text: &[u8]) -> u64 {
    text.iter().fold(text.len() as u64, |value, byte| value.rotate_left(8) ^ u64::from(*byte))
}
