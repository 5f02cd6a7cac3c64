//! Panics of foreign kernels as errors of the rows that caused them.
//!
//! Kernels come from libraries, and some of them panic on extreme values. That must cost the row and not the process, so
//! they run under [`caught`]; a process-wide panic hook asks [`is_catching`] before it ends the process.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Leaves the protected stretch, also when unwinding.
struct Depth;

impl Depth {
    fn enter() -> Depth {
        DEPTH.with(|depth| depth.set(depth.get() + 1));
        Depth
    }
}

impl Drop for Depth {
    fn drop(&mut self) {
        DEPTH.with(|depth| depth.set(depth.get() - 1));
    }
}

/// Runs `work`; a panic in it becomes its message. `work` must leave nothing half-changed that is used afterwards.
///
/// # Errors
/// The message of the panic.
pub fn caught<R>(work: impl FnOnce() -> R) -> Result<R, String> {
    let _depth = Depth::enter();
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| message_of(&*panic))
}

/// Whether a panic of this thread, now, would be caught.
pub fn is_catching() -> bool {
    DEPTH.with(|depth| depth.get() > 0)
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a function panicked").to_owned()
}
