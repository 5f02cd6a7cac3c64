//! What the allocator does with freed memory.
//!
//! mimalloc gives blocks that are free for a tenth of a second back to the system, and merges of arrangements, like tables
//! that grow, soon ask for as much again: the system then clears every page anew, a sixth of all CPU of a group-by whose
//! output is large.

use std::env;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The setting, in milliseconds. Whole regions are kept ten times as long.
const SETTING: &str = "MIMALLOC_PURGE_DELAY";
const KEPT_MS: &str = "60000";

/// Makes the allocator keep freed memory for a minute, whole regions for ten. Call it first: mimalloc reads its settings
/// from the environment when a process begins, so the process begins anew, with the same arguments and the same number,
/// unless the environment decides already.
pub(crate) fn keep_freed() {
    if env::var_os(SETTING).is_some() {
        return;
    }
    let Ok(program) = env::current_exe() else { return };
    let mut arguments = env::args_os();
    let mut command = Command::new(program);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    // Returns only if it fails, and then everything works as well, a little slower.
    let _ = command.args(arguments).env(SETTING, KEPT_MS).exec();
}
