//! Changes as Debezium's connectors write them: `{"before": …, "after": …, "op": …, …}`, or the same as the `payload` of an
//! object with its schema.

use super::BadRecord;
use super::column::Column;
use super::json::{self, Names};

/// Stands in a change for a large value that the database did not tell because it has not changed.
const UNAVAILABLE: &str = "\"__debezium_unavailable_value\"";

/// What a change says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change<'a> {
    /// There is a row: the text of a JSON object, and of what was there before if that is told.
    Row {
        /// The row now.
        after: &'a str,
        /// What is told of the row before.
        before: Option<&'a str>,
    },
    /// The row is gone: what is told of it.
    Deleted(Option<&'a str>),
}

/// Reads changes.
#[derive(Debug)]
pub(super) struct ChangeReader {
    names: Names,
}

const OP: usize = 0;
const BEFORE: usize = 1;
const AFTER: usize = 2;
const PAYLOAD: usize = 3;

impl ChangeReader {
    pub(super) fn new() -> ChangeReader {
        ChangeReader { names: Names::new(&["op", "before", "after", "payload"]) }
    }

    /// What the text of a record's value says.
    ///
    /// # Errors
    /// It is no change, or one that is not a row's.
    pub(super) fn read<'a>(&self, text: &'a str) -> Result<Change<'a>, BadRecord> {
        let mut values = self.names.find(text)?;
        if values[OP].is_none()
            && let Some(payload) = values[PAYLOAD].filter(|payload| payload.text.starts_with('{'))
        {
            values = self.names.find(payload.text)?;
        } else if values[OP].is_none() && values[PAYLOAD].is_some_and(|payload| payload.text == "null") {
            // A tombstone that was given a schema.
            return Ok(Change::Deleted(None));
        }
        let object =
            |index: usize| values[index].map(|value: json::Value<'a>| value.text).filter(|text| *text != "null");
        let Some(op) = object(OP) else {
            return Err(BadRecord::whole("the record is no change of Debezium: it has no \"op\""));
        };
        match op {
            "\"c\"" | "\"r\"" | "\"u\"" => match object(AFTER) {
                Some(after) if after.contains(UNAVAILABLE) => Err(BadRecord::whole(
                    "the change does not tell a large value that stayed as it was: set REPLICA IDENTITY FULL for the table",
                )),
                Some(after) => Ok(Change::Row { after, before: object(BEFORE) }),
                None => Err(BadRecord::whole(format!("the change with op {op} has no \"after\""))),
            },
            "\"d\"" => Ok(Change::Deleted(object(BEFORE))),
            "\"t\"" => Err(BadRecord::whole(
                "the table was truncated: its rows stay until they are deleted or overwritten one by one",
            )),
            "\"m\"" => Err(BadRecord::whole("the record is a message of the database, not a change of a row")),
            other => {
                let shown: String = other.chars().take(32).collect();
                Err(BadRecord::whole(format!("the change has the unknown op {shown}")))
            }
        }
    }
}

/// Whether two texts of rows differ in the columns `key`, as far as both tell them, and `before` tells all of it.
///
/// # Errors
/// One of them is no JSON object.
pub(super) fn key_differs(before: &str, after: &str, key: &[usize], columns: &[Column]) -> Result<bool, BadRecord> {
    let (before, after) = (json::find(before, columns)?, json::find(after, columns)?);
    let mut differs = false;
    for index in key {
        match (before[*index], after[*index]) {
            (None, _) => return Ok(false),
            (Some(before), _) if before.text == "null" => return Ok(false),
            (Some(before), Some(after)) => differs |= before.text != after.text,
            (Some(_), None) => {}
        }
    }
    Ok(differs)
}
