//! A dashboard in a hundred lines: subscribes to `country_kpis` over gRPC and prints the five largest countries whenever
//! they change. Start `headwater demo` in a terminal and give this program the address that it names:
//!
//! ```sh
//! cargo run --profile ci -p headwater-examples --example dashboard -- http://127.0.0.1:6565
//! ```

#![allow(clippy::print_stdout, reason = "a program for the terminal")]

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use headwater_proto::client::Client;
use headwater_proto::v1::{Encoding, Row, Schema, SubscribeRequest, Transition, subscribe_response, value};

const VIEW: &str = "country_kpis";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "http://127.0.0.1:6565".to_owned());
    let client = Client::connect(&address).await?;
    let request = SubscribeRequest {
        views: vec![VIEW.to_owned()],
        skip_snapshot: false,
        progress: false,
        encoding: Encoding::Rows.into(),
    };
    let mut messages = client.subscribe(request).await?;
    let mut board = None;
    while let Some(message) = messages.next().await? {
        match message.message.context("an empty message")? {
            subscribe_response::Message::Started(started) => {
                let schema = started.schemas.first().context("a subscription without columns")?;
                board = Some(Board::new(schema)?);
            }
            subscribe_response::Message::Transition(transition) => {
                let board = board.as_mut().context("a transition before the start")?;
                board.apply(&transition)?;
                // A large transition comes in parts; the view is consistent after the last.
                if !transition.more {
                    println!("{}  {}", transition.to, board.top(5));
                }
            }
            subscribe_response::Message::Progress(_) => {}
            subscribe_response::Message::Closing(closing) => {
                bail!("the server ends the subscription: {}", closing.reason)
            }
        }
    }
    Ok(())
}

/// The view's contents: gross in mils by country.
struct Board {
    country: usize,
    gross: usize,
    rows: BTreeMap<(String, i64), i64>,
}

impl Board {
    fn new(schema: &Schema) -> Result<Board> {
        let position = |name: &str| schema.columns.iter().position(|column| column.name == name);
        Ok(Board {
            country: position("country").context("no column country")?,
            gross: position("gross_mils").context("no column gross_mils")?,
            rows: BTreeMap::new(),
        })
    }

    /// Applies changes: a row comes with a positive diff and goes with a negative one.
    fn apply(&mut self, transition: &Transition) -> Result<()> {
        for changes in &transition.changes {
            let rows = changes.rows.as_ref().context("changes without rows")?;
            for (row, diff) in rows.rows.iter().zip(&changes.diffs) {
                let copies = self.rows.entry(self.read(row)?).or_default();
                *copies += diff;
            }
        }
        self.rows.retain(|_, copies| *copies != 0);
        Ok(())
    }

    fn read(&self, row: &Row) -> Result<(String, i64)> {
        let value = |at: usize| row.values.get(at).and_then(|value| value.kind.clone());
        match (value(self.country), value(self.gross)) {
            (Some(value::Kind::StringValue(country)), Some(value::Kind::Int64Value(gross))) => Ok((country, gross)),
            other => bail!("a row of other types: {other:?}"),
        }
    }

    fn top(&self, count: usize) -> String {
        let mut rows: Vec<&(String, i64)> = self.rows.keys().collect();
        rows.sort_by_key(|(_, gross)| std::cmp::Reverse(*gross));
        let cells =
            rows.iter().take(count).map(|(country, gross)| format!("{country} {}.{:03}", gross / 1000, gross % 1000));
        cells.collect::<Vec<_>>().join("   ")
    }
}
