//! How far a deployment is: a bar for each object on a terminal, otherwise a line whenever something changes.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write, stderr};
use std::time::Duration;

use headwater_proto::v1::{Object, ObjectPhase};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::objects;

/// The length of a bar.
const STEPS: u64 = 1_000;

/// Shows the progress of a deployment on the standard error.
pub(super) enum Progress {
    /// On a terminal.
    Bars(Bars),
    /// Elsewhere.
    Lines(Lines),
}

impl Progress {
    /// Nothing is shown before the first report.
    pub(super) fn start() -> Progress {
        if stderr().is_terminal() { Progress::Bars(Bars::default()) } else { Progress::Lines(Lines::default()) }
    }

    /// Shows a report.
    pub(super) fn show(&mut self, report: &[Object]) {
        match self {
            Progress::Bars(bars) => bars.show(report),
            Progress::Lines(lines) => {
                for line in lines.changed(report) {
                    // Progress that nobody can see is no reason to stop.
                    let _ = writeln!(stderr(), "{line}");
                }
            }
        }
    }

    /// Takes the bars away.
    pub(super) fn finish(self) {
        if let Progress::Bars(bars) = self {
            // Bars that cannot be taken away stay; nothing depends on it.
            let _ = bars.all.clear();
        }
    }
}

/// One bar an object that is not done.
pub(super) struct Bars {
    all: MultiProgress,
    bars: BTreeMap<String, ProgressBar>,
}

impl Default for Bars {
    fn default() -> Bars {
        Bars { all: MultiProgress::with_draw_target(ProgressDrawTarget::stderr()), bars: BTreeMap::new() }
    }
}

impl Bars {
    fn show(&mut self, report: &[Object]) {
        for object in report {
            if done(object) {
                if let Some(bar) = self.bars.remove(&object.name) {
                    bar.finish_and_clear();
                }
                continue;
            }
            let bar = self.bars.entry(object.name.clone()).or_insert_with(|| {
                let bar = ProgressBar::new(STEPS).with_prefix(object.name.clone()).with_style(style(false));
                let bar = self.all.add(bar.with_message(objects::phase(object.phase())));
                bar.enable_steady_tick(Duration::from_millis(100));
                bar
            });
            bar.set_style(style(object.ratio.is_some()));
            bar.set_message(objects::phase(object.phase()));
            if let Some(ratio) = object.ratio {
                bar.set_position(steps(ratio));
            }
        }
    }
}

fn style(known: bool) -> ProgressStyle {
    let template = if known {
        "{prefix:24!} {bar:30} {percent:>3} %  {msg}, {eta} left"
    } else {
        "{prefix:24!} {spinner} {msg}, {elapsed}"
    };
    ProgressStyle::with_template(template).expect("the templates above are valid").progress_chars("##-")
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the value is between 0 and STEPS")]
fn steps(ratio: f64) -> u64 {
    (ratio.clamp(0.0, 1.0) * 1_000.0) as u64
}

/// The last line printed for each object.
#[derive(Default)]
pub(super) struct Lines {
    printed: BTreeMap<String, String>,
}

impl Lines {
    /// A line for every object of which there is something new to say; a ratio is new when it has grown by a tenth.
    fn changed(&mut self, report: &[Object]) -> Vec<String> {
        let mut lines = Vec::new();
        for object in report {
            let rounded = object.ratio.map(|ratio| (ratio * 10.0).floor() / 10.0);
            let text = objects::state(&Object { ratio: rounded, ..object.clone() });
            let last = self.printed.get(&object.name);
            // What has served all along is no news.
            let silent = last.is_none() && object.phase() == ObjectPhase::Serving;
            if !silent && last != Some(&text) {
                lines.push(format!("{}: {text}", object.name));
                self.printed.insert(object.name.clone(), text);
            }
        }
        lines
    }
}

fn done(object: &Object) -> bool {
    matches!(object.phase(), ObjectPhase::Serving | ObjectPhase::Failed | ObjectPhase::Paused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_only_with_news() {
        let mut lines = Lines::default();
        let mut report = |phase: ObjectPhase, ratio| {
            lines.changed(&[Object { name: "v".to_owned(), phase: phase.into(), ratio, ..Object::default() }])
        };
        assert_eq!(report(ObjectPhase::Hydrating, None), ["v: hydrating"]);
        assert!(report(ObjectPhase::Hydrating, None).is_empty());
        assert_eq!(report(ObjectPhase::CatchingUp, Some(0.11)), ["v: catching up 10 %"]);
        assert!(report(ObjectPhase::CatchingUp, Some(0.19)).is_empty());
        assert_eq!(report(ObjectPhase::CatchingUp, Some(0.2)), ["v: catching up 20 %"]);
        assert_eq!(report(ObjectPhase::Serving, None), ["v: serving"]);
        let served = Object { name: "w".to_owned(), phase: ObjectPhase::Serving.into(), ..Object::default() };
        assert!(lines.changed(&[served]).is_empty());
    }

    #[test]
    fn a_bar_stays_within_its_length() {
        assert_eq!((steps(-1.0), steps(0.5), steps(7.0)), (0, 500, STEPS));
    }
}
