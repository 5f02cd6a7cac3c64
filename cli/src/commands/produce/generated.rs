//! Generated rows as the text of records: JSON objects, or CSV lines in the order of the columns.

use std::io::Write;

use anyhow::bail;
use chrono::DateTime;
use clap::ValueEnum;

use super::commerce::{Generator, PRODUCTS, Transaction, category};
use super::records::Record;

/// What is generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum GeneratorName {
    /// Lines of the orders of a large shop: a million customers, 20,000 products, one hot customer on purpose.
    CommerceBench,
    /// The products that those orders name, with their categories; there are 20,000.
    CommerceBenchProducts,
}

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Text {
    Json,
    Csv,
}

const TRANSACTION: [&str; 12] = [
    "transaction_id",
    "order_id",
    "customer_id",
    "product_id",
    "category",
    "quantity",
    "amount",
    "country",
    "channel",
    "card_id",
    "device_id",
    "event_time",
];
const PRODUCT: [&str; 2] = ["product_id", "category"];

enum Rows {
    Transactions(Box<Generator>),
    Products,
}

/// Records that are made up, always the same ones for one seed.
pub(super) struct Generated {
    rows: Rows,
    text: Text,
    /// Which column is the key.
    key: Option<usize>,
    next: u64,
    end: u64,
}

impl Generated {
    /// So many rows; of products all unless the number is given.
    pub(super) fn new(
        name: GeneratorName,
        rows: Option<u64>,
        seed: u64,
        text: Text,
        key: Option<&str>,
    ) -> anyhow::Result<Generated> {
        let (columns, end, rows) = match (name, rows) {
            (GeneratorName::CommerceBench, None) => bail!("the generator does not end by itself: give --rows N"),
            (GeneratorName::CommerceBench, Some(rows)) => {
                (&TRANSACTION[..], rows, Rows::Transactions(Box::new(Generator::new(seed))))
            }
            (GeneratorName::CommerceBenchProducts, rows) => {
                let all = u64::try_from(PRODUCTS)?;
                (&PRODUCT[..], rows.unwrap_or(all).min(all), Rows::Products)
            }
        };
        let key = match key {
            None => None,
            Some(key) => match columns.iter().position(|column| *column == key) {
                None => bail!("the generator has no column {key}; it has {}", columns.join(", ")),
                found => found,
            },
        };
        Ok(Generated { rows, text, key, next: 0, end })
    }

    /// How many rows there will be.
    pub(super) fn len(&self) -> u64 {
        self.end
    }

    /// The first line of a file, if it has one: CSV names its columns.
    pub(super) fn file_header(&self) -> Option<String> {
        let names = match self.rows {
            Rows::Transactions(_) => &TRANSACTION[..],
            Rows::Products => &PRODUCT[..],
        };
        (self.text == Text::Csv).then(|| names.join(","))
    }

    /// The next record; `None` at the end.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<Record>> {
        if self.next == self.end {
            return Ok(None);
        }
        let number = i64::try_from(self.next)?;
        self.next += 1;
        let mut value = Vec::with_capacity(256);
        let (fields, timestamp_ms): (Vec<Field>, _) = match &mut self.rows {
            Rows::Transactions(generator) => {
                let row = generator.transaction();
                (transaction(&row), Some(row.event_time.div_euclid(1_000)))
            }
            Rows::Products => (vec![Field::Number(number), Field::Text(category(number))], None),
        };
        let names = if fields.len() == PRODUCT.len() { &PRODUCT[..] } else { &TRANSACTION[..] };
        match self.text {
            Text::Json => write_json(names, &fields, &mut value)?,
            Text::Csv => write_csv(&fields, &mut value)?,
        }
        let key = self.key.map(|index| fields[index].to_string());
        Ok(Some(Record { topic: None, key, timestamp_ms, value }))
    }
}

/// A value; no text needs quoting or escaping.
enum Field {
    Number(i64),
    /// Hundredths.
    Amount(i64),
    Text(String),
    /// Microseconds since 1970.
    Time(i64),
}

impl std::fmt::Display for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Field::Number(number) => write!(f, "{number}"),
            Field::Amount(cents) => {
                let sign = if *cents < 0 { "-" } else { "" };
                write!(f, "{sign}{}.{:02}", cents.unsigned_abs() / 100, cents.unsigned_abs() % 100)
            }
            Field::Text(text) => f.write_str(text),
            Field::Time(us) => {
                let time = DateTime::from_timestamp_micros(*us).ok_or(std::fmt::Error)?;
                write!(f, "{}", time.format("%Y-%m-%dT%H:%M:%S%.6fZ"))
            }
        }
    }
}

fn transaction(row: &Transaction) -> Vec<Field> {
    vec![
        Field::Number(row.transaction_id),
        Field::Number(row.order_id),
        Field::Number(row.customer_id),
        Field::Number(row.product_id),
        Field::Text(category(row.product_id)),
        Field::Number(row.quantity.into()),
        Field::Amount(row.amount),
        Field::Text(row.country.to_owned()),
        Field::Text(row.channel.to_owned()),
        Field::Number(row.card_id),
        Field::Number(row.device_id),
        Field::Time(row.event_time),
    ]
}

fn write_json(names: &[&str], fields: &[Field], out: &mut Vec<u8>) -> std::io::Result<()> {
    let mut before = '{';
    for (name, field) in names.iter().zip(fields) {
        match field {
            Field::Number(_) | Field::Amount(_) => write!(out, "{before}\"{name}\":{field}")?,
            Field::Text(_) | Field::Time(_) => write!(out, "{before}\"{name}\":\"{field}\"")?,
        }
        before = ',';
    }
    out.push(b'}');
    Ok(())
}

fn write_csv(fields: &[Field], out: &mut Vec<u8>) -> std::io::Result<()> {
    for (index, field) in fields.iter().enumerate() {
        write!(out, "{}{field}", if index > 0 { "," } else { "" })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(name: GeneratorName, rows: Option<u64>, seed: u64, text: Text, key: Option<&str>) -> Vec<Record> {
        let mut generated = Generated::new(name, rows, seed, text, key).unwrap();
        std::iter::from_fn(|| generated.next().unwrap()).collect()
    }

    #[test]
    fn a_seed_decides_every_row() {
        let rows = |seed| all(GeneratorName::CommerceBench, Some(3_000), seed, Text::Json, None);
        let once = rows(42);
        assert_eq!(once, rows(42));
        assert_ne!(once, rows(43));
        let bytes: usize = once.iter().map(|record| record.value.len()).sum();
        assert!((215..245).contains(&(bytes / once.len())), "{} bytes a record", bytes / once.len());
    }

    #[test]
    fn json_and_csv_hold_the_same_and_keys_are_columns() {
        let json = all(GeneratorName::CommerceBench, Some(500), 1, Text::Json, Some("customer_id"));
        let csv = all(GeneratorName::CommerceBench, Some(500), 1, Text::Csv, Some("country"));
        for (json, csv) in json.iter().zip(&csv) {
            let object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&json.value).unwrap();
            let plain = |value: &serde_json::Value| match value {
                serde_json::Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let line = String::from_utf8(csv.value.clone()).unwrap();
            let fields: Vec<&str> = line.split(',').collect();
            assert_eq!(fields.len(), TRANSACTION.len());
            for (name, field) in TRANSACTION.iter().zip(fields) {
                // A number loses its last zeros on the way through serde_json.
                let same = plain(&object[*name]) == field || plain(&object[*name]).parse::<f64>() == field.parse();
                assert!(same, "{name}: {object:?} {line}");
            }
            assert_eq!(json.key.as_deref(), Some(plain(&object["customer_id"]).as_str()));
            assert_eq!(csv.key.as_deref(), Some(plain(&object["country"]).as_str()));
        }
    }

    #[test]
    fn products_are_all_of_them_and_what_is_missing_is_said() {
        let products = all(GeneratorName::CommerceBenchProducts, None, 42, Text::Csv, None);
        assert_eq!((products.len(), products[41].value.as_slice()), (20_000, b"41,cat_01".as_slice()));
        let no_end = Generated::new(GeneratorName::CommerceBench, None, 1, Text::Json, None).err().unwrap();
        assert!(no_end.to_string().contains("--rows"), "{no_end}");
        let no_key = Generated::new(GeneratorName::CommerceBench, Some(1), 1, Text::Json, Some("x")).err().unwrap();
        assert!(no_key.to_string().contains("no column x; it has transaction_id, order_id"), "{no_key}");
    }
}
