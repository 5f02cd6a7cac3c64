//! `headwater status`: the server in a few figures.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use arrow::array::RecordBatch;
use chrono::{DateTime, SecondsFormat};
use crossterm::cursor::MoveTo;
use crossterm::queue;
use crossterm::terminal::{Clear, ClearType};
use headwater_proto::v1::{GetStatusResponse, Object};

use super::{describe, objects};
use crate::args::{Global, StatusArgs};
use crate::call::{connect, failure};
use crate::output::{OutputFormat, csv, print_rows, stdout, value};

/// How often `--watch` looks again.
const INTERVAL: Duration = Duration::from_secs(1);

/// Prints the state; exit code 1 unless everything serves.
pub(super) async fn run(args: StatusArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let client = connect(&global.server).await?;
    let in_place = args.watch && global.output == OutputFormat::Table && io::stdout().is_terminal();
    let mut first = true;
    loop {
        let status = client.status().await.map_err(failure)?;
        let mut out = stdout();
        if in_place {
            queue!(out, Clear(ClearType::All), MoveTo(0, 0))?;
        }
        write(&mut out, global.output, &status, first)?;
        out.flush()?;
        drop(out);
        if !args.watch {
            return Ok(if status.healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        first = false;
        tokio::time::sleep(INTERVAL).await;
    }
}

fn write(out: &mut impl Write, format: OutputFormat, status: &GetStatusResponse, header: bool) -> anyhow::Result<()> {
    match format {
        OutputFormat::Table => {
            let health = if status.healthy { "healthy" } else { "not healthy" };
            writeln!(out, "headwater {}: {health}", status.version)?;
            writeln!(out, "started   {}{}", utc(status.started), recovery(status))?;
            writeln!(out, "durable   {} ({})", status.bound, utc(status.bound))?;
            writeln!(out, "workers   {}\n", status.workers)?;
            let rows: RecordBatch = objects::figures(&status.objects)?;
            print_rows(out, format, &rows, "")?;
        }
        OutputFormat::Csv => {
            if header {
                writeln!(out, "version,healthy,started,recovery_ms,bound,workers,objects,errors")?;
            }
            let mut line = String::new();
            csv::write_field(&status.version, &mut line);
            let recovery = status.recovery_millis.map(|millis| millis.to_string()).unwrap_or_default();
            let GetStatusResponse { healthy, started, bound, workers, objects, .. } = status;
            let errors: u64 = objects.iter().map(|object| object.errors).sum();
            writeln!(out, "{line},{healthy},{started},{recovery},{bound},{workers},{},{errors}", objects.len())?;
        }
        OutputFormat::Json => writeln!(out, "{}", json(status))?,
    }
    Ok(())
}

fn recovery(status: &GetStatusResponse) -> String {
    match status.recovery_millis {
        Some(millis) => format!(", everything served {millis} ms later"),
        None => ", recovering".to_owned(),
    }
}

/// A time of the engine as RFC 3339.
fn utc(millis: i64) -> String {
    match DateTime::from_timestamp_millis(millis) {
        Some(time) => time.to_rfc3339_opts(SecondsFormat::AutoSi, true),
        None => millis.to_string(),
    }
}

fn json(status: &GetStatusResponse) -> String {
    let mut version = String::new();
    value::write_json_string(&status.version, &mut version);
    let objects: Vec<String> = status.objects.iter().map(|object: &Object| describe::json(object)).collect();
    let recovery = status.recovery_millis.map_or_else(|| "null".to_owned(), |millis| millis.to_string());
    let GetStatusResponse { healthy, started, bound, workers, .. } = status;
    format!(
        "{{\"version\":{version},\"healthy\":{healthy},\"started\":{started},\"recovery_ms\":{recovery},\
         \"bound\":{bound},\"workers\":{workers},\"objects\":[{}]}}",
        objects.join(",")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> GetStatusResponse {
        GetStatusResponse {
            version: "0.1.0".to_owned(),
            started: 1_323_435_000_000,
            workers: 2,
            bound: 1_323_435_000_500,
            healthy: true,
            objects: vec![Object { name: "v".to_owned(), errors: 3, ..Object::default() }],
            recovery_millis: Some(12),
        }
    }

    fn written(format: OutputFormat) -> String {
        let mut out = Vec::new();
        write(&mut out, format, &status(), true).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_form_shows_the_figures() {
        let table = written(OutputFormat::Table);
        assert!(
            table.starts_with(
                "headwater 0.1.0: healthy\nstarted   2011-12-09T12:50:00Z, everything served 12 ms later\n"
            ),
            "{table}"
        );
        assert!(table.contains("1323435000500 (2011-12-09T12:50:00.500Z)"), "{table}");
        let csv = written(OutputFormat::Csv);
        assert!(csv.ends_with("\n0.1.0,true,1323435000000,12,1323435000500,2,1,3\n"), "{csv}");
        let json: serde_json::Value = serde_json::from_str(&written(OutputFormat::Json)).unwrap();
        assert_eq!((&json["recovery_ms"], &json["objects"][0]["name"]), (&12.into(), &"v".into()));
    }
}
