//! The catalog: every object by name and by id, with what it reads. Plain data; [`store`] makes it durable.
//!
//! An object reads only objects with smaller ids, because ids grow and a statement sees only what was there before it.
//! So "dependents first" is simply "larger ids first".

pub mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use headwater_connectors::source::{Pace, SourceDescription};
use headwater_dataflow::plan::Index;
use headwater_dataflow::repr::{CollectionId, ObjectId, Part, errors_schema};

use crate::sql::{NamedIndex, ObjectKind, PlannedView, Relation, RelationKind, Relations, Table};

/// The ending of the name of an object's errors relation.
pub const ERRORS_SUFFIX: &str = "$errors";

/// One object.
#[derive(Clone, Debug)]
pub struct Object {
    /// Its id.
    pub id: ObjectId,
    /// Its name.
    pub name: String,
    /// The exact text of the statement that created it.
    pub sql: String,
    /// What it is.
    pub definition: Definition,
    /// Its columns.
    pub schema: SchemaRef,
    /// Whether its rows never retract.
    pub append_only: bool,
    /// The objects that its definition names.
    pub reads: BTreeSet<ObjectId>,
}

/// What stands behind an object.
#[derive(Clone, Debug)]
pub enum Definition {
    /// Rows from outside.
    Source {
        /// What is read, and how.
        description: SourceDescription,
        /// How the rows of an enveloped source are maintained.
        table: Option<Box<PlannedView>>,
    },
    /// Rows that statements bring.
    Table {
        /// What was declared.
        table: Arc<Table>,
        /// How the rows are maintained.
        planned: Box<PlannedView>,
    },
    /// A name for a query.
    View {
        /// The query.
        query: String,
    },
    /// A query whose answer is maintained.
    MaterializedView(Box<PlannedView>),
    /// Rows of another object once more, found by some of their columns.
    Index {
        /// Of what, by what.
        index: Index,
        /// How it is maintained.
        planned: Box<PlannedView>,
    },
}

impl Object {
    /// What the object is.
    pub fn kind(&self) -> ObjectKind {
        match self.definition {
            Definition::Source { .. } => ObjectKind::Source,
            Definition::Table { .. } => ObjectKind::Table,
            Definition::View { .. } => ObjectKind::View,
            Definition::MaterializedView(_) => ObjectKind::MaterializedView,
            Definition::Index { .. } => ObjectKind::Index,
        }
    }

    /// The same source at another pace; `None` if it is no source.
    pub fn at_pace(&self, pace: Pace) -> Option<Object> {
        let Definition::Source { description, table } = &self.definition else { return None };
        let description = SourceDescription { pace, ..description.clone() };
        Some(Object { definition: Definition::Source { description, table: table.clone() }, ..self.clone() })
    }

    /// How a dataflow maintains the object, if one does: materialised views, tables, indexes and enveloped sources. Other sources
    /// are read from the log.
    pub fn maintained(&self) -> Option<&PlannedView> {
        match &self.definition {
            Definition::Source { table, .. } => table.as_deref(),
            Definition::View { .. } => None,
            Definition::Table { planned, .. }
            | Definition::MaterializedView(planned)
            | Definition::Index { planned, .. } => Some(planned),
        }
    }

    /// Whether its rows stand in a log of its own: sources and tables.
    pub fn has_log(&self) -> bool {
        matches!(self.kind(), ObjectKind::Source | ObjectKind::Table)
    }

    /// The columns of one of its collections.
    pub fn columns(&self, part: Part) -> SchemaRef {
        match part {
            Part::Rows => SchemaRef::clone(&self.schema),
            Part::Errors => errors_schema(),
        }
    }
}

/// All objects. Cloning is cheap: objects are shared.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    objects: BTreeMap<ObjectId, Arc<Object>>,
    names: BTreeMap<String, ObjectId>,
    last_id: u64,
}

impl Catalog {
    /// The id that the next object will get. An id is never given twice.
    pub fn next_id(&self) -> ObjectId {
        ObjectId(self.last_id + 1)
    }

    /// Notes that `id` has been used, by an object that may be gone.
    pub fn reserve(&mut self, id: ObjectId) {
        self.last_id = self.last_id.max(id.0);
    }

    /// Adds an object. Panics if its name is taken or its id was used: the caller has checked both.
    pub fn insert(&mut self, object: Arc<Object>) {
        assert!(object.id >= self.next_id(), "ids grow");
        self.reserve(object.id);
        let former = self.names.insert(object.name.clone(), object.id);
        assert!(former.is_none(), "names are taken once");
        self.objects.insert(object.id, object);
    }

    /// Removes an object.
    pub fn remove(&mut self, id: ObjectId) -> Option<Arc<Object>> {
        let object = self.objects.remove(&id)?;
        self.names.remove(&object.name);
        Some(object)
    }

    /// Puts an object in the place of the one with its id and name. Panics if there is none: the caller has looked.
    pub fn replace(&mut self, object: Arc<Object>) {
        let former = self.objects.insert(object.id, object);
        assert!(former.is_some(), "only what is there is replaced");
    }

    /// The object with that exact name, or with that name in lower case, as an unquoted name in SQL is meant.
    pub fn find(&self, name: &str) -> Option<&Arc<Object>> {
        let id = self.names.get(name).or_else(|| self.names.get(&name.to_lowercase()))?;
        self.objects.get(id)
    }

    /// The object with that id.
    pub fn get(&self, id: ObjectId) -> Option<&Arc<Object>> {
        self.objects.get(&id)
    }

    /// All objects in the order of their creation.
    pub fn objects(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.objects.values()
    }

    /// All objects in the order of their names.
    pub fn by_name(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.names.values().filter_map(|id| self.objects.get(id))
    }

    /// The collection that a name stands for and its object: `name`, or `name$errors`. Views have none, and
    /// those of an index are nobody's business.
    pub fn collection(&self, name: &str) -> Option<(CollectionId, &Arc<Object>)> {
        let (object, part) = match self.find(name) {
            Some(object) => (object, Part::Rows),
            None => (self.find(name.strip_suffix(ERRORS_SUFFIX)?)?, Part::Errors),
        };
        let collection = CollectionId { object: object.id, part };
        (!matches!(object.kind(), ObjectKind::View | ObjectKind::Index)).then_some((collection, object))
    }

    /// The object that a name that was found in a query belongs to.
    pub fn owner(&self, name: &str) -> Option<&Arc<Object>> {
        self.find(name).or_else(|| self.find(name.strip_suffix(ERRORS_SUFFIX)?))
    }

    /// The names of the objects that read `id` directly.
    pub fn dependents(&self, id: ObjectId) -> Vec<String> {
        self.objects.values().filter(|object| object.reads.contains(&id)).map(|object| object.name.clone()).collect()
    }

    /// `id` and everything that depends on it, dependents first.
    pub fn drop_order(&self, id: ObjectId) -> Vec<ObjectId> {
        let mut doomed = BTreeSet::from([id]);
        for object in self.objects.range(id..).map(|(_, object)| object) {
            if !object.reads.is_disjoint(&doomed) {
                doomed.insert(object.id);
            }
        }
        doomed.into_iter().rev().collect()
    }

    /// The sources and tables that `id` reads, directly or through views; `id` itself if it is one.
    pub fn sources(&self, id: ObjectId) -> BTreeSet<ObjectId> {
        let mut found = BTreeSet::new();
        let mut open = vec![id];
        let mut seen = BTreeSet::new();
        while let Some(object) = open.pop().filter(|id| seen.insert(*id)).and_then(|id| self.objects.get(&id)) {
            if object.has_log() {
                found.insert(object.id);
            }
            open.extend(object.reads.iter().copied().filter(|id| !seen.contains(id)));
        }
        found
    }
}

impl Relations for Catalog {
    fn relation(&self, name: &str) -> Option<Relation> {
        let object = match self.names.get(name) {
            Some(id) => self.objects.get(id)?,
            None => {
                let owner = self.objects.get(self.names.get(name.strip_suffix(ERRORS_SUFFIX)?)?)?;
                let append_only = match owner.kind() {
                    ObjectKind::Source => true,
                    ObjectKind::MaterializedView | ObjectKind::Table => false,
                    ObjectKind::View | ObjectKind::Index => return None,
                };
                let collection = owner.id.errors();
                let kind = RelationKind::Collection { collection, schema: errors_schema(), append_only };
                return Some(Relation { name: name.to_owned(), kind });
            }
        };
        let kind = match &object.definition {
            Definition::View { query } => RelationKind::View { query: query.clone() },
            Definition::Index { index, .. } => {
                let of = self.objects.get(&index.of.object).map_or_else(String::new, |object| object.name.clone());
                RelationKind::Index { of }
            }
            Definition::Source { .. } | Definition::Table { .. } | Definition::MaterializedView(_) => {
                RelationKind::Collection {
                    collection: object.id.rows(),
                    schema: SchemaRef::clone(&object.schema),
                    append_only: object.append_only,
                }
            }
        };
        Some(Relation { name: object.name.clone(), kind })
    }

    fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for object in self.by_name().filter(|object| object.kind() != ObjectKind::Index) {
            names.push(object.name.clone());
            if object.kind() != ObjectKind::View {
                names.push(format!("{}{ERRORS_SUFFIX}", object.name));
            }
        }
        names
    }

    fn indexes(&self, collection: CollectionId) -> Vec<NamedIndex> {
        let index = |object: &Arc<Object>| match &object.definition {
            Definition::Index { index, .. } if index.of == collection => {
                Some(NamedIndex { name: object.name.clone(), index: index.clone() })
            }
            _ => None,
        };
        self.objects.range(collection.object..).filter_map(|(_, object)| index(object)).collect()
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    fn view(id: u64, name: &str, reads: &[u64]) -> Arc<Object> {
        Arc::new(Object {
            id: ObjectId(id),
            name: name.to_owned(),
            sql: format!("CREATE VIEW {name} AS SELECT 1"),
            definition: Definition::View { query: "SELECT 1".to_owned() },
            schema: Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)])),
            append_only: false,
            reads: reads.iter().map(|id| ObjectId(*id)).collect(),
        })
    }

    fn diamond() -> Catalog {
        let mut catalog = Catalog::default();
        for object in
            [view(1, "a", &[]), view(2, "b", &[1]), view(3, "c", &[1]), view(4, "d", &[2, 3]), view(5, "e", &[])]
        {
            catalog.insert(object);
        }
        catalog
    }

    #[test]
    fn dependents_are_dropped_first() {
        let catalog = diamond();
        let ids = |id| catalog.drop_order(ObjectId(id)).into_iter().map(|id| id.0).collect::<Vec<_>>();
        assert_eq!(ids(1), [4, 3, 2, 1]);
        assert_eq!(ids(2), [4, 2]);
        assert_eq!(ids(5), [5]);
        assert_eq!(catalog.dependents(ObjectId(1)), ["b", "c"]);
    }

    #[test]
    fn ids_are_never_given_twice() {
        let mut catalog = diamond();
        catalog.remove(ObjectId(5));
        assert_eq!(catalog.next_id(), ObjectId(6));
        assert!(catalog.find("e").is_none());
        catalog.insert(view(6, "e", &[]));
        assert_eq!(catalog.find("E").map(|object| object.id), Some(ObjectId(6)));
    }
}
