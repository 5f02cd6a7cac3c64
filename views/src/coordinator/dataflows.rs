//! Dataflows: created at the seam, dropped in two phases.
//!
//! ```text
//!  Live ── CloseSink ──► Closing ── every worker ──► Closed ── no importer left: Release ──► Releasing ──► gone
//! ```
//! The names of dropped objects are free as soon as the catalog says so; their dataflows and logs go when those that
//! read them have gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use headwater_dataflow::port::PortFeed;
use headwater_dataflow::protocol::{DataflowDescription, Import, PortForm, PortHandle};
use headwater_dataflow::repr::{CollectionId, ObjectId, Part, Timestamp};

use super::Coordinator;
use super::deploy::{edge_failed, store_failed, with_causes};
use super::progress::CatchUp;
use crate::catalog::{Definition, Object, store};
use crate::control::ControlError;
use crate::hub::Acknowledged;
use crate::sql::{ObjectKind, PlannedView, record_schema};

/// The collection without rows whose ticks only say that time passes.
const CLOCK: ObjectId = ObjectId(0);

/// Where a dataflow is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It computes.
    Live,
    /// Its sinks are being closed.
    Closing,
    /// No worker exports anything of it.
    Closed,
    /// The workers let go of it.
    Releasing,
}

/// A dataflow of the engine.
pub(super) struct Dataflow {
    /// The objects whose collections it imports; that of a table or an enveloped source imports its own log.
    imports: BTreeSet<ObjectId>,
    /// Where its snapshot comes in.
    pub(super) feeds: Vec<PortFeed>,
    pub(super) stage: Stage,
    pub(super) catch_up: CatchUp,
    pub(super) created: Instant,
}

impl Coordinator {
    /// Creates the dataflow of a materialised view as of `as_of`, or of the present tick.
    pub(super) fn create_dataflow(
        &mut self,
        object: &Object,
        planned: &PlannedView,
        as_of: Option<Timestamp>,
    ) -> Result<(), ControlError> {
        let collections: BTreeSet<CollectionId> = planned.imports.iter().copied().collect();
        let through_ports: Vec<CollectionId> =
            collections.iter().copied().filter(|collection| self.comes_through_port(*collection, object.id)).collect();
        let seam = self.parts.ingest.import(&through_ports, as_of).map_err(edge_failed)?;
        let mut ports = seam.ports;
        let mut feeds = Vec::new();
        let mut imports = Vec::new();
        for collection in &collections {
            let collection = *collection;
            let own = collection == object.id.rows();
            let form = match &object.definition {
                Definition::Source { .. } if own => PortForm::Numbered,
                Definition::Table { .. } if own => PortForm::Signed,
                _ => PortForm::Rows,
            };
            let schema = match (&object.definition, self.catalog.get(collection.object)) {
                (Definition::Source { description, .. }, _) if own => record_schema(description),
                (_, Some(read)) => read.columns(collection.part),
                (_, None) if collection.object == object.id => object.columns(collection.part),
                (_, None) => Arc::new(arrow::datatypes::Schema::empty()),
            };
            imports.push(match ports.remove(&collection) {
                Some((feed, reader)) => {
                    feeds.push(feed);
                    Import::Source { collection, schema, port: PortHandle::new(reader), form }
                }
                None => match self.catalog.get(collection.object).map(|read| &read.definition) {
                    Some(Definition::Index { index, .. }) => Import::Index { collection, schema, key: index.key },
                    _ => Import::View { collection, schema },
                },
            });
        }
        let imported: BTreeSet<ObjectId> = collections.iter().map(|collection| collection.object).collect();
        let created = Instant::now();
        let mut sources: BTreeSet<ObjectId> = imported.iter().flat_map(|read| self.catalog.sources(*read)).collect();
        if object.has_log() {
            sources.insert(object.id);
        }
        let dataflow =
            Dataflow { imports: imported, feeds, stage: Stage::Live, catch_up: CatchUp::new(sources), created };
        let description = DataflowDescription {
            object: object.id,
            name: object.name.clone(),
            imports,
            plan: planned.plan.clone(),
            errors: (object.kind() == ObjectKind::Source).then(|| object.id.errors()),
            key: if let Definition::Index { index, .. } = &object.definition { Some(index.key) } else { None },
            as_of: seam.as_of,
        };
        self.parts.hub.create(description, self.parts.history_ms, object.columns(Part::Rows));
        self.dataflows.insert(object.id, dataflow);
        Ok(())
    }

    /// Whether the dataflow of `reader` gets a collection from the log: what no other dataflow maintains.
    fn comes_through_port(&self, collection: CollectionId, reader: ObjectId) -> bool {
        collection.object == CLOCK
            || collection.object == reader
            || self.catalog.get(collection.object).is_some_and(|object| object.maintained().is_none())
    }

    /// Drops an object by name, with its dependents if `cascade`.
    pub(super) fn drop_object(
        &mut self,
        name: &str,
        cascade: bool,
        if_exists: bool,
    ) -> Result<Vec<String>, ControlError> {
        let Some(object) = self.catalog.find(name) else {
            return if if_exists {
                Ok(Vec::new())
            } else {
                Err(ControlError::NotFound { kind: "object", name: name.to_owned() })
            };
        };
        let order = self.catalog.drop_order(object.id);
        if order.len() > 1 && !cascade {
            let dependents = self.catalog.dependents(object.id);
            return Err(ControlError::Dependencies { name: object.name.clone(), dependents });
        }
        let objects: Vec<Arc<Object>> = order.into_iter().filter_map(|id| self.catalog.get(id).cloned()).collect();
        self.drop_objects(&objects)?;
        Ok(objects.iter().map(|object| object.name.clone()).collect())
    }

    /// Drops objects, dependents first: each is out of the catalog before the next one is touched.
    pub(super) fn drop_objects(&mut self, objects: &[Arc<Object>]) -> Result<(), ControlError> {
        for object in objects {
            self.parts.store.append(&store::Change::Drop { id: object.id }).map_err(store_failed)?;
            self.catalog.remove(object.id);
            if let Some(dataflow) = self.dataflows.get_mut(&object.id) {
                dataflow.stage = Stage::Closing;
                self.parts.hub.close(object.id, &format!("{} \"{}\" was dropped", object.kind(), object.name));
            }
            self.writers.remove(&object.id);
            if object.has_log() {
                self.doomed_sources.push(object.id);
            }
        }
        self.release_what_nobody_reads();
        Ok(())
    }

    /// The workers have confirmed a step.
    pub(super) fn acknowledge(&mut self, acknowledged: Acknowledged) {
        match acknowledged {
            Acknowledged::SinkClosed(object) => {
                if let Some(dataflow) = self.dataflows.get_mut(&object) {
                    dataflow.stage = Stage::Closed;
                }
            }
            Acknowledged::Released(object) => drop(self.dataflows.remove(&object)),
        }
        self.release_what_nobody_reads();
    }

    fn release_what_nobody_reads(&mut self) {
        let imports = |(reader, dataflow): (&ObjectId, &Dataflow)| -> Vec<(ObjectId, ObjectId)> {
            dataflow.imports.iter().map(|read| (*read, *reader)).collect()
        };
        let imported: Vec<(ObjectId, ObjectId)> = self.dataflows.iter().flat_map(imports).collect();
        let read: BTreeSet<ObjectId> = imported.iter().map(|(read, _)| *read).collect();
        let read_by_others: BTreeSet<ObjectId> =
            imported.iter().filter(|(read, reader)| read != reader).map(|(read, _)| *read).collect();
        for (object, dataflow) in &mut self.dataflows {
            if dataflow.stage == Stage::Closed && !read_by_others.contains(object) {
                dataflow.stage = Stage::Releasing;
                self.parts.hub.release(*object);
            }
        }
        let (stay, go) = std::mem::take(&mut self.doomed_sources).into_iter().partition(|id| read.contains(id));
        self.doomed_sources = stay;
        for id in go {
            self.remove_source(id);
        }
    }

    /// Stops a dropped source or table and deletes its log. What cannot be deleted is tried again at the next start.
    pub(super) fn remove_source(&self, id: ObjectId) {
        if let Err(error) = self.parts.ingest.remove_source(id) {
            tracing::warn!(object = %id, error = with_causes(&error), "cannot remove the log of a dropped source or table");
        }
    }

    /// How many dataflows the engine holds, those on their way out included.
    pub(super) fn dataflow_stages(&self) -> BTreeMap<ObjectId, Stage> {
        self.dataflows.iter().map(|(object, dataflow)| (*object, dataflow.stage)).collect()
    }
}
