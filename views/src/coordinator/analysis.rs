//! EXPLAIN ANALYZE: the workers are asked for their figures, and the coordinator does not wait for them.

use std::sync::Arc;
use std::time::Duration;

use headwater_dataflow::repr::ObjectId;
use tokio::sync::oneshot;

use super::Coordinator;
use super::answers::text_rows;
use super::plan::analyzed_target;
use crate::catalog::Object;
use crate::control::{ControlError, QueryAnswer, Reply};
use crate::hub::Figures;
use crate::sql::{self, ExplainTarget, Measured};
use crate::watched;

/// What is waited for, and what it is needed for.
struct Analysis {
    object: Arc<Object>,
    figures: oneshot::Receiver<Arc<Figures>>,
    workers: usize,
    age: Duration,
}

impl Analysis {
    /// The plan with its figures, when the workers have answered.
    async fn text(self) -> Result<String, ControlError> {
        let stopping = || ControlError::Unavailable { message: "the server is stopping".to_owned() };
        let figures = self.figures.await.map_err(|_| stopping())?;
        let planned = self.object.maintained().expect("only what is maintained is analysed");
        let none = Default::default();
        let figures = figures.get(&self.object.id).unwrap_or(&none);
        let measured = Measured { figures, workers: self.workers, age: self.age };
        Ok(sql::explain_analyzed(&planned.plan, &planned.names, measured))
    }
}

impl Coordinator {
    /// Answers `reply` with the plan of a view and its figures.
    pub(super) fn explain_analyze(&self, target: &str, reply: Reply<String>) {
        let object = analyzed_target(&self.catalog, &self.target(target));
        match object {
            Ok(object) => {
                let analysis = self.analysis(object);
                self.parts.runtime.spawn(async move {
                    // Whoever asked may have gone.
                    let _ = reply.send(analysis.text().await);
                });
            }
            // Whoever asked may have gone.
            Err(error) => drop(reply.send(Err(ControlError::Sql { origin: "<explain>".to_owned(), error }))),
        }
    }

    /// Asks for the figures of an object for the deployment that waits for them.
    pub(super) fn analysis_of_deployment(&self, object: &Arc<Object>) {
        let (analysis, answers) = (self.analysis(Arc::clone(object)), self.answers.0.clone());
        self.parts.runtime.spawn(async move {
            let answer = analysis.text().await.map(|text| {
                let (schema, batches) = text_rows("plan", text.lines());
                QueryAnswer { at: 0, schema, batches }
            });
            // The coordinator may have ended.
            let _ = answers.send(answer).await;
        });
    }

    fn analysis(&self, object: Arc<Object>) -> Analysis {
        let age = self.dataflows.get(&object.id).map_or(Duration::ZERO, |dataflow| dataflow.created.elapsed());
        Analysis { object, figures: self.parts.hub.measure(), workers: self.parts.workers, age }
    }

    /// A name, or a query.
    pub(super) fn target(&self, target: &str) -> ExplainTarget {
        // Queries have more than one word.
        let named = self.catalog.owner(target).is_some() || target.split_whitespace().count() == 1;
        if named { ExplainTarget::Name(target.to_owned()) } else { ExplainTarget::Query(target.to_owned()) }
    }

    /// The figures of a dataflow as they were at most a second ago.
    pub(super) fn figures(&self, object: ObjectId) -> Option<headwater_dataflow::figures::NodeFigures> {
        watched::now(&self.figures).get(&object).map(headwater_dataflow::figures::DataflowFigures::total)
    }
}
