//! The position of a Kafka source: for each partition the offset of the next record, and which topic it is.
//!
//! Written as compact JSON, for example `{"topic":"6FbR…","next":[[0,4711],[1,52]]}`. The identity tells a topic from one
//! of the same name that was created later; brokers that give none leave it out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::source::{SourceError, SourcePosition};

/// How far a topic was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TopicPosition {
    /// The identity of the topic.
    pub(super) topic: Option<String>,
    /// By partition, the offset of the first record that was not read.
    pub(super) next: BTreeMap<i32, i64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    topic: Option<String>,
    next: Vec<(i32, i64)>,
}

/// Reads a position; `None` is the beginning.
pub(super) fn read(position: &SourcePosition) -> Result<Option<TopicPosition>, SourceError> {
    if position.0.is_empty() {
        return Ok(None);
    }
    let bad = |reason: String| SourceError::Position { position: position.0.clone(), reason };
    let written: Written = serde_json::from_str(&position.0).map_err(|error| bad(error.to_string()))?;
    let mut next = BTreeMap::new();
    for (partition, offset) in written.next {
        if partition < 0 || offset < 0 || next.insert(partition, offset).is_some() {
            return Err(bad(format!("partition {partition} is not one, or there twice, or its offset is none")));
        }
    }
    Ok(Some(TopicPosition { topic: written.topic, next }))
}

/// Writes a position.
pub(super) fn write(position: &TopicPosition) -> SourcePosition {
    let next = position.next.iter().map(|(partition, offset)| (*partition, *offset)).collect();
    let written = Written { topic: position.topic.clone(), next };
    SourcePosition(serde_json::to_string(&written).expect("names and numbers always serialise"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_back_as_written() {
        for text in [r#"{"topic":"6FbR","next":[[0,4711],[5,0]]}"#, r#"{"next":[]}"#] {
            let position = read(&SourcePosition(text.to_owned())).unwrap().unwrap();
            assert_eq!(write(&position).0, text);
        }
        assert_eq!(read(&SourcePosition::default()).unwrap(), None);
    }

    #[test]
    fn what_is_no_position_is_refused() {
        for text in ["x", "{}", r#"{"next":[[0,1],[0,2]]}"#, r#"{"next":[[-1,1]]}"#, r#"{"done":["a.csv"]}"#] {
            let error = read(&SourcePosition(text.to_owned())).unwrap_err();
            assert!(error.to_string().contains(text), "{error}");
        }
    }
}
