//! Execution: statements of any kind, one after the other, each with its outcome; the first that fails ends it.
//!
//! What the catalog changes, and what is read, goes to the coordinator. Rows are written by the writer of their table
//! ([`crate::tables`]): a write counts when it has been sealed, so that the next statement may begin, and is told about when
//! it is durable. So consecutive writes go to the disk together, and nothing is acknowledged that is not there.

use std::collections::VecDeque;

use arrow::array::RecordBatch;
use headwater_dataflow::expr::caught;
use tokio::sync::mpsc;

use crate::control::{Control, ControlError, QueryAnswer, Script, StatementOutcome, WriteOrder};
use crate::coordinator::plan::guarded;
use crate::sql::{
    self, Completion, EXCLUDED, OnConflict, Parsed, PlannedRead, PlannedWrite, Position, RowsOf, SqlError, Statement,
    WriteKind, Written,
};
use crate::tables::{Sealed, SharedWriter, Writer};

/// Writes that are sealed and not durable, at most; then the next statement waits.
const SEALED_MAX: usize = 64;

/// Outcomes that wait for whoever asked; then the next statement waits.
const OUTCOMES_MAX: usize = 64;

/// A text with one statement or several, and where it stands.
#[derive(Clone, Debug)]
pub struct StatementText {
    /// The statements.
    pub text: String,
    /// Where the text begins in its script.
    pub start: Position,
    /// The lines behind a COPY, which stands alone in its text.
    pub data: Option<String>,
}

/// What became of one statement.
#[derive(Debug)]
pub struct Executed {
    /// The line of the statement in its script, counted from 1.
    pub line: u32,
    /// What was done.
    pub done: Done,
}

/// What a statement did.
#[derive(Debug)]
pub enum Done {
    /// Something in the catalog, or an answer out of it.
    Outcome(Box<StatementOutcome>),
    /// A query was answered.
    Rows(QueryAnswer),
    /// Rows were written, durably.
    Wrote {
        /// By what.
        kind: WriteKind,
        /// How many rows the statement concerned.
        rows: usize,
    },
}

/// Carries the statements of `texts` out, in order. What becomes of each comes out of the receiver; an error is the last.
pub fn execute(
    control: Control,
    origin: String,
    texts: Vec<StatementText>,
) -> mpsc::Receiver<Result<Executed, ControlError>> {
    let (sender, receiver) = mpsc::channel(OUTCOMES_MAX);
    let execution = Execution { control, origin, sender, sealed: VecDeque::new() };
    tokio::spawn(Box::pin(execution.run(texts)));
    receiver
}

/// Why an execution ends before its time.
enum End {
    /// A statement failed.
    Failed(ControlError),
    /// Nobody listens any more.
    Unheard,
}

impl From<ControlError> for End {
    fn from(error: ControlError) -> End {
        End::Failed(error)
    }
}

struct Execution {
    control: Control,
    origin: String,
    sender: mpsc::Sender<Result<Executed, ControlError>>,
    /// Writes that are not known to be durable, in order.
    sealed: VecDeque<(u32, WriteKind, Sealed, SharedWriter)>,
}

impl Execution {
    async fn run(mut self, texts: Vec<StatementText>) {
        let mut end = Ok(());
        for text in texts {
            end = self.text(text).await;
            if end.is_err() {
                break;
            }
        }
        // What was sealed before the statement that failed is told about first.
        let told = self.tell_all().await;
        if let Err(End::Failed(error)) = told.and(end) {
            // Whoever asked may have gone.
            let _ = self.sender.send(Err(error)).await;
        }
    }

    async fn text(&mut self, StatementText { text, start, data }: StatementText) -> Result<(), End> {
        let origin = self.origin.clone();
        let place = move |error: ControlError| match error {
            ControlError::Sql { error, .. } => ControlError::Sql { origin: origin.clone(), error: error.within(start) },
            other => other,
        };
        let statements =
            sql::parse(&text).map_err(|error| place(ControlError::Sql { origin: String::new(), error }))?;
        if data.is_some() && statements.len() != 1 {
            let error = SqlError::invalid("lines of data belong to one COPY, which stands alone in its text");
            return Err(End::Failed(place(ControlError::Sql { origin: String::new(), error })));
        }
        for parsed in statements {
            let (place_of_statement, line) = (parsed.position, start.then(parsed.position).line);
            let done = self.statement(parsed, data.clone(), line).await;
            done.map_err(|end| match end {
                End::Failed(ControlError::Sql { origin, error }) => {
                    let error = error.within(place_of_statement);
                    End::Failed(place(ControlError::Sql { origin, error }))
                }
                other => other,
            })?;
        }
        Ok(())
    }

    /// Carries one statement out. Places in errors are counted from its beginning.
    async fn statement(&mut self, parsed: Parsed, data: Option<String>, line: u32) -> Result<(), End> {
        let done = match &parsed.statement {
            Statement::Write(_) => return self.write(parsed, data, line).await,
            Statement::Query(query) => {
                self.tell_all().await?;
                Done::Rows(self.control.query(query, None).await?)
            }
            _ => {
                self.tell_all().await?;
                let scripts = vec![Script { origin: self.origin.clone(), text: parsed.text }];
                let mut outcomes = self.control.deploy(scripts, false).await?;
                let Some(outcome) = outcomes.pop() else { return Ok(()) };
                Done::Outcome(Box::new(outcome))
            }
        };
        self.tell(Executed { line, done }).await
    }

    async fn write(&mut self, parsed: Parsed, data: Option<String>, line: u32) -> Result<(), End> {
        let WriteOrder { planned, writer } = self.control.plan_write(parsed, data).await?;
        let kind = planned.kind;
        let sealed = {
            let mut writer = writer.lock().await;
            self.carry_out(planned, &mut writer).await?
        };
        self.sealed.push_back((line, kind, sealed, writer));
        while self.sealed.len() >= SEALED_MAX || self.first_is_durable() {
            self.tell_first().await?;
        }
        Ok(())
    }

    /// Writes, with the table to itself.
    async fn carry_out(&self, planned: PlannedWrite, writer: &mut Writer) -> Result<Sealed, ControlError> {
        let PlannedWrite { kind, rows, on_conflict } = planned;
        if writer.must_learn() {
            let all = self.all_rows(writer).await?;
            writer.learn(&all)?;
        }
        let Written { old, new } = match rows {
            RowsOf::Values(rows) => Written { old: None, new: Some(rows) },
            RowsOf::Query(read, completion) => self.read(*read, &completion).await?,
        };
        let (Some(rows), WriteKind::Insert) = (&new, kind) else {
            let concerned = old.as_ref().or(new.as_ref()).map_or(0, RecordBatch::num_rows);
            return writer.write(old, new, concerned).await;
        };
        match on_conflict {
            OnConflict::Refuse => {
                let concerned = rows.num_rows();
                writer.write(old, new, concerned).await
            }
            OnConflict::Skip => {
                let (free, _) = writer.split(rows)?;
                let concerned = free.num_rows();
                writer.write(None, Some(free), concerned).await
            }
            OnConflict::Update(read, completion) => self.update_taken(writer, rows, (*read, &completion)).await,
        }
    }

    /// Inserts the rows whose key is free, and changes those whose key is taken.
    async fn update_taken(
        &self,
        writer: &mut Writer,
        rows: &RecordBatch,
        (read, completion): (PlannedRead, &Completion),
    ) -> Result<Sealed, ControlError> {
        let (free, taken) = writer.split(rows)?;
        if taken.num_rows() == 0 {
            let concerned = free.num_rows();
            return writer.write(None, Some(free), concerned).await;
        }
        // A row that is inserted by this statement cannot be changed by it.
        writer.matching(&[], rows)?;
        let there = writer.matching(&self.all_rows(writer).await?, &taken)?;
        let table = read.collections().iter().find(|collection| collection.object != EXCLUDED).copied();
        let mut tables = std::collections::BTreeMap::from([(EXCLUDED.rows(), vec![taken])]);
        tables.extend(table.map(|table| (table, there)));
        let schema = read.schema();
        let refused = |error| ControlError::Sql { origin: String::new(), error };
        let runtime = tokio::runtime::Handle::current();
        let run = move || caught(|| runtime.block_on(read.run(tables)));
        let failed = |message: String| ControlError::Failed { message };
        let answer = tokio::task::spawn_blocking(run).await.map_err(|error| failed(error.to_string()))?;
        let answer = answer.map_err(failed)?.map_err(refused)?;
        let Written { old, new } = guarded(|| completion.rows(&schema, &answer)).map_err(refused)?;
        let changed = new.unwrap_or_else(|| free.slice(0, 0));
        let concerned = free.num_rows() + changed.num_rows();
        let come = arrow::compute::concat_batches(&free.schema(), [&free, &changed]);
        let come = come.map_err(|error| ControlError::Failed { message: error.to_string() })?;
        writer.write(old, Some(come), concerned).await
    }

    async fn read(&self, read: PlannedRead, completion: &Completion) -> Result<Written, ControlError> {
        let answer = self.control.read(read).await?;
        let rows = guarded(|| completion.rows(&answer.schema, &answer.batches));
        rows.map_err(|error| ControlError::Sql { origin: String::new(), error })
    }

    /// All rows of the table as the last statement left them.
    async fn all_rows(&self, writer: &Writer) -> Result<Vec<RecordBatch>, ControlError> {
        let table = writer.table();
        let sql = format!("SELECT * FROM \"{}\"", table.name.replace('"', "\"\""));
        let answer = self.control.query(&sql, None).await?;
        let conform = |rows: RecordBatch| RecordBatch::try_new(table.schema.clone(), rows.columns().to_vec());
        let rows = answer.batches.into_iter().map(conform).collect::<Result<_, _>>();
        // Another table under the same name, if it has other columns.
        rows.map_err(|_| ControlError::NotReady { message: format!("table \"{}\" was dropped", table.name) })
    }

    fn first_is_durable(&mut self) -> bool {
        let Some((_, _, sealed, _)) = self.sealed.front_mut() else { return false };
        // An error is told about, too.
        sealed.durable.as_mut().is_none_or(|durable| !durable.is_empty() || durable.is_terminated())
    }

    async fn tell_all(&mut self) -> Result<(), End> {
        while !self.sealed.is_empty() {
            self.tell_first().await?;
        }
        Ok(())
    }

    /// Waits until the first of the writes that were sealed is durable, and tells about it.
    async fn tell_first(&mut self) -> Result<(), End> {
        let Some((line, kind, sealed, writer)) = self.sealed.pop_front() else { return Ok(()) };
        if let Some(durable) = sealed.durable
            && durable.await.is_err()
        {
            return Err(End::Failed(writer.lock().await.lost()));
        }
        self.tell(Executed { line, done: Done::Wrote { kind, rows: sealed.rows } }).await
    }

    async fn tell(&self, executed: Executed) -> Result<(), End> {
        self.sender.send(Ok(executed)).await.map_err(|_| End::Unheard)
    }
}
