//! Looking at values that another thread publishes.

use tokio::sync::watch;

/// The present value, copied out of its lock.
///
/// Nobody else borrows from a watch: whoever borrows twice at once waits for ever when the publisher comes in between,
/// because it waits for the first guard and the second guard waits for it. In a struct literal it takes no more than two
/// fields to do that.
#[allow(clippy::disallowed_methods, reason = "the guard ends with this expression")]
pub(crate) fn now<T: Clone>(watched: &watch::Receiver<T>) -> T {
    watched.borrow().clone()
}
