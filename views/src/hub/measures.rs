//! Figures of the engine on their way to whoever asks. Every second they are asked for anyway, for metrics and states.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater_dataflow::figures::DataflowFigures;
use headwater_dataflow::repr::ObjectId;
use tokio::sync::{oneshot, watch};

/// The figures of every dataflow, summed over the workers.
pub type Figures = BTreeMap<ObjectId, DataflowFigures>;

/// How often figures are asked for that nobody asked for.
const MEASURE_EVERY: Duration = Duration::from_secs(1);

/// Figures that not all workers have sent.
struct Open {
    sum: Figures,
    missing: usize,
    reply: Option<oneshot::Sender<Arc<Figures>>>,
}

/// What has been asked of the workers.
pub(super) struct Measures {
    workers: usize,
    open: BTreeMap<u64, Open>,
    asked: Instant,
    latest: watch::Sender<Arc<Figures>>,
}

impl Measures {
    /// Of an engine with `workers` workers; `latest` gets all figures as they come.
    pub(super) fn new(workers: usize, latest: watch::Sender<Arc<Figures>>) -> Measures {
        Measures { workers, open: BTreeMap::new(), asked: Instant::now(), latest }
    }

    /// Whether it is time to ask again: the last ones are old, and no others are on their way.
    pub(super) fn due(&self) -> bool {
        self.open.is_empty() && self.asked.elapsed() >= MEASURE_EVERY
    }

    /// Notes that the workers are being asked under the name `id`, by `reply` if somebody waits.
    pub(super) fn ask(&mut self, id: u64, reply: Option<oneshot::Sender<Arc<Figures>>>) {
        self.asked = Instant::now();
        self.open.insert(id, Open { sum: Figures::new(), missing: self.workers, reply });
    }

    /// Takes the figures of one worker.
    pub(super) fn take(&mut self, id: u64, figures: Vec<(ObjectId, DataflowFigures)>) {
        let Some(open) = self.open.get_mut(&id) else { return };
        for (object, figures) in figures {
            *open.sum.entry(object).or_default() += &figures;
        }
        open.missing -= 1;
        if open.missing > 0 {
            return;
        }
        let Some(Open { sum, reply, .. }) = self.open.remove(&id) else { return };
        let sum = Arc::new(sum);
        self.latest.send_replace(Arc::clone(&sum));
        if let Some(reply) = reply {
            // Whoever asked may have gone.
            let _ = reply.send(sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use headwater_dataflow::figures::NodeFigures;

    use super::*;
    use crate::watched::now;

    fn figures(rows: u64) -> DataflowFigures {
        DataflowFigures { nodes: vec![NodeFigures { rows, ..NodeFigures::default() }], ..DataflowFigures::default() }
    }

    #[test]
    fn figures_are_told_when_every_worker_has_sent_its_own() {
        let (latest, known) = watch::channel(Arc::default());
        let mut measures = Measures::new(2, latest);
        let (reply, mut answer) = oneshot::channel();
        measures.ask(1, Some(reply));
        assert!(!measures.due());
        measures.take(1, vec![(ObjectId(7), figures(3)), (ObjectId(8), figures(1))]);
        assert!(answer.try_recv().is_err() && now(&known).is_empty());
        // A dataflow that is being created may be known to one worker before the other.
        measures.take(1, vec![(ObjectId(7), figures(4))]);
        let expected: Figures = [(ObjectId(7), figures(7)), (ObjectId(8), figures(1))].into();
        assert_eq!(*answer.try_recv().unwrap(), expected);
        assert_eq!(*now(&known), expected);
        // An answer to nothing that is open changes nothing.
        measures.take(9, vec![(ObjectId(7), figures(4))]);
        assert_eq!(*now(&known), expected);
    }
}
