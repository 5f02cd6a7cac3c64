//! The records of a file: NDJSON and CSV lines, or events that say themselves where they go.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, stdin};
use std::path::Path;

use anyhow::{Context, bail};
use chrono::DateTime;
use clap::ValueEnum;
use flate2::bufread::MultiGzDecoder;
use indicatif::ProgressBar;
use serde::Deserialize;
use serde_json::value::RawValue;

/// What the lines of the file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum InputForm {
    /// By the name of the file: `.csv` is csv, anything else ndjson.
    Auto,
    /// One JSON object a line, sent as it is.
    Ndjson,
    /// A header, and one record a line, sent as a line in the order of the header.
    Csv,
    /// Objects with topic, key, ts (ms since 1970, or as 2026-01-31T08:00:00Z) and value; the value is sent.
    Events,
}

/// One record to be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    /// The topic, if the record says it.
    pub(super) topic: Option<String>,
    pub(super) key: Option<String>,
    pub(super) timestamp_ms: Option<i64>,
    pub(super) value: Vec<u8>,
}

/// The records of a file, in order.
pub(super) struct Records {
    input: Input,
    /// The number of the last line or record read.
    line: u64,
    name: String,
}

enum Input {
    Ndjson { lines: Box<dyn BufRead>, key: Option<String> },
    Csv { reader: Box<csv::Reader<Box<dyn BufRead>>>, key: Option<usize>, delimiter: u8 },
    Events { lines: Box<dyn BufRead> },
}

#[derive(Deserialize)]
struct Event<'a> {
    topic: String,
    key: Option<String>,
    ts: Option<Moment<'a>>,
    #[serde(borrow)]
    value: &'a RawValue,
}

/// A time as events write it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Moment<'a> {
    Milliseconds(i64),
    Text(&'a str),
}

impl Moment<'_> {
    fn milliseconds(&self) -> anyhow::Result<i64> {
        match self {
            Moment::Milliseconds(milliseconds) => Ok(*milliseconds),
            Moment::Text(text) => {
                let time = DateTime::parse_from_rfc3339(text).with_context(|| format!("ts is no time: {text}"))?;
                Ok(time.timestamp_millis())
            }
        }
    }
}

impl Records {
    /// Opens a file, unpacked by its name, or the standard input for `-`. `bar` counts its packed bytes.
    pub(super) fn open(
        path: &Path,
        form: InputForm,
        key: Option<String>,
        bar: &ProgressBar,
    ) -> anyhow::Result<Records> {
        let name = path.display().to_string();
        let extension =
            |path: &Path| path.extension().map(|text| text.to_string_lossy().to_lowercase()).unwrap_or_default();
        let packing = extension(path);
        let bytes: Box<dyn Read> = if name == "-" {
            Box::new(stdin())
        } else {
            let file = File::open(path).with_context(|| format!("cannot open {name}"))?;
            bar.set_length(file.metadata().map_or(0, |metadata| metadata.len()));
            Box::new(bar.wrap_read(file))
        };
        let lines: Box<dyn BufRead> = match packing.as_str() {
            "gz" | "gzip" => Box::new(BufReader::new(MultiGzDecoder::new(BufReader::new(bytes)))),
            "zst" | "zstd" => Box::new(BufReader::new(zstd::Decoder::new(bytes)?)),
            _ => Box::new(BufReader::with_capacity(1 << 18, bytes)),
        };
        let packed = matches!(packing.as_str(), "gz" | "gzip" | "zst" | "zstd");
        let inner = if packed { path.with_extension("") } else { path.to_owned() };
        let form = match form {
            InputForm::Auto if extension(&inner) == "csv" => InputForm::Csv,
            InputForm::Auto => InputForm::Ndjson,
            InputForm::Ndjson | InputForm::Csv | InputForm::Events => form,
        };
        let input = match form {
            InputForm::Csv => {
                let mut reader = csv::ReaderBuilder::new().from_reader(lines);
                let header = reader.headers().with_context(|| format!("cannot read the header of {name}"))?;
                let key = match key {
                    None => None,
                    Some(key) => Some(header.iter().position(|column| column == key).with_context(|| {
                        format!("{name} has no column {key}; it has {}", header.iter().collect::<Vec<_>>().join(", "))
                    })?),
                };
                Input::Csv { reader: Box::new(reader), key, delimiter: b',' }
            }
            InputForm::Events if key.is_some() => bail!("events name their keys themselves: leave out --key"),
            InputForm::Events => Input::Events { lines },
            InputForm::Auto | InputForm::Ndjson => Input::Ndjson { lines, key },
        };
        Ok(Records { input, line: 0, name })
    }

    /// The next record; `None` at the end. Blank lines are none.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<Record>> {
        let read = match &mut self.input {
            Input::Csv { reader, key, delimiter } => next_csv(reader, *key, *delimiter, &mut self.line),
            Input::Ndjson { lines, key } => match next_line(lines, &mut self.line) {
                Ok(Some(value)) => {
                    key_of(&value, key.as_deref()).map(|key| Some(Record { key, value, ..Record::default() }))
                }
                other => other.map(|_| None),
            },
            Input::Events { lines } => match next_line(lines, &mut self.line) {
                Ok(Some(line)) => event(&line).map(Some),
                other => other.map(|_| None),
            },
        };
        read.with_context(|| format!("{}:{}", self.name, self.line))
    }
}

fn next_line(lines: &mut dyn BufRead, number: &mut u64) -> anyhow::Result<Option<Vec<u8>>> {
    loop {
        let mut line = Vec::new();
        *number += 1;
        if lines.read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        if !line.trim_ascii().is_empty() {
            return Ok(Some(line));
        }
    }
}

/// The text of a field of a JSON object; numbers and booleans as they are written.
fn key_of(line: &[u8], field: Option<&str>) -> anyhow::Result<Option<String>> {
    let Some(field) = field else { return Ok(None) };
    let object: std::collections::BTreeMap<String, &RawValue> =
        serde_json::from_slice(line).with_context(|| "this is no JSON object, so it has no key".to_owned())?;
    match object.get(field).map(|value| value.get()) {
        None | Some("null") => Ok(None),
        Some(text) if text.starts_with('"') => Ok(Some(serde_json::from_str(text)?)),
        Some(text) => Ok(Some(text.to_owned())),
    }
}

fn event(line: &[u8]) -> anyhow::Result<Record> {
    let Event { topic, key, ts, value } =
        serde_json::from_slice(line).context("an event is an object with topic, key, ts and value")?;
    let timestamp_ms = ts.map(|ts| ts.milliseconds()).transpose()?;
    Ok(Record { topic: Some(topic), key, timestamp_ms, value: value.get().as_bytes().to_vec() })
}

fn next_csv(
    reader: &mut csv::Reader<Box<dyn BufRead>>,
    key: Option<usize>,
    delimiter: u8,
    number: &mut u64,
) -> anyhow::Result<Option<Record>> {
    let mut fields = csv::StringRecord::new();
    let more = reader.read_record(&mut fields);
    *number = reader.position().line();
    if !more? {
        return Ok(None);
    }
    let mut writer = csv::WriterBuilder::new().delimiter(delimiter).from_writer(Vec::new());
    writer.write_record(&fields)?;
    let mut value = writer.into_inner().map_err(|error| error.into_error())?;
    value.pop();
    let key = key.and_then(|index| fields.get(index)).filter(|key| !key.is_empty()).map(str::to_owned);
    Ok(Some(Record { key, value, ..Record::default() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str, form: InputForm, key: Option<&str>) -> anyhow::Result<Vec<Record>> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join(name);
        std::fs::write(&path, text)?;
        let mut records = Records::open(&path, form, key.map(str::to_owned), &ProgressBar::hidden())?;
        let mut all = Vec::new();
        while let Some(record) = records.next()? {
            all.push(record);
        }
        Ok(all)
    }

    fn record(key: Option<&str>, value: &str) -> Record {
        Record { key: key.map(str::to_owned), value: value.as_bytes().to_vec(), ..Record::default() }
    }

    #[test]
    fn lines_are_sent_as_they_are_with_their_keys() {
        let text = "{\"a\": 1, \"k\": \"x\\u0041\"}\n\n{\"k\":17}\n{\"k\":null}";
        let wanted = [
            record(Some("xA"), "{\"a\": 1, \"k\": \"x\\u0041\"}"),
            record(Some("17"), "{\"k\":17}"),
            record(None, "{\"k\":null}"),
        ];
        assert_eq!(read("a.ndjson", text, InputForm::Auto, Some("k")).unwrap(), wanted);
        let unkeyed = read("a.ndjson", text, InputForm::Auto, None).unwrap();
        assert!(unkeyed.iter().zip(&wanted).all(|(got, wanted)| got.key.is_none() && got.value == wanted.value));
        let error = format!("{:#}", read("a.ndjson", "{}\n[1]", InputForm::Auto, Some("k")).unwrap_err());
        assert!(error.contains("a.ndjson:2") && error.contains("no JSON object"), "{error}");
    }

    #[test]
    fn csv_records_are_lines_again() {
        let text = "id,name\n1,\"a \"\"b\"\", c\"\n2,\"x\ny\"\n,plain\n";
        let wanted =
            [record(Some("1"), "1,\"a \"\"b\"\", c\""), record(Some("2"), "2,\"x\ny\""), record(None, ",plain")];
        assert_eq!(read("a.csv", text, InputForm::Auto, Some("id")).unwrap(), wanted);
        let error = read("a.csv", text, InputForm::Auto, Some("no")).unwrap_err().to_string();
        assert!(error.contains("no column no; it has id, name"), "{error}");
    }

    #[test]
    fn events_say_where_they_go() {
        let text = "{\"offset\":0,\"topic\":\"t\",\"key\":\"k\",\"ts\":5,\"value\":{\"a\": [1]}}\n";
        let wanted = Record { topic: Some("t".to_owned()), timestamp_ms: Some(5), ..record(Some("k"), "{\"a\": [1]}") };
        let written = text.replace(":5,", ":\"1970-01-01T00:00:00.005Z\",");
        assert_eq!(read("a.jsonl", text, InputForm::Events, None).unwrap(), std::slice::from_ref(&wanted));
        assert_eq!(read("a.jsonl", &written, InputForm::Events, None).unwrap(), [wanted]);
        assert!(read("a.jsonl", "{}\n", InputForm::Events, None).is_err());
        assert!(read("a.jsonl", text, InputForm::Events, Some("k")).is_err());
    }
}
