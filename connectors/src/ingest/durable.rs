//! How far the log is durable, for those who wait for it.

use std::sync::{Condvar, Mutex, MutexGuard};

use headwater_dataflow::repr::Timestamp;

use crate::error::EdgeError;

/// The last durable tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bound {
    /// Its time.
    pub(crate) tick: Timestamp,
    /// How many ticks this process had sealed with it.
    pub(crate) sequence: u64,
}

#[derive(Debug, Default)]
struct State {
    bound: Bound,
    failure: Option<String>,
    stopped: bool,
}

/// The last durable tick, and a place to wait for later ones.
#[derive(Debug, Default)]
pub(crate) struct Durable {
    state: Mutex<State>,
    changed: Condvar,
}

impl Durable {
    /// Starts with what was recovered.
    pub(crate) fn new(tick: Timestamp) -> Durable {
        let state = State { bound: Bound { tick, sequence: 0 }, failure: None, stopped: false };
        Durable { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread panics while it holds the bound")
    }

    /// The last durable tick.
    pub(crate) fn bound(&self) -> Bound {
        self.lock().bound
    }

    /// A later tick is durable.
    pub(crate) fn advance(&self, bound: Bound) {
        let mut state = self.lock();
        debug_assert!(state.bound.tick < bound.tick, "ticks become durable in order");
        state.bound = bound;
        self.changed.notify_all();
    }

    /// Nothing more will become durable.
    pub(crate) fn fail(&self, message: String) {
        self.lock().failure.get_or_insert(message);
        self.changed.notify_all();
    }

    /// Ends all waiting.
    pub(crate) fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }

    /// Waits until `tick` is durable.
    ///
    /// # Errors
    /// [`EdgeError::LogFailed`] and [`EdgeError::Stopped`] if it will never be.
    pub(crate) fn wait_for(&self, tick: Timestamp) -> Result<Bound, EdgeError> {
        let mut state = self.lock();
        loop {
            if state.bound.tick >= tick {
                return Ok(state.bound);
            }
            if let Some(message) = &state.failure {
                return Err(EdgeError::LogFailed { message: message.clone() });
            }
            if state.stopped {
                return Err(EdgeError::Stopped);
            }
            state = self.changed.wait(state).expect("no thread panics while it holds the bound");
        }
    }
}
