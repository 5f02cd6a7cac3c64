//! What a reader may read: nothing while its source is paused, and no more than so many rows a second.
//!
//! Rows are saved up as time passes, for a tenth of a second at most, and spent by reading. A reader that may read nothing
//! rests, until the pace changes or enough has been saved for a worthwhile read.

use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::source::Pace;

/// For how long a paused reader rests before it looks whether it is still wanted.
const PAUSED_REST: Duration = Duration::from_millis(50);
/// For how long one rests that has read what it may.
const LIMITED_REST: Duration = Duration::from_millis(5);
/// Reads of a limited source in a second, while the limit is above as many rows.
const READS_PER_SECOND: f64 = 20.0;
/// So many reads' worth of rows can be saved up.
const READS_SAVED: f64 = 2.0;

#[derive(Debug)]
struct State {
    pace: Pace,
    /// Rows that may be read; below zero after a read that brought more than was allowed.
    saved: f64,
    /// Up to when it was saved.
    since: Instant,
}

impl State {
    /// Saves what time has brought; returns how many rows a read may take, 0 if it has to wait.
    fn allowed(&mut self, rows_max: usize, now: Instant) -> usize {
        let passed = now.saturating_duration_since(std::mem::replace(&mut self.since, now));
        if self.pace.paused {
            return 0;
        }
        let Some(rate) = self.pace.rows_per_second_max else { return rows_max };
        let rate = f64::from(rate.get());
        let read = (rate / READS_PER_SECOND).max(1.0);
        self.saved = (self.saved + passed.as_secs_f64() * rate).min(read * READS_SAVED);
        if self.saved < read {
            return 0;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is at least 1, and 2^32 at most"
        )]
        let saved = self.saved as usize;
        saved.min(rows_max)
    }
}

/// The pace of one source, for the one who sets it and for its reader.
#[derive(Debug)]
pub(crate) struct Throttle {
    state: Mutex<State>,
    changed: Condvar,
}

impl Throttle {
    /// Starts with nothing saved.
    pub(crate) fn new(pace: Pace) -> Throttle {
        Throttle { state: Mutex::new(State { pace, saved: 0.0, since: Instant::now() }), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread panics while it holds a pace")
    }

    /// The pace.
    pub(crate) fn pace(&self) -> Pace {
        self.lock().pace
    }

    /// Another pace from now on.
    pub(crate) fn set(&self, pace: Pace) {
        let mut state = self.lock();
        state.pace = pace;
        state.saved = 0.0;
        drop(state);
        self.changed.notify_all();
    }

    /// How many rows may be read now, at most `rows_max`; 0 asks to rest first.
    pub(crate) fn allowed(&self, rows_max: usize) -> usize {
        self.lock().allowed(rows_max, Instant::now())
    }

    /// So many rows were read.
    pub(crate) fn took(&self, rows: usize) {
        let mut state = self.lock();
        if state.pace.rows_per_second_max.is_some() {
            #[expect(clippy::cast_precision_loss, reason = "a read returns far fewer than 2^53 rows")]
            let rows = rows as f64;
            state.saved -= rows;
        }
    }

    /// Rests for a while, or until the pace changes.
    pub(crate) fn rest(&self) {
        let state = self.lock();
        let before = state.pace;
        let rest = if before.paused { PAUSED_REST } else { LIMITED_REST };
        // Whether there is something to do is seen by asking again.
        drop(self.changed.wait_timeout_while(state, rest, |state| state.pace == before));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(paused: bool, rate: Option<u32>, since: Instant) -> State {
        let pace = Pace { paused, rows_per_second_max: rate.and_then(std::num::NonZeroU32::new) };
        State { pace, saved: 0.0, since }
    }

    /// Rows that are read in ten seconds when a reader asks every `step` and there is always more.
    fn read_in_ten_seconds(rate: u32, step: Duration) -> usize {
        let start = Instant::now();
        let mut state = state(false, Some(rate), start);
        let mut rows = 0;
        let mut now = start;
        while now < start + Duration::from_secs(10) {
            now += step;
            let allowed = state.allowed(10_000, now);
            state.saved -= allowed as f64;
            rows += allowed;
        }
        rows
    }

    #[test]
    fn no_more_than_the_limit_is_read_and_not_much_less() {
        for rate in [1, 7, 500, 100_000] {
            for step in [1, 10, 40] {
                let rows = read_in_ten_seconds(rate, Duration::from_millis(step));
                let most = usize::try_from(rate).unwrap() * 10;
                assert!(rows <= most && rows * 100 >= most * 85, "{rows} of {most} rows, asked every {step} ms");
            }
        }
    }

    #[test]
    fn nothing_is_saved_while_a_source_has_nothing_for_long() {
        let start = Instant::now();
        let mut state = state(false, Some(1_000), start);
        assert_eq!(state.allowed(10_000, start + Duration::from_secs(60)), 100);
    }

    #[test]
    fn a_pause_lets_nothing_through_and_no_limit_everything() {
        let start = Instant::now();
        assert_eq!(state(true, None, start).allowed(10, start), 0);
        assert_eq!(state(true, Some(5), start).allowed(10, start + Duration::from_secs(9)), 0);
        assert_eq!(state(false, None, start).allowed(10, start), 10);
    }
}
