//! `headwater sql`: any statements, in order, out of files, arguments, the standard input or a shell.

mod backslash;
mod script;
mod shell;

use std::io::{IsTerminal, Write, stderr, stdin};
use std::path::Path;
use std::process::ExitCode;

use anyhow::anyhow;
use headwater_proto::client::{Client, ClientError, Messages};
use headwater_proto::v1::execute_response::Message;
use headwater_proto::v1::{
    Encoding, ExecuteRequest, ExecuteResponse, QueryStarted, Script, StatementDone, StatementText,
};

use self::script::{Piece, split};
use crate::args::{Global, OnError, SqlArgs};
use crate::call::{connect, read_script};
use crate::output::failure::Failure;
use crate::output::{OutputFormat, Printer, counted, notice, stdout};
use crate::relation::Relation;

/// Statements that are sent in one call, at most.
const STATEMENTS_PER_CALL_MAX: usize = 1_000;
/// Bytes of statements and data that are sent in one call, at most; one statement may be longer.
const BYTES_PER_CALL_MAX: usize = 4 << 20;

/// Carries everything out, in order.
pub(super) async fn run(args: SqlArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let from_terminal = args.stdin.is_none() && args.file.is_empty() && args.command.is_empty();
    if from_terminal && stdin().is_terminal() {
        return shell::run(connect(&global.server).await?, global.output).await;
    }
    let mut scripts = Vec::new();
    for file in &args.file {
        scripts.push(read_script(file)?);
    }
    for (index, text) in args.command.iter().enumerate() {
        let origin = if index == 0 { "<command>".to_owned() } else { format!("<command {}>", index + 1) };
        scripts.push(Script { origin, text: text.clone() });
    }
    if scripts.is_empty() {
        scripts.push(read_script(Path::new("-"))?);
    }
    let mut session = Session { client: connect(&global.server).await?, format: global.output };
    let mut failed = false;
    for script in &scripts {
        match session.script(script, 1, args.on_error).await? {
            Ended::Done { failures } => failed |= failures > 0,
            Ended::Quit => break,
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// How a script ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// All of it was carried out but what failed.
    Done {
        /// How many statements failed.
        failures: usize,
    },
    /// It says to end.
    Quit,
}

/// A connection, and how answers are printed.
struct Session {
    client: Client,
    format: OutputFormat,
}

impl Session {
    /// Carries out a script whose text begins at `line`, to its end.
    ///
    /// # Errors
    /// The first statement that fails, unless it is to be passed over; or the connection.
    async fn script(&mut self, script: &Script, line: u32, on_error: OnError) -> anyhow::Result<Ended> {
        self.pieces(split(&script.text, line, true).pieces, script, line, on_error).await
    }

    async fn pieces(
        &mut self,
        pieces: Vec<Piece>,
        script: &Script,
        line: u32,
        on_error: OnError,
    ) -> anyhow::Result<Ended> {
        let mut pieces = pieces.into_iter().peekable();
        let mut failures = 0;
        while let Some(piece) = pieces.next() {
            let outcome = match piece {
                Piece::Command(command) => match backslash::run(&command, &self.client, self.format).await {
                    Ok(backslash::Next::Quit) => return Ok(Ended::Quit),
                    Ok(backslash::Next::GoOn) => Ok(()),
                    Err(error) => Err(error),
                },
                Piece::Statement(first) => {
                    let mut bytes = size(&first);
                    let mut texts = vec![first];
                    while let Some(Piece::Statement(next)) = pieces.peek() {
                        bytes += size(next);
                        if texts.len() >= STATEMENTS_PER_CALL_MAX || bytes > BYTES_PER_CALL_MAX {
                            break;
                        }
                        let Some(Piece::Statement(next)) = pieces.next() else { break };
                        texts.push(next);
                    }
                    self.statements(texts, script, line, on_error, &mut failures).await
                }
            };
            if let Err(error) = outcome {
                if on_error == OnError::Stop {
                    return Err(error);
                }
                failures += 1;
                // If the standard error is gone too, the exit code still tells.
                let _ = writeln!(stderr(), "error: {error:#}");
            }
        }
        Ok(Ended::Done { failures })
    }

    /// Carries out statements; those that fail are told about and counted if the others are to go on.
    async fn statements(
        &mut self,
        mut texts: Vec<StatementText>,
        script: &Script,
        line: u32,
        on_error: OnError,
        failures: &mut usize,
    ) -> anyhow::Result<()> {
        while !texts.is_empty() {
            let mut done = 0;
            let Err(error) = self.call(&texts, script, line, &mut done).await else { return Ok(()) };
            if on_error == OnError::Stop || !error.is::<Failure>() || done >= texts.len() {
                return Err(error);
            }
            *failures += 1;
            // If the standard error is gone too, the exit code still tells.
            let _ = writeln!(stderr(), "error: {error:#}");
            texts.drain(..=done);
        }
        Ok(())
    }

    /// One call: prints what becomes of each statement, and counts those that are done.
    async fn call(&self, texts: &[StatementText], script: &Script, line: u32, done: &mut usize) -> anyhow::Result<()> {
        let shown = [(script.origin.clone(), format!("{}{}", "\n".repeat(before(line)), script.text))];
        let request = ExecuteRequest {
            origin: script.origin.clone(),
            texts: texts.to_vec(),
            encoding: Encoding::ArrowIpc.into(),
        };
        let mut messages = self.client.execute(request).await.map_err(|error| Failure::of_call(error, &shown))?;
        let mut out = stdout();
        let mut printing = Ok(());
        while printing.is_ok() {
            printing = match messages.next().await {
                Ok(None) => break,
                Ok(Some(ExecuteResponse { message: Some(Message::Started(started)) })) => {
                    let printed = self.rows(&mut messages, started, &mut out).await;
                    *done += usize::from(printed.is_ok());
                    printed
                }
                Ok(Some(ExecuteResponse { message: Some(Message::Done(end)) })) => {
                    *done += 1;
                    self.tag(&mut out, &end).map_err(anyhow::Error::from)
                }
                Ok(Some(_)) => Err(anyhow!("the server sent rows without columns")),
                Err(error) => Err(error.into()),
            };
        }
        out.flush()?;
        if printing.is_ok() && *done < texts.len() {
            printing =
                Err(anyhow!("the server ended the call after {} of {}", *done, counted(texts.len(), "statement")));
        }
        let line = texts.get(*done).map_or(0, |text| text.line);
        printing.map_err(|error| match error.downcast::<ClientError>() {
            Ok(error) => Failure::of_call(error, &shown).or_in(&script.origin, line).into(),
            Err(error) => error,
        })
    }

    /// Prints the rows of a statement.
    async fn rows(
        &self,
        messages: &mut Messages<ExecuteResponse>,
        started: QueryStarted,
        out: &mut impl Write,
    ) -> anyhow::Result<()> {
        let relation = Relation::start(started.schema)?;
        let mut printer = Printer::start(out, self.format, relation.schema())?;
        loop {
            match messages.next().await?.and_then(|message| message.message) {
                Some(Message::Batch(batch)) => {
                    for rows in relation.rows(&batch)? {
                        printer.rows(&rows)?;
                    }
                }
                Some(Message::Done(end)) => {
                    let count = usize::try_from(end.rows).unwrap_or(usize::MAX);
                    return Ok(printer.finish(&format!("({})", counted(count, "row")))?);
                }
                Some(Message::Started(_)) | None => return Err(anyhow!("the server did not end an answer")),
            }
        }
    }

    fn tag(&self, out: &mut impl Write, done: &StatementDone) -> std::io::Result<()> {
        notice::say(&done.name, &done.notices);
        match self.format {
            OutputFormat::Table => writeln!(out, "{}", done.tag),
            OutputFormat::Csv | OutputFormat::Json => writeln!(stderr(), "{}", done.tag),
        }
    }
}

fn size(statement: &StatementText) -> usize {
    statement.text.len() + statement.data.as_ref().map_or(0, String::len)
}

/// The lines before a line.
fn before(line: u32) -> usize {
    usize::try_from(line.saturating_sub(1)).unwrap_or(0)
}
