//! The paced writer: a thread that appends the lines of a replay to the feed as their time comes, and what it knows of
//! how long they took to become visible.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use chrono::NaiveDateTime;

use super::replay::Replay;

/// How often lines are written; all that are due go in one write.
const BEAT: Duration = Duration::from_millis(20);

/// The most bytes of one write, so that a replay at once does not stand still in one.
const WRITE_BYTES_MAX: usize = 1 << 20;

/// A running writer.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<io::Result<()>>>,
    /// How long lines took from the write to the view.
    delays: Vec<Duration>,
}

/// What the thread tells.
struct Shared {
    replay: Arc<Replay>,
    /// How many of the replay's marks are written.
    marks: AtomicUsize,
    stop: AtomicBool,
    /// What was written and is not visible: when, and the lines then.
    writes: Mutex<VecDeque<(Instant, u64)>>,
}

impl Writer {
    /// Starts writing `replay` to the end of `feed`, over the time `pace`.
    pub(crate) fn start(replay: Arc<Replay>, feed: &Path, pace: Duration) -> io::Result<Writer> {
        let file = OpenOptions::new().append(true).open(feed)?;
        let (marks, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let shared = Arc::new(Shared { replay, marks, stop, writes: Mutex::default() });
        let writing = Arc::clone(&shared);
        let thread =
            std::thread::Builder::new().name("demo-writer".to_owned()).spawn(move || writing.run(file, pace))?;
        Ok(Writer { shared, thread: Some(thread), delays: Vec::new() })
    }

    /// The time of the last line written, if there is one.
    pub(crate) fn time(&self) -> Option<NaiveDateTime> {
        let marks = self.shared.marks.load(Ordering::Acquire);
        marks.checked_sub(1).map(|last| self.shared.replay.marks[last].time)
    }

    /// Whether everything is written, or the writer failed.
    pub(crate) fn ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Says that the views hold `lines` lines.
    pub(crate) fn note_visible(&mut self, lines: u64) {
        let mut writes = self.shared.writes.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(&(written, up_to)) = writes.front()
            && up_to <= lines
        {
            self.delays.push(written.elapsed());
            writes.pop_front();
        }
    }

    /// How long the lines that became visible last took.
    pub(crate) fn last_delay(&self) -> Option<Duration> {
        self.delays.last().copied()
    }

    /// Fails if the writer has failed.
    pub(crate) fn check(&mut self) -> Result<()> {
        if self.ended() { self.join() } else { Ok(()) }
    }

    /// Waits for the end and returns how long lines took to become visible, in no order.
    pub(crate) fn finish(mut self) -> Result<Vec<Duration>> {
        self.join()?;
        Ok(std::mem::take(&mut self.delays))
    }

    fn join(&mut self) -> Result<()> {
        match self.thread.take().map(JoinHandle::join) {
            None | Some(Ok(Ok(()))) => Ok(()),
            Some(Ok(Err(error))) => Err(error).context("cannot write the feed"),
            Some(Err(_)) => bail!("the writer of the feed panicked"),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        // A failure no longer matters: the demo is over.
        let _ = self.join();
    }
}

impl Shared {
    fn run(&self, mut file: File, pace: Duration) -> io::Result<()> {
        let (marks, (first, last)) = (&self.replay.marks, self.replay.span());
        let (started, whole) = (Instant::now(), (last - first).as_seconds_f64());
        let (mut done, mut end) = (0, self.replay.header_end);
        while done < marks.len() && !self.stop.load(Ordering::Acquire) {
            let share = if pace.is_zero() { 1.0 } else { started.elapsed().as_secs_f64() / pace.as_secs_f64() };
            let due = if share >= 1.0 {
                marks.len()
            } else {
                let reached = whole * share;
                done + marks[done..].partition_point(|mark| (mark.time - first).as_seconds_f64() <= reached)
            };
            while done < due && !self.stop.load(Ordering::Acquire) {
                let fits = |mark: &super::replay::Mark| mark.end <= end + WRITE_BYTES_MAX;
                let next = (done + marks[done..due].partition_point(fits)).max(done + 1);
                let mark = marks[next - 1];
                file.write_all(&self.replay.text[end..mark.end])?;
                self.writes.lock().unwrap_or_else(PoisonError::into_inner).push_back((Instant::now(), mark.lines));
                (done, end) = (next, mark.end);
                self.marks.store(done, Ordering::Release);
            }
            std::thread::park_timeout(BEAT);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_feed_gets_every_byte_once() {
        let replay = Arc::new(Replay::generated(3, 2_000));
        let dir = tempfile::tempdir().unwrap();
        for pace in [0, 200] {
            let feed = dir.path().join(format!("{pace}.csv"));
            std::fs::write(&feed, &replay.text[..replay.header_end]).unwrap();
            let mut writer = Writer::start(Arc::clone(&replay), &feed, Duration::from_millis(pace)).unwrap();
            let deadline = Instant::now() + Duration::from_secs(30);
            while !writer.ended() && Instant::now() < deadline {
                std::thread::yield_now();
            }
            assert_eq!(writer.time(), Some(replay.span().1));
            writer.note_visible(replay.totals.lines);
            assert!(writer.last_delay().is_some());
            assert!(!writer.finish().unwrap().is_empty());
            assert_eq!(std::fs::read(&feed).unwrap(), replay.text);
        }
    }
}
