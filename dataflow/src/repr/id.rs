//! Names of things that outlive a process: objects of the catalog and the collections they consist of.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A source or a view in the catalog. Never used twice, also not after a drop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectId(pub u64);

impl ObjectId {
    /// The collection of the object's rows.
    pub fn rows(self) -> CollectionId {
        CollectionId { object: self, part: Part::Rows }
    }

    /// The collection of the object's errors, in the shape of [`super::errors_schema`].
    pub fn errors(self) -> CollectionId {
        CollectionId { object: self, part: Part::Errors }
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "o{}", self.0)
    }
}

/// Which of an object's two collections is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Part {
    /// The good rows.
    Rows,
    /// What could not be decoded or computed.
    Errors,
}

/// One collection: the rows or the errors of one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CollectionId {
    /// The object that owns the collection.
    pub object: ObjectId,
    /// Rows or errors.
    pub part: Part,
}

impl fmt::Display for CollectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.part {
            Part::Rows => write!(f, "{}", self.object),
            Part::Errors => write!(f, "{}$errors", self.object),
        }
    }
}
