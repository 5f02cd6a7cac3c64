//! What a panic does: it is logged, and the process ends. A server of which one thread is dead would go on with wrong
//! answers or none.

use std::backtrace::Backtrace;
use std::io::Write;
use std::panic::PanicHookInfo;

/// The exit code after a panic.
const EXIT_CODE: i32 = 101;

/// Makes every later panic of any thread end the process, but for those that the engine catches.
pub(crate) fn install() {
    std::panic::set_hook(Box::new(|info| {
        // A kernel that panics on a row costs that row: the engine turns it into an error of the row.
        if headwater_views::server::panic_is_caught() {
            return;
        }
        report(info);
        std::process::exit(EXIT_CODE);
    }));
}

fn report(info: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("unnamed").to_owned();
    let message = info.payload_as_str().unwrap_or("no message");
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let backtrace = Backtrace::capture();
    if tracing::dispatcher::has_been_set() {
        tracing::error!(thread, place, %backtrace, "panic: {message}");
    } else {
        // Nothing can be done if the standard error is gone.
        let _ = writeln!(
            std::io::stderr(),
            "error: a bug in headwater: thread \"{thread}\" panicked at {place}: {message}\n{backtrace}"
        );
    }
}
