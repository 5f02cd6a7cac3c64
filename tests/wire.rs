//! Reading over gRPC: queries, and subscriptions whose transitions are applied to an empty table.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::ipc::reader::StreamDecoder;
use headwater_proto::client::{Client, Messages};
use headwater_proto::v1::{
    Encoding, QueryRequest, SubscribeRequest, SubscribeResponse, Transition, query_response, subscribe_response,
};

use crate::table::Table;

/// The time and the rows of a query.
pub(crate) async fn query(client: &Client, sql: &str, at: Option<i64>) -> Result<(i64, Table)> {
    let request = QueryRequest { sql: sql.to_owned(), at, encoding: Encoding::ArrowIpc.into() };
    let mut messages = client.query(request).await.with_context(|| sql.to_owned())?;
    let first = messages.next().await?.and_then(|message| message.message);
    let Some(query_response::Message::Started(started)) = first else { bail!("the answer does not start: {first:?}") };
    let schema = started.schema.context("the answer has no columns")?;
    let columns = schema.columns.iter().map(|column| column.name.clone()).collect();
    let mut table = Table { columns, rows: Vec::new() };
    let mut batches = Batches::new(&schema.arrow_ipc)?;
    while let Some(message) = messages.next().await? {
        let Some(query_response::Message::Batch(batch)) = message.message else { bail!("two starts of one answer") };
        table.rows.extend(Table::from_batches(&batches.next(&batch.arrow_ipc)?)?.rows);
    }
    Ok((started.at, table))
}

/// Batches out of the parts of an Arrow IPC stream.
struct Batches(StreamDecoder);

impl Batches {
    /// The stream begins with `head`.
    fn new(head: &[u8]) -> Result<Batches> {
        let mut batches = Batches(StreamDecoder::new());
        ensure!(batches.next(head)?.is_empty(), "rows in the head of a stream");
        Ok(batches)
    }

    fn next(&mut self, part: &[u8]) -> Result<Vec<RecordBatch>> {
        let mut buffer = Buffer::from(part);
        let mut batches = Vec::new();
        while !buffer.is_empty() {
            batches.extend(self.0.decode(&mut buffer)?);
        }
        Ok(batches)
    }
}

/// A view's rows with how often each is there.
pub(crate) type Contents = BTreeMap<Vec<String>, i64>;

/// A table's rows with how often each is there.
pub(crate) fn contents(table: &Table) -> Contents {
    let mut contents = Contents::new();
    table.rows.iter().for_each(|row| *contents.entry(row.clone()).or_default() += 1);
    contents
}

/// What a subscription has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reached {
    /// The mirror holds the contents at this time, after this many changed rows.
    Contents { at: i64, changed: usize },
    /// Everything before this time has been delivered.
    Progress { upper: i64 },
}

/// Views kept by nothing but a subscription.
pub(crate) struct Mirror {
    messages: Messages<SubscribeResponse>,
    streams: Vec<Batches>,
    pub(crate) columns: Vec<Vec<String>>,
    pub(crate) views: Vec<Contents>,
    /// The time of the contents; 0 before the snapshot.
    at: i64,
    changed: usize,
}

impl Mirror {
    /// Subscribes to `views` with progress marks.
    pub(crate) async fn open(client: &Client, views: &[&str]) -> Result<Mirror> {
        let views: Vec<String> = views.iter().map(|view| (*view).to_owned()).collect();
        let count = views.len();
        let encoding = Encoding::ArrowIpc.into();
        let mut messages =
            client.subscribe(SubscribeRequest { views, skip_snapshot: false, progress: true, encoding }).await?;
        let first = messages.next().await?.and_then(|message| message.message);
        let Some(subscribe_response::Message::Started(started)) = first else { bail!("no start: {first:?}") };
        ensure!(started.schemas.len() == count, "{} schemas for {count} views", started.schemas.len());
        let streams = started.schemas.iter().map(|schema| Batches::new(&schema.arrow_ipc)).collect::<Result<_>>()?;
        let names =
            |schema: &headwater_proto::v1::Schema| schema.columns.iter().map(|column| column.name.clone()).collect();
        let columns = started.schemas.iter().map(names).collect();
        Ok(Mirror { messages, streams, columns, views: vec![Contents::new(); count], at: 0, changed: 0 })
    }

    /// Applies messages until one completes a transition or says how far everything is.
    pub(crate) async fn next(&mut self) -> Result<Reached> {
        loop {
            let message = self.messages.next().await?.context("the subscription ended")?;
            match message.message.context("an empty message")? {
                subscribe_response::Message::Started(_) => bail!("a second start"),
                subscribe_response::Message::Closing(closing) => bail!("closed: {}", closing.reason),
                subscribe_response::Message::Progress(progress) => {
                    ensure!(progress.upper > self.at, "progress to {} after contents at {}", progress.upper, self.at);
                    // Nothing changed up to there: the next transition goes on from it.
                    self.at = progress.upper - 1;
                    return Ok(Reached::Progress { upper: progress.upper });
                }
                subscribe_response::Message::Transition(transition) => {
                    if let Some(reached) = self.apply(&transition)? {
                        return Ok(reached);
                    }
                }
            }
        }
    }

    /// The rows of one view as a table.
    pub(crate) fn table(&self, view: usize) -> Result<Table> {
        let mut rows = Vec::new();
        for (row, count) in &self.views[view] {
            ensure!(*count > 0, "{count} copies of {row:?}");
            (0..*count).for_each(|_| rows.push(row.clone()));
        }
        Ok(Table { columns: self.columns[view].clone(), rows })
    }

    fn apply(&mut self, transition: &Transition) -> Result<Option<Reached>> {
        ensure!(transition.from == self.at, "a transition from {} after contents at {}", transition.from, self.at);
        ensure!(transition.snapshot == (self.at == 0), "a snapshot after contents at {}", self.at);
        for changes in &transition.changes {
            let view = changes.view_index as usize;
            let rows = changes.rows.as_ref().context("changes without rows")?;
            let table = Table::from_batches(&self.streams[view].next(&rows.arrow_ipc)?)?;
            ensure!(
                table.rows.len() == changes.diffs.len(),
                "{} rows, {} diffs",
                table.rows.len(),
                changes.diffs.len()
            );
            for (row, diff) in table.rows.into_iter().zip(&changes.diffs) {
                ensure!(*diff != 0, "nothing changes in {row:?}");
                self.changed += 1;
                let count = self.views[view].entry(row.clone()).or_default();
                *count += diff;
                if *count == 0 {
                    self.views[view].remove(&row);
                }
            }
        }
        if transition.more {
            return Ok(None);
        }
        self.at = transition.to;
        Ok(Some(Reached::Contents { at: self.at, changed: std::mem::take(&mut self.changed) }))
    }
}

/// The rows that come into one view, as they come.
pub(crate) struct Arrivals {
    messages: Messages<SubscribeResponse>,
    stream: Batches,
}

impl Arrivals {
    /// Subscribes to a view that only grows, from now on.
    pub(crate) async fn open(client: &Client, view: &str) -> Result<Arrivals> {
        let (views, encoding) = (vec![view.to_owned()], Encoding::ArrowIpc.into());
        let mut messages =
            client.subscribe(SubscribeRequest { views, skip_snapshot: true, progress: false, encoding }).await?;
        let first = messages.next().await?.and_then(|message| message.message);
        let Some(subscribe_response::Message::Started(started)) = first else { bail!("no start: {first:?}") };
        let schema = started.schemas.first().context("a subscription without columns")?;
        Ok(Arrivals { messages, stream: Batches::new(&schema.arrow_ipc)? })
    }

    /// The next rows.
    pub(crate) async fn next(&mut self) -> Result<Vec<RecordBatch>> {
        let transition = loop {
            let message = self.messages.next().await?.context("the subscription ended")?;
            match message.message.context("an empty message")? {
                subscribe_response::Message::Transition(transition) => break transition,
                subscribe_response::Message::Progress(_) => {}
                other => bail!("no rows but {other:?}"),
            }
        };
        let mut batches = Vec::new();
        for changes in &transition.changes {
            ensure!(changes.diffs.iter().all(|diff| *diff > 0), "a row went");
            batches.extend(self.stream.next(&changes.rows.as_ref().context("changes without rows")?.arrow_ipc)?);
        }
        Ok(batches)
    }
}
