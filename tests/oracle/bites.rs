//! The oracle bites: an engine that is fed a history with one deliberate fault is found out.

use headwater_dataflow::repr::Diff;
use rand::SeedableRng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use super::batch::Batch;
use super::case::Case;
use super::history::History;
use super::on_large_stack;
use super::report::describe;
use super::run::{Outcome, run};
use crate::engine::driver::Driver;

/// A fault in what the engine sees; the batch sees the true history.
type Fault = fn(&mut History, &mut ChaCha8Rng) -> bool;

/// Loses one retraction after the first change.
fn lose_a_delete(history: &mut History, rng: &mut ChaCha8Rng) -> bool {
    take(
        history,
        rng,
        |diff| diff < 0,
        |updates, index| {
            updates.remove(index);
        },
    )
}

/// Delivers one insertion twice.
fn repeat_an_insert(history: &mut History, rng: &mut ChaCha8Rng) -> bool {
    take(history, rng, |diff| diff > 0, |updates, index| updates.push(updates[index].clone()))
}

/// Delivers the updates of one tick with the next one.
fn delay_a_tick(history: &mut History, rng: &mut ChaCha8Rng) -> bool {
    let last = history.changes.len() - 1;
    let busy: Vec<usize> =
        (1..last).filter(|index| history.changes[*index].updates.iter().any(|updates| !updates.is_empty())).collect();
    let Some(index) = busy.choose(rng).copied() else { return false };
    let late = std::mem::take(&mut history.changes[index].updates);
    history.changes[index].updates = vec![Vec::new(); late.len()];
    for (updates, late) in history.changes[index + 1].updates.iter_mut().zip(late) {
        updates.extend(late);
    }
    true
}

fn take(
    history: &mut History,
    rng: &mut ChaCha8Rng,
    fits: fn(Diff) -> bool,
    fault: fn(&mut Vec<(crate::engine::rows::Row, Diff)>, usize),
) -> bool {
    let mut places = Vec::new();
    for (tick, change) in history.changes.iter().enumerate().skip(1) {
        for (table, updates) in change.updates.iter().enumerate() {
            places.extend((0..updates.len()).filter(|i| fits(updates[*i].1)).map(|i| (tick, table, i)));
        }
    }
    let Some((tick, table, index)) = places.choose(rng).copied() else { return false };
    fault(&mut history.changes[tick].updates[table], index);
    true
}

/// How many of `wanted` cases with the fault are found out.
fn found_out(fault: Fault, wanted: usize) -> usize {
    let batch = Batch::new();
    let mut driver = Driver::start(2);
    let (mut run_cases, mut found) = (0, 0);
    for seed in 77_000.. {
        let mut case = Case::new(seed);
        // Everything is seen tick by tick from the beginning.
        for view in &mut case.views {
            (view.as_of, view.created) = (0, 0);
        }
        let mut fed = case.history.clone();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        if !fault(&mut fed, &mut rng) {
            continue;
        }
        match run(&case, &fed, &mut driver, &batch) {
            Outcome::Refused(..) | Outcome::Unusable(_) => continue,
            Outcome::Right(_) => {}
            Outcome::Wrong(_) => found += 1,
            Outcome::Stalled(stalled) => panic!("{}", describe(&case, 2, &stalled.to_string())),
        }
        run_cases += 1;
        if run_cases == wanted {
            break;
        }
    }
    driver.shutdown();
    eprintln!("a deliberate fault in the history is found in {found} of {run_cases} cases");
    found
}

#[test]
fn a_lost_delete_is_found() {
    on_large_stack(|| assert!(found_out(lose_a_delete, 30) >= 6));
}

#[test]
fn a_repeated_insert_is_found() {
    on_large_stack(|| assert!(found_out(repeat_an_insert, 30) >= 6));
}

#[test]
fn a_late_tick_is_found() {
    on_large_stack(|| assert!(found_out(delay_a_tick, 30) >= 6));
}
