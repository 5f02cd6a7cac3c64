//! The oracle: what a view maintains equals a batch evaluation of the same SQL over the accumulated rows, at every closed
//! time, for random SQL over random tables with random histories, on 1, 2 and 4 workers of one process.
//!
//! Some cases run on two processes too.
//!
//! `HEADWATER_ORACLE_CASES` sets the number of cases, `HEADWATER_ORACLE_SEED` runs one case alone on all worker counts.

pub(crate) mod batch;
mod best;
mod bites;
mod case;
mod delivery;
mod expect;
mod expressions;
mod history;
mod indexes;
mod peer;
mod queries;
mod report;
mod run;
mod syntax;
mod tables;
mod types;

use std::collections::BTreeMap;
use std::sync::{Mutex, Once};
use std::time::Instant;

use batch::Batch;
use case::Case;
use report::{describe, shrink};
use run::{Outcome, Tally, run};

use crate::engine::driver::Driver;

/// Cases in a run without arguments, over all worker counts.
const CASES: u64 = 10_000;
/// The first of the fixed seeds.
const FIRST_SEED: u64 = 1_000_000;
/// Differences after which a run gives up.
const FAILURES_MAX: usize = 5;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is {text:?}, which is no number")))
}

fn cases() -> u64 {
    number("HEADWATER_ORACLE_CASES").unwrap_or(CASES)
}

/// The fixed seeds, or the one that is asked for.
fn all_seeds() -> impl Iterator<Item = u64> {
    let asked = number("HEADWATER_ORACLE_SEED");
    let fixed = if asked.is_some() { 0 } else { cases() };
    asked.into_iter().chain(FIRST_SEED..FIRST_SEED + fixed)
}

/// The seeds that `workers` run: every tenth on all worker counts, the others in turn.
fn seeds(workers: usize) -> Vec<u64> {
    if number("HEADWATER_ORACLE_SEED").is_some() {
        return all_seeds().collect();
    }
    let turn = [1, 2, 4].iter().position(|count| *count == workers).expect("1, 2 or 4 workers") as u64;
    let case = |seed: u64| seed - FIRST_SEED;
    let mut seeds: Vec<u64> =
        all_seeds().filter(|seed| case(*seed).is_multiple_of(10) || case(*seed) % 3 == turn).collect();
    // One fresh seed and its neighbours in every run.
    let fresh: u64 = rand::random_range(FIRST_SEED * 10..u64::MAX / 2);
    seeds.extend((0..cases() / 100).map(|case| fresh + case));
    seeds
}

#[derive(Default)]
struct Summary {
    cases: usize,
    tally: Tally,
    refusals: BTreeMap<String, usize>,
    refused: usize,
    unusable: usize,
    failures: Vec<String>,
}

impl Summary {
    fn refuse(&mut self, reason: String, text: &str) {
        self.refused += 1;
        let count = self.refusals.entry(reason).or_default();
        if *count == 0 && std::env::var_os("HEADWATER_ORACLE_VERBOSE").is_some() {
            eprintln!("refused: {text}");
        }
        *count += 1;
    }

    fn print(&self, on: &str, start: Instant) {
        let seen = self.cases + self.refused + self.unusable;
        eprintln!(
            "oracle on {on}: {} cases, {:?}, {} refused of {seen} ({} %), {} unusable, {:.1} s",
            self.cases,
            self.tally,
            self.refused,
            100 * self.refused / seen.max(1),
            self.unusable,
            start.elapsed().as_secs_f64()
        );
        for (reason, count) in &self.refusals {
            eprintln!("  {count} x {reason}");
        }
    }
}

/// The cases that run right now, by number of workers: a worker that panics takes the process with it.
static RUNNING: Mutex<BTreeMap<usize, u64>> = Mutex::new(BTreeMap::new());

/// Notes which case runs, to be printed when anything panics.
fn note_running(workers: usize, seed: u64) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            eprintln!("cases that run, seed by workers: {:?}", RUNNING.lock());
            before(panic);
        }));
    });
    RUNNING.lock().expect("nobody panics while it notes a seed").insert(workers, seed);
}

/// Runs `work` with a stack that unoptimised planning of nested queries fits on.
fn on_large_stack(work: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(64 << 20).spawn(work).expect("a thread starts");
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn check(workers: usize) {
    let start = Instant::now();
    let batch = Batch::new();
    let mut driver = Driver::start(workers);
    let mut summary = Summary::default();
    for seed in seeds(workers) {
        note_running(workers, seed);
        let case = Case::new(seed);
        if number("HEADWATER_ORACLE_SEED").is_some() {
            eprintln!("{}", describe(&case, workers, "is run alone"));
        }
        match run(&case, &case.history, &mut driver, &batch) {
            Outcome::Refused(text, error) => {
                summary.refuse(format!("{:?}: {}", error.kind, shorten(&error.message)), &text)
            }
            Outcome::Unusable(unusable) => {
                summary.unusable += 1;
                if std::env::var_os("HEADWATER_ORACLE_VERBOSE").is_some() {
                    eprintln!("seed {seed}: {unusable:?}");
                }
            }
            Outcome::Right(tally) => {
                summary.cases += 1;
                summary.tally.add(tally);
            }
            Outcome::Wrong(said) => {
                let (case, said) = shrink(&case, said, &mut driver, &batch);
                summary.failures.push(describe(&case, workers, &said));
                eprintln!("{}", summary.failures.last().expect("it was just pushed"));
            }
            Outcome::Stalled(stalled) => {
                summary.failures.push(describe(&case, workers, &stalled.to_string()));
                eprintln!("{}", summary.failures.last().expect("it was just pushed"));
                // Its threads may hang: they are left behind.
                std::mem::forget(std::mem::replace(&mut driver, Driver::start(workers)));
            }
        }
        if summary.failures.len() >= FAILURES_MAX {
            break;
        }
    }
    summary.print(&format!("{workers} worker(s)"), start);
    assert!(summary.failures.is_empty(), "{} cases differ", summary.failures.len());
    let seen = summary.cases + summary.refused + summary.unusable;
    assert!(seen < 50 || summary.refused * 5 < seen, "too much of the generated SQL is refused");
    assert!(seen < 50 || summary.unusable * 10 < seen, "too many generated cases cannot be judged");
    assert!(seen < 500 || summary.tally.indexed * 50 > seen, "too few views look indexes up");
    driver.wait_installed(0).expect("nothing is left behind");
    driver.shutdown();
}

/// The beginning of a message, without names and numbers.
fn shorten(message: &str) -> String {
    let plain: String = message.chars().filter(|c| !c.is_ascii_digit()).take(110).collect();
    plain.replace('\n', " ")
}

#[test]
fn random_views_equal_a_batch_at_every_tick_on_1_worker() {
    on_large_stack(|| check(1));
}

#[test]
fn random_views_equal_a_batch_at_every_tick_on_2_workers() {
    on_large_stack(|| check(2));
}

#[test]
fn random_views_equal_a_batch_at_every_tick_on_4_workers() {
    on_large_stack(|| check(4));
}
