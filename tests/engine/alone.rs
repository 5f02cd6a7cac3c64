//! Measures that need a process of their own: the test runs itself again, alone.

use std::process::Command;

/// Runs `work` in a process in which nothing else runs. `name` is the full name of the calling test. Its output is passed
/// on; panics if it fails.
pub(crate) fn alone(name: &str, work: impl FnOnce()) {
    const VARIABLE: &str = "HEADWATER_TEST_ALONE";
    if std::env::var(VARIABLE).is_ok_and(|alone| alone == name) {
        return work();
    }
    let program = std::env::current_exe().expect("a test knows where it is");
    let output = Command::new(program)
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(VARIABLE, name)
        .output()
        .expect("the test starts itself");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    eprintln!("{}", text.trim());
    assert!(output.status.success() && text.contains("1 passed"), "{name} fails when it runs alone");
}

/// CPU time of all living threads of this process, in nanoseconds.
pub(crate) fn cpu_ns() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux lists a process's threads");
    let spent = tasks.flatten().filter_map(|task| {
        // A thread may end while its name is being looked at.
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    spent.sum()
}

/// Resident memory of this process, in bytes.
pub(crate) fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux tells a process's memory");
    let pages: u64 = text.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).expect("the second figure");
    pages * 4_096
}

/// What part of all cores was idle over `window`, from 0 to 1.
pub(crate) fn idle_share(window: std::time::Duration) -> f64 {
    let read = || {
        let text = std::fs::read_to_string("/proc/stat").expect("Linux tells its load");
        let line = text.lines().next().expect("the first line sums all cores").to_owned();
        let figures: Vec<u64> = line.split_whitespace().skip(1).filter_map(|figure| figure.parse().ok()).collect();
        (figures[3] + figures[4], figures.iter().take(8).sum::<u64>())
    };
    let (idle, all) = read();
    std::thread::sleep(window);
    let (idle_then, all_then) = read();
    (idle_then - idle) as f64 / (all_then - all).max(1) as f64
}
