//! Counts, and what is printed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::judge::Verdict;

/// How a query is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mode {
    /// As a read.
    Batch,
    /// As a view that is maintained.
    View,
}

/// How often each verdict was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) passed: usize,
    pub(super) refused: usize,
    pub(super) wrong: usize,
    pub(super) failed: usize,
    pub(super) differs: usize,
    pub(super) skipped: usize,
}

impl Counts {
    fn count(&mut self, verdict: &Verdict) {
        let counter = match verdict {
            Verdict::Passed => &mut self.passed,
            Verdict::Refused(_) => &mut self.refused,
            Verdict::Wrong(_) => &mut self.wrong,
            Verdict::Failed(_) => &mut self.failed,
            Verdict::Differs(_) => &mut self.differs,
            Verdict::Skipped(_) => &mut self.skipped,
        };
        *counter += 1;
    }

    fn add(&mut self, other: Counts) {
        self.passed += other.passed;
        self.refused += other.refused;
        self.wrong += other.wrong;
        self.failed += other.failed;
        self.differs += other.differs;
        self.skipped += other.skipped;
    }

    /// What was asked.
    fn asked(&self) -> usize {
        self.passed + self.refused + self.wrong + self.failed + self.differs
    }

    fn columns(&self) -> String {
        let right = self.passed + self.differs;
        format!(
            "{:>7} {:>7} {:>6} {:>6} {:>7} {:>7} {:>6.1} %",
            self.passed,
            self.refused,
            self.wrong,
            self.failed,
            self.differs,
            self.skipped,
            100.0 * right as f64 / self.asked().max(1) as f64
        )
    }
}

/// What is said about many queries with one word.
#[derive(Default)]
struct Reasons(BTreeMap<String, (usize, String)>);

impl Reasons {
    fn add(&mut self, reason: String, example: impl FnOnce() -> String) {
        let entry = self.0.entry(reason).or_insert_with(|| (0, example()));
        entry.0 += 1;
    }

    fn merge(&mut self, other: Reasons) {
        for (reason, (count, example)) in other.0 {
            self.0.entry(reason).or_insert((0, example)).0 += count;
        }
    }

    fn print(&self, title: &str, text: &mut String) {
        if self.0.is_empty() {
            return;
        }
        let _ = writeln!(text, "{title}");
        let mut reasons: Vec<_> = self.0.iter().collect();
        reasons.sort_by_key(|(reason, (count, _))| (std::cmp::Reverse(*count), *reason));
        for (reason, (count, example)) in reasons {
            let _ = writeln!(text, "{count:>7} x {reason}\n            {example}");
        }
    }
}

/// What came out.
#[derive(Default)]
pub(super) struct Report {
    files: BTreeMap<PathBuf, BTreeMap<Mode, Counts>>,
    refused: BTreeMap<Mode, Reasons>,
    failed: BTreeMap<Mode, Reasons>,
    differs: BTreeMap<Mode, Reasons>,
    skipped: Reasons,
    statements: Reasons,
    wrong: Vec<String>,
    unreadable: Vec<String>,
}

impl Report {
    /// Notes what became of a query.
    pub(super) fn query(&mut self, path: &Path, place: &str, sql: &str, mode: Mode, verdict: Verdict) {
        self.files.entry(path.to_owned()).or_default().entry(mode).or_default().count(&verdict);
        let example = || format!("{place}: {}", short(sql));
        match verdict {
            Verdict::Passed => {}
            Verdict::Refused(message) => self.refused.entry(mode).or_default().add(general(&message), example),
            Verdict::Failed(message) => self.failed.entry(mode).or_default().add(general(&message), example),
            Verdict::Differs(reason) => self.differs.entry(mode).or_default().add(reason.to_owned(), example),
            Verdict::Skipped(reason) => self.skipped.add(reason.to_owned(), example),
            Verdict::Wrong(said) => self.wrong.push(format!("{place} {mode:?}\n    {}\n{said}", sql.trim())),
        }
    }

    /// Notes what became of a statement.
    pub(super) fn statement(&mut self, place: &str, sql: &str, verdict: Verdict, fails: bool) {
        let example = || format!("{place}: {}", short(sql));
        match verdict {
            Verdict::Refused(message) | Verdict::Failed(message) if !fails => {
                self.statements.add(general(&message), example);
            }
            Verdict::Failed(message) => self.statements.add(message, example),
            Verdict::Skipped(reason) => self.skipped.add(format!("statement: {reason}"), example),
            _ => {}
        }
    }

    /// Notes that a file is not in the format.
    pub(super) fn unreadable(&mut self, message: String) {
        self.unreadable.push(message);
    }

    /// Takes in what another thread noted.
    pub(super) fn merge(&mut self, other: Report) {
        self.files.extend(other.files);
        for (mine, theirs) in
            [(&mut self.refused, other.refused), (&mut self.failed, other.failed), (&mut self.differs, other.differs)]
        {
            for (mode, reasons) in theirs {
                mine.entry(mode).or_default().merge(reasons);
            }
        }
        self.skipped.merge(other.skipped);
        self.statements.merge(other.statements);
        self.wrong.extend(other.wrong);
        self.unreadable.extend(other.unreadable);
    }

    /// All counts of a mode.
    pub(super) fn total(&self, mode: Mode) -> Counts {
        let mut total = Counts::default();
        self.files.values().filter_map(|modes| modes.get(&mode)).for_each(|counts| total.add(*counts));
        total
    }

    /// Everything as text.
    pub(super) fn text(&self, base: &Path) -> String {
        let mut text = String::new();
        for mode in [Mode::Batch, Mode::View] {
            if self.total(mode) == Counts::default() {
                continue;
            }
            let header = "passed refused  wrong failed differs skipped  right";
            let _ = writeln!(text, "{mode:?}\n{:60} {header}", "file");
            for (path, modes) in &self.files {
                if let Some(counts) = modes.get(&mode) {
                    let name = path.strip_prefix(base).unwrap_or(path).display().to_string();
                    let _ = writeln!(text, "{name:60} {}", counts.columns());
                }
            }
            let _ = writeln!(text, "{:60} {}", "all", self.total(mode).columns());
            for (title, reasons) in [
                ("refused:", &self.refused),
                ("failed for another reason:", &self.failed),
                ("differ by decision:", &self.differs),
            ] {
                if let Some(reasons) = reasons.get(&mode) {
                    reasons.print(title, &mut text);
                }
            }
        }
        self.skipped.print("skipped:", &mut text);
        self.statements.print("statements refused:", &mut text);
        for message in &self.unreadable {
            let _ = writeln!(text, "not in the format: {message}");
        }
        let _ = writeln!(text, "{} wrong", self.wrong.len());
        for wrong in &self.wrong {
            let _ = writeln!(text, "{wrong}");
        }
        text
    }
}

/// One line, not too long.
fn short(sql: &str) -> String {
    let words: Vec<&str> = sql.split_whitespace().collect();
    words.join(" ").chars().take(240).collect()
}

/// A message without the names and numbers of its query.
fn general(message: &str) -> String {
    let mut found = String::new();
    let mut quote = None;
    for c in message.chars().take(200) {
        match quote {
            Some(open) if c == open => {
                quote = None;
                found.push(c);
            }
            Some(_) => {}
            None if c == '"' || c == '`' => {
                quote = Some(c);
                found.push_str(if c == '"' { "\"…" } else { "`…" });
            }
            None if c.is_ascii_digit() => {
                if !found.ends_with('0') {
                    found.push('0');
                }
            }
            None => found.push(if c == '\n' { ' ' } else { c }),
        }
    }
    found
}
