//! `headwater deploy`: checks and applies statements, and waits until the views have caught up.

use std::ffi::OsStr;
use std::io::{Write, stderr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, RecordBatch, StringArray, UInt32Array};
use headwater_proto::client::Client;
use headwater_proto::v1::{
    DeployRequest, Encoding, Object, ObjectKind, ObjectPhase, Script, StatementAction, StatementOutcome,
    WatchDeploymentRequest,
};
use tokio::time::timeout;

use super::objects;
use super::progress::Progress;
use crate::args::{DeployArgs, Global};
use crate::call::{connect, failure, read_script, texts};
use crate::output::failure::Failure;
use crate::output::{OutputFormat, Printer, counted, notice, print_rows, stdout};
use crate::relation::Relation;

/// Deploys, prints what became of each statement, and waits.
pub(super) async fn run(args: DeployArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let scripts = scripts(&args.paths)?;
    let client = connect(&global.server).await?;
    let texts = texts(&scripts);
    let request = DeployRequest { scripts, validate_only: args.dry_run, encoding: Encoding::ArrowIpc.into() };
    let answer = client.deploy(request).await;
    let outcomes = answer.map_err(|error| Failure::of_call(error, &texts))?.outcomes;
    let waited_for = standing(&outcomes);
    print(outcomes, global.output, args.dry_run)?;
    if args.dry_run || args.no_wait || waited_for.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    wait(&client, waited_for, args.timeout).await?;
    Ok(ExitCode::SUCCESS)
}

/// All scripts, in order; of a directory its `*.sql`, by name.
fn scripts(paths: &[PathBuf]) -> Result<Vec<Script>, Failure> {
    let mut scripts = Vec::new();
    for path in paths {
        if path.is_dir() {
            for file in sql_files(path)? {
                scripts.push(read_script(&file)?);
            }
        } else {
            scripts.push(read_script(path)?);
        }
    }
    Ok(scripts)
}

fn sql_files(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::with_hint(format!("cannot read the directory {}: {error}", dir.display()), "name its files instead")
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.is_file() && path.extension() == Some(OsStr::new("sql")) {
            files.push(path);
        }
    }
    if files.is_empty() {
        let message = format!("there is no *.sql file in the directory {}", dir.display());
        return Err(Failure::with_hint(message, "directories inside it are not searched"));
    }
    files.sort();
    Ok(files)
}

/// The names that exist after the deployment.
fn standing(outcomes: &[StatementOutcome]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for outcome in outcomes {
        match outcome.action() {
            // Of what does not exist and need not, nothing is left but the name.
            StatementAction::Created | StatementAction::Unchanged
                if outcome.kind() != ObjectKind::Unspecified && !names.contains(&outcome.name) =>
            {
                names.push(outcome.name.clone());
            }
            StatementAction::Dropped => names.retain(|name| *name != outcome.name),
            StatementAction::Created
            | StatementAction::Unchanged
            | StatementAction::Answered
            | StatementAction::Altered
            | StatementAction::Inserted
            | StatementAction::Unspecified => {}
        }
    }
    names
}

/// What became of the statements; then the rows of those that returned rows.
pub(super) fn print(outcomes: Vec<StatementOutcome>, format: OutputFormat, dry_run: bool) -> anyhow::Result<()> {
    let (answers, done): (Vec<_>, Vec<_>) =
        outcomes.into_iter().partition(|outcome| outcome.action() == StatementAction::Answered);
    done.iter().for_each(|outcome| notice::say(&outcome.name, &outcome.notices));
    // A script that only asks prints only answers.
    if !done.is_empty() || answers.is_empty() {
        let statements = counted(done.len(), "statement");
        let note = if dry_run { format!("({statements} checked, nothing changed)") } else { format!("({statements})") };
        print_rows(stdout(), format, &relation(&done, dry_run)?, &note)?;
    }
    for answer in answers {
        let Some(schema) = answer.schema else { continue };
        let relation = Relation::start(Some(schema))?;
        let mut printer = Printer::start(stdout(), format, relation.schema())?;
        for part in answer.batches {
            for rows in relation.rows(&part)? {
                printer.rows(&rows)?;
            }
        }
        printer.finish("")?;
    }
    stdout().flush()?;
    Ok(())
}

fn relation(outcomes: &[StatementOutcome], dry_run: bool) -> anyhow::Result<RecordBatch> {
    let texts = |of: &dyn Fn(&StatementOutcome) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(outcomes.iter().map(of)))
    };
    Ok(RecordBatch::try_from_iter([
        ("script", texts(&|outcome| outcome.origin.clone())),
        ("line", Arc::new(UInt32Array::from_iter_values(outcomes.iter().map(|outcome| outcome.line))) as ArrayRef),
        ("action", texts(&|outcome| action(outcome.action(), dry_run).to_owned())),
        ("kind", texts(&|outcome| objects::kind(outcome.kind()).to_owned())),
        ("name", texts(&|outcome| outcome.name.clone())),
    ])?)
}

fn action(action: StatementAction, dry_run: bool) -> &'static str {
    match (action, dry_run) {
        (StatementAction::Created, false) => "created",
        (StatementAction::Created, true) => "would create",
        (StatementAction::Dropped, false) => "dropped",
        (StatementAction::Dropped, true) => "would drop",
        (StatementAction::Inserted, false) => "inserted",
        (StatementAction::Inserted, true) => "would insert",
        (StatementAction::Altered, false) => "altered",
        (StatementAction::Altered, true) => "would alter",
        (StatementAction::Unchanged, _) => "unchanged",
        (StatementAction::Answered, _) => "answered",
        (StatementAction::Unspecified, _) => "unknown",
    }
}

/// Waits until all objects are serving; fails if one fails or the time is over.
async fn wait(client: &Client, names: Vec<String>, limit: Option<Duration>) -> Result<(), Failure> {
    let begun = Instant::now();
    let mut last = Vec::new();
    let watched = Box::pin(watch(client, names, &mut last));
    match limit {
        None => watched.await?,
        Some(limit) => {
            if let Ok(end) = timeout(limit, watched).await {
                end?;
            } else {
                return Err(overdue(&last, limit));
            }
        }
    }
    let failed: Vec<&Object> = last.iter().filter(|object| object.phase() == ObjectPhase::Failed).collect();
    if failed.is_empty() {
        // If the standard error is gone, the exit code still tells.
        let _ = writeln!(stderr(), "caught up after {:.1} s", begun.elapsed().as_secs_f64());
        return Ok(());
    }
    let names: Vec<String> = failed.iter().map(|object| format!("{} failed: {}", object.name, object.reason)).collect();
    Err(Failure::with_hint(names.join("; "), "`headwater describe NAME` shows its state; drop it and deploy it again"))
}

/// Shows every report, and leaves the last one in `last`.
async fn watch(client: &Client, names: Vec<String>, last: &mut Vec<Object>) -> Result<(), Failure> {
    let mut progress = Progress::start();
    let mut reports = client.watch_deployment(WatchDeploymentRequest { names }).await.map_err(failure)?;
    while let Some(report) = reports.next().await.map_err(failure)? {
        progress.show(&report.objects);
        *last = report.objects;
    }
    progress.finish();
    Ok(())
}

fn overdue(last: &[Object], limit: Duration) -> Failure {
    let waiting = last.iter().filter(|object| !matches!(object.phase(), ObjectPhase::Serving | ObjectPhase::Failed));
    let waiting: Vec<String> = waiting.map(|object| format!("{} is {}", object.name, objects::state(object))).collect();
    let message = format!("not caught up after {limit:?}: {}", waiting.join(", "));
    Failure::with_hint(message, "the deployment goes on in the server; `headwater status --watch` shows how far it is")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(name: &str, action: StatementAction) -> StatementOutcome {
        let kind = ObjectKind::View.into();
        StatementOutcome { name: name.to_owned(), kind, action: action.into(), ..StatementOutcome::default() }
    }

    #[test]
    fn only_what_stands_at_the_end_is_waited_for() {
        let outcomes = [
            outcome("a", StatementAction::Created),
            outcome("b", StatementAction::Unchanged),
            outcome("a", StatementAction::Dropped),
            outcome("", StatementAction::Answered),
            outcome("b", StatementAction::Unchanged),
            StatementOutcome { kind: 0, ..outcome("never there", StatementAction::Unchanged) },
        ];
        assert_eq!(standing(&outcomes), ["b"]);
    }

    #[test]
    fn a_directory_is_its_sql_files_by_name() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.sql", "a.sql", "c.txt"] {
            std::fs::write(dir.path().join(name), name).unwrap();
        }
        std::fs::create_dir(dir.path().join("d.sql")).unwrap();
        let scripts = scripts(&[dir.path().to_owned()]).unwrap();
        let texts: Vec<&str> = scripts.iter().map(|script| script.text.as_str()).collect();
        assert_eq!(texts, ["a.sql", "b.sql"]);
        assert!(scripts[0].origin.ends_with("a.sql"));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = scripts(&[dir.path().to_owned()]).unwrap_err().to_string();
        assert!(error.contains(&dir.path().display().to_string()), "{error}");
        let missing = dir.path().join("missing.sql");
        assert!(scripts(&[missing]).unwrap_err().to_string().contains("missing.sql"));
    }

    #[test]
    fn an_overdue_deployment_says_what_is_missing() {
        let object =
            |name: &str, phase: ObjectPhase| Object { name: name.to_owned(), phase: phase.into(), ..Object::default() };
        let last = [object("done", ObjectPhase::Serving), object("slow", ObjectPhase::CatchingUp)];
        let text = overdue(&last, Duration::from_secs(30)).to_string();
        assert!(text.starts_with("not caught up after 30s: slow is catching up\n"), "{text}");
    }
}
