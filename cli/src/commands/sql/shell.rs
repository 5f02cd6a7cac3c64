//! The shell: lines with history and completion, statements over several lines, commands with a backslash.
//!
//! Lines are read on a thread of their own, so that the connection lives while nobody types.

use std::io::{Write, stderr, stdout};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use headwater_proto::client::Client;
use headwater_proto::v1::Script;
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, Editor};

use super::script::{Piece, WaitsFor, split};
use super::{Ended, Session};
use crate::args::OnError;
use crate::output::OutputFormat;

/// How the text of a shell is named in failures.
const ORIGIN: &str = "<shell>";
/// Where the lines of earlier shells are kept, in the home directory.
const HISTORY_FILE: &str = ".headwater_history";
const HISTORY_LINES_MAX: usize = 10_000;

/// The words that statements are made of, for completion.
const WORDS: [&str; 49] = [
    "ALTER SOURCE",
    "AND",
    "AS",
    "BETWEEN",
    "BY",
    "CASCADE",
    "CASE",
    "CAST",
    "COPY",
    "CREATE",
    "DEFAULT",
    "DELETE FROM",
    "DISTINCT",
    "DROP",
    "ELSE",
    "END",
    "EXISTS",
    "EXPLAIN",
    "FORMAT",
    "FROM",
    "GROUP BY",
    "HAVING",
    "IN",
    "INDEX",
    "INNER JOIN",
    "INSERT INTO",
    "IS NULL",
    "JOIN",
    "LIKE",
    "LIMIT",
    "MATERIALIZED VIEW",
    "NOT",
    "NULL",
    "ON CONFLICT",
    "OR",
    "ORDER BY",
    "PRIMARY KEY",
    "SELECT",
    "SET",
    "SHOW",
    "SOURCE",
    "STDIN",
    "TABLE",
    "THEN",
    "UNION ALL",
    "UPDATE",
    "VALUES",
    "VIEW",
    "WHERE",
];

/// Names of objects and columns, for completion.
type Names = Arc<Mutex<Vec<String>>>;

/// What came from the terminal.
enum Typed {
    Line(String),
    Interrupted,
    End,
    Failed(ReadlineError),
}

/// Reads and carries out statements until the end.
pub(super) async fn run(client: Client, format: OutputFormat) -> anyhow::Result<ExitCode> {
    let names: Names = Names::default();
    let (ask, asked) = mpsc::channel::<&'static str>();
    let (tell, mut typed) = tokio::sync::mpsc::channel(1);
    let completing = Arc::clone(&names);
    std::thread::Builder::new().name("lines".to_owned()).spawn(move || read_lines(&asked, &tell, completing))?;
    let status = client.status().await.map_err(crate::call::failure)?;
    writeln!(stdout(), "headwater {} at {}; \\? for help", status.version, client.address())?;
    let mut session = Session { client, format };
    let mut buffer = String::new();
    learn_names(&session.client, &names).await;
    loop {
        let waits_for = split(&buffer, 1, false).waits_for;
        if ask.send(prompt(waits_for)).is_err() {
            return Ok(ExitCode::SUCCESS);
        }
        match typed.recv().await {
            Some(Typed::Line(line)) => {
                buffer.push_str(&line);
                buffer.push('\n');
            }
            Some(Typed::Interrupted) => {
                buffer.clear();
                continue;
            }
            Some(Typed::Failed(error)) => return Err(error.into()),
            Some(Typed::End) | None => return Ok(ExitCode::SUCCESS),
        }
        let found = split(&buffer, 1, false);
        if found.pieces.is_empty() {
            continue;
        }
        let changes = found.pieces.iter().any(|piece| matches!(piece, Piece::Statement(s) if changes_names(&s.text)));
        let script = Script { origin: ORIGIN.to_owned(), text: buffer.clone() };
        buffer.drain(..found.rest);
        match session.pieces(found.pieces, &script, 1, OnError::Continue).await {
            Ok(Ended::Quit) => return Ok(ExitCode::SUCCESS),
            Ok(Ended::Done { .. }) => {}
            // The connection may come back.
            Err(error) => writeln!(stderr(), "error: {error:#}")?,
        }
        if changes {
            learn_names(&session.client, &names).await;
        }
    }
}

fn prompt(waits_for: WaitsFor) -> &'static str {
    match waits_for {
        WaitsFor::Nothing => "headwater=> ",
        WaitsFor::End => "headwater-> ",
        WaitsFor::Quote => "headwater'> ",
        WaitsFor::Data => ">> ",
    }
}

fn changes_names(statement: &str) -> bool {
    let first = statement.split_whitespace().next().unwrap_or_default();
    ["CREATE", "DROP"].iter().any(|word| first.eq_ignore_ascii_case(word))
}

/// Asks for the names that may be completed. Without an answer the old ones stay.
async fn learn_names(client: &Client, names: &Names) {
    let Ok(answer) = client.list().await else { return };
    let mut found: Vec<String> = Vec::new();
    for object in answer.objects {
        found.extend(object.schema.into_iter().flat_map(|schema| schema.columns).map(|column| column.name));
        found.push(object.name);
    }
    found.sort_unstable();
    found.dedup();
    *names.lock().unwrap_or_else(PoisonError::into_inner) = found;
}

/// Reads one line for each prompt.
fn read_lines(prompts: &mpsc::Receiver<&'static str>, typed: &tokio::sync::mpsc::Sender<Typed>, names: Names) {
    let history = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(HISTORY_FILE));
    let mut editor = match editor(names) {
        Ok(editor) => editor,
        Err(error) => return drop(typed.blocking_send(Typed::Failed(error))),
    };
    if let Some(history) = &history {
        // The first shell finds none.
        let _ = editor.load_history(history);
    }
    while let Ok(prompt) = prompts.recv() {
        let line = match editor.readline(prompt) {
            Ok(line) => {
                if !line.trim().is_empty() {
                    // A history that cannot be kept is no reason to stop.
                    let _ = editor.add_history_entry(&line);
                    let _ = history.as_ref().map(|history| editor.append_history(history));
                }
                Typed::Line(line)
            }
            Err(ReadlineError::Interrupted) => Typed::Interrupted,
            Err(ReadlineError::Eof) => Typed::End,
            Err(error) => Typed::Failed(error),
        };
        if typed.blocking_send(line).is_err() {
            return;
        }
    }
}

fn editor(names: Names) -> rustyline::Result<Editor<Completion, DefaultHistory>> {
    let config = Config::builder()
        .max_history_size(HISTORY_LINES_MAX)?
        .history_ignore_space(true)
        .completion_type(CompletionType::List)
        .build();
    let mut editor = Editor::with_config(config)?;
    editor.set_helper(Some(Completion { names }));
    Ok(editor)
}

/// Completes words and names.
struct Completion {
    names: Names,
}

impl Completer for Completion {
    type Candidate = String;

    fn complete(&self, line: &str, position: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(candidates(&line[..position], &names))
    }
}

impl Hinter for Completion {
    type Hint = String;
}
impl Highlighter for Completion {}
impl Validator for Completion {}
impl rustyline::Helper for Completion {}

/// Where the word before the cursor begins, and what it may become.
fn candidates(before: &str, names: &[String]) -> (usize, Vec<String>) {
    let inside = |char: char| char.is_alphanumeric() || matches!(char, '_' | '$');
    let start =
        before.rfind(|char| !inside(char)).map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
    let word = before[start..].to_lowercase();
    if word.is_empty() && !before.starts_with('\\') {
        return (start, Vec::new());
    }
    let upper = before[start..].chars().any(char::is_uppercase);
    let cased = |text: &str| if upper { text.to_owned() } else { text.to_lowercase() };
    let words = WORDS.iter().filter(|known| known.to_lowercase().starts_with(&word)).map(|known| cased(known));
    let known = names.iter().filter(|name| name.to_lowercase().starts_with(&word)).cloned();
    let commands = before.starts_with('\\');
    (start, known.chain(words.filter(|_| !commands)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_names_are_completed() {
        let names = ["orders".to_owned(), "order_id".to_owned(), "Price".to_owned()];
        let of = |text: &str| candidates(text, &names);
        assert_eq!(of("SELECT ord"), (7, vec!["orders".to_owned(), "order_id".to_owned(), "order by".to_owned()]));
        assert_eq!(of("select * FROM orders WHERE pr"), (27, vec!["Price".to_owned(), "primary key".to_owned()]));
        assert_eq!(of("SEL"), (0, vec!["SELECT".to_owned()]));
        assert_eq!(of("SELECT "), (7, Vec::new()));
        assert_eq!(of("\\d o").1, ["orders", "order_id"]);
    }
}
