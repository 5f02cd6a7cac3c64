//! What the demo replays: the text of all lines in order of time, where each minute's lines end in it, and the totals
//! they must come to. Everything is in memory, some 50 MB for a year.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use chrono::NaiveDateTime;

use super::generator::Year;
use super::line::{HEADER, InvoiceLine, TIME_FORMAT};
use super::tally::{Tally, Totals};

/// A stretch of lines with the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The time of the lines.
    pub(crate) time: NaiveDateTime,
    /// Where their text ends.
    pub(crate) end: usize,
    /// How many lines end there, counted from the first.
    pub(crate) lines: u64,
}

/// Lines to replay.
pub(crate) struct Replay {
    /// A header, then the lines.
    pub(crate) text: Vec<u8>,
    /// Where the header ends.
    pub(crate) header_end: usize,
    /// In order of time; never empty.
    pub(crate) marks: Vec<Mark>,
    /// What the lines come to.
    pub(crate) totals: Totals,
}

impl Replay {
    /// A made-up year of about `lines` lines.
    pub(crate) fn generated(seed: u64, lines: usize) -> Replay {
        let year = Year::draw(seed, lines);
        let mut text = String::with_capacity(96 * year.len());
        text.push_str(HEADER);
        text.push('\n');
        let header_end = text.len();
        let (mut marks, mut tally) = (Marks::default(), Tally::default());
        for line in year.lines() {
            tally.add(&line);
            line.write_csv(&mut text);
            marks.add(line.time, text.len());
        }
        Replay { text: text.into_bytes(), header_end, marks: marks.0, totals: tally.totals() }
    }

    /// The lines of a file in the published columns, plain or packed (.gz, .zst).
    ///
    /// # Errors
    /// The file cannot be read, or its header has other columns. Records that are no lines are kept and counted.
    pub(crate) fn of_file(path: &Path) -> Result<Replay> {
        let text = read_unpacked(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(&text[..]);
        let header = reader.headers().with_context(|| format!("no header in {}", path.display()))?;
        let columns: Vec<&str> = header.iter().map(|name| name.trim_start_matches('\u{feff}')).collect();
        ensure!(
            columns.join(",") == HEADER,
            "{} has the columns {}; the columns of the published file are {HEADER}",
            path.display(),
            columns.join(",")
        );
        let header_end = reader.position().byte() as usize;
        let (mut marks, mut tally) = (Marks::default(), Tally::default());
        let mut record = csv::StringRecord::new();
        loop {
            // A record that is not UTF-8 is passed over by the reader: it still stands in the text.
            match reader.read_record(&mut record) {
                Ok(false) => break,
                Ok(true) => {}
                Err(_) => record.clear(),
            }
            let end = reader.position().byte() as usize;
            match line_of(&record) {
                Some(line) => {
                    tally.add(&line);
                    marks.add(line.time, end);
                }
                None => {
                    tally.add_error();
                    marks.extend(end);
                }
            }
        }
        if marks.0.is_empty() {
            bail!("{} has no lines", path.display());
        }
        Ok(Replay { header_end, marks: marks.0, totals: tally.totals(), text })
    }

    /// The time of the first line and of the last one.
    pub(crate) fn span(&self) -> (NaiveDateTime, NaiveDateTime) {
        let (first, last) = (self.marks.first(), self.marks.last());
        (first.expect("there are marks").time, last.expect("there are marks").time)
    }
}

/// The marks while they are made.
#[derive(Default)]
struct Marks(Vec<Mark>);

impl Marks {
    /// A line of `time` ends at `end`. Where time runs backwards in a file, the replay's stands still.
    fn add(&mut self, time: NaiveDateTime, end: usize) {
        match self.0.last_mut() {
            Some(last) if last.time >= time => (last.end, last.lines) = (end, last.lines + 1),
            last => {
                let lines = last.map_or(0, |last| last.lines) + 1;
                self.0.push(Mark { time, end, lines });
            }
        }
    }

    /// A record that is no line ends at `end`: it goes with the lines before it.
    fn extend(&mut self, end: usize) {
        if let Some(last) = self.0.last_mut() {
            last.end = end;
        }
    }
}

/// A record as a line, if it is one.
fn line_of(record: &csv::StringRecord) -> Option<InvoiceLine<'_>> {
    if record.len() != 8 || record[0].is_empty() || record[1].is_empty() || record[7].is_empty() {
        return None;
    }
    let customer_id = match &record[6] {
        "" => None,
        id => Some(id.strip_suffix(".0").unwrap_or(id).parse().ok()?),
    };
    Some(InvoiceLine {
        invoice_no: &record[0],
        stock_code: &record[1],
        description: &record[2],
        quantity: record[3].parse().ok()?,
        time: NaiveDateTime::parse_from_str(&record[4], TIME_FORMAT).ok()?,
        unit_price_mils: mils(&record[5])?,
        customer_id,
        country: &record[7],
    })
}

/// A plain decimal of pounds in mils, if it is one with at most three digits behind the point.
fn mils(text: &str) -> Option<i64> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() || fraction.len() > 3 || !(whole.bytes().chain(fraction.bytes())).all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(sign * format!("{whole}{fraction:0<3}").parse::<i64>().ok()?)
}

/// The bytes of a file, unpacked by its extension.
fn read_unpacked(path: &Path) -> Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let mut text = Vec::new();
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("gz" | "gzip") => flate2::read::MultiGzDecoder::new(file).read_to_end(&mut text)?,
        Some("zst" | "zstd") => zstd::Decoder::new(file)?.read_to_end(&mut text)?,
        _ => file.read_to_end(&mut text)?,
    };
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_year_reads_back_as_the_same() {
        let generated = Replay::generated(5, 3_000);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lines.csv.zst");
        std::fs::write(&path, zstd::encode_all(&generated.text[..], 1).unwrap()).unwrap();
        let read = Replay::of_file(&path).unwrap();
        assert_eq!(read.totals, generated.totals);
        assert_eq!(read.marks, generated.marks);
        assert_eq!((read.header_end, &read.text), (generated.header_end, &generated.text));
        assert_eq!(read.marks.last().unwrap().end, read.text.len());
    }

    #[test]
    fn records_that_are_no_lines_are_counted() {
        let text = format!(
            "{HEADER}\n1,A,x,2,2024-12-02 08:00:00,1.25,17850.0,Spain\n1,A,x,two,2024-12-02 08:00:00,1.25,,Spain\n\
             1,A,x\n2,B,\"y, z\",1,2024-12-02 08:01:00,0.001,,Spain\n"
        );
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lines.csv");
        std::fs::write(&path, &text).unwrap();
        let replay = Replay::of_file(&path).unwrap();
        let totals = Totals { gross_mils: 2_501, refund_mils: 0, orders: 2, customers: 1, lines: 2, errors: 2 };
        assert_eq!(replay.totals, totals);
        assert_eq!(replay.marks.last().unwrap().end, text.len());
        std::fs::write(&path, "a,b\n1,2\n").unwrap();
        let refused = Replay::of_file(&path).err().unwrap().to_string();
        assert!(refused.contains("has the columns a,b"), "{refused}");
    }
}
