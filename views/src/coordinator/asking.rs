//! Asking for the sources of a deployment before it is planned: brokers may take seconds to answer, or not to, and the
//! coordinator does not wait for them.

use headwater_connectors::source::{self, Connector, SourceDescription, SourceError};

use super::Coordinator;
use super::deploy::Deployment;
use super::plan::{described, guarded};
use crate::catalog::Catalog;
use crate::control::Script;
use crate::sql::{self, Statement};

/// What was found when sources were asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Found(Vec<(SourceDescription, Result<(), SourceError>)>);

impl Found {
    /// What was found of a source, if it has been asked for.
    pub(super) fn of(&self, wanted: &SourceDescription) -> Option<&Result<(), SourceError>> {
        let same = |asked: &SourceDescription| SourceDescription { object: wanted.object, ..asked.clone() } == *wanted;
        self.0.iter().find(|(asked, _)| same(asked)).map(|(_, found)| found)
    }
}

/// The sources that the scripts create and that something far away has to be asked for.
fn unasked(catalog: &Catalog, scripts: &[Script]) -> Vec<SourceDescription> {
    let mut sources = Vec::new();
    for script in scripts {
        // What cannot be parsed is refused when it is planned.
        for parsed in guarded(|| sql::parse(&script.text)).unwrap_or_default() {
            if let Statement::CreateSource(create) = parsed.statement
                && let Connector::Kafka(_) = create.connector
                && catalog.find(&create.name).is_none()
            {
                sources.push(described(catalog.next_id(), create));
            }
        }
    }
    sources
}

impl Coordinator {
    /// Begins with a deployment once everything far away that it needs has been asked for.
    pub(super) fn ask(&self, mut deployment: Deployment) -> Option<Deployment> {
        let sources = unasked(&self.catalog, &deployment.scripts);
        if sources.is_empty() {
            return Some(deployment);
        }
        let (base_dir, asked) = (self.parts.base_dir.clone(), self.asked.0.clone());
        self.parts.runtime.spawn_blocking(move || {
            let check = |source: SourceDescription| {
                let found = source::check(&source, &base_dir);
                (source, found)
            };
            deployment.found = Found(sources.into_iter().map(check).collect());
            // The server may be stopping; then whoever asked learns from the dropped reply.
            let _ = asked.send(deployment);
        });
        None
    }
}
