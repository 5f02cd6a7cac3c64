//! Meters: what every node of a plan does on this worker, and what it holds.
//!
//! One node may be several operators, and a stateless one none: the operator that reads it takes its step. So there is one
//! stopwatch, which whoever is entered takes over until it is left. That costs two looks at a clock for every schedule of
//! an operator and every chunk in a step; rows are counted a chunk at a time, and state is looked at when somebody asks.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::figures::{DataflowFigures, Held, NodeFigures};
use crate::plan::NodeId;
use crate::repr::Chunk;

/// State that can say what it holds.
pub(super) trait Holds {
    /// What it holds.
    fn held(&self) -> Held;
}

/// What is known of one node.
#[derive(Default)]
struct Node {
    rows: Cell<u64>,
    elapsed: Cell<Duration>,
    states: RefCell<Vec<Rc<RefCell<dyn Holds>>>>,
}

impl Node {
    fn figures(&self) -> NodeFigures {
        let mut figures = NodeFigures { rows: self.rows.get(), elapsed: self.elapsed.get(), held: None };
        for state in &*self.states.borrow() {
            *figures.held.get_or_insert_default() += state.borrow().held();
        }
        figures
    }
}

/// Runs for at most one node at a time.
struct Stopwatch {
    running: RefCell<Option<Rc<Node>>>,
    since: Cell<Instant>,
}

impl Stopwatch {
    /// Hands the stopwatch over; returns who had it.
    fn hand_over(&self, next: Option<Rc<Node>>) -> Option<Rc<Node>> {
        let now = Instant::now();
        let elapsed = now.duration_since(self.since.replace(now));
        let former = self.running.replace(next);
        if let Some(node) = &former {
            node.elapsed.set(node.elapsed.get() + elapsed);
        }
        former
    }
}

/// The meter of one node.
#[derive(Clone)]
pub(crate) struct Meter {
    node: Rc<Node>,
    stopwatch: Rc<Stopwatch>,
    /// Whether what leaves here leaves the node.
    counts: bool,
}

/// While it lives, time passes for a node.
pub(super) struct Busy<'a> {
    stopwatch: &'a Stopwatch,
    interrupted: Option<Rc<Node>>,
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.stopwatch.hand_over(self.interrupted.take());
    }
}

impl Meter {
    /// Lets time pass for this node, and not for whoever is interrupted.
    pub(super) fn enter(&self) -> Busy<'_> {
        Busy { interrupted: self.stopwatch.hand_over(Some(Rc::clone(&self.node))), stopwatch: &self.stopwatch }
    }

    /// Counts the rows of a chunk that leaves.
    pub(super) fn count(&self, chunk: &Chunk) {
        self.count_rows(chunk.delta.len());
    }

    /// Counts rows that leave.
    pub(super) fn count_rows(&self, rows: usize) {
        if self.counts {
            self.node.rows.set(self.node.rows.get() + rows as u64);
        }
    }

    /// The same meter for what does not leave the node yet.
    pub(super) fn inside(&self) -> Meter {
        Meter { counts: false, ..self.clone() }
    }

    /// Makes `state` state of this node, which is looked at between two schedules of its operator.
    pub(super) fn holds<S: Holds + 'static>(&self, state: S) -> Rc<RefCell<S>> {
        let state = Rc::new(RefCell::new(state));
        self.node.states.borrow_mut().push(Rc::<RefCell<S>>::clone(&state));
        state
    }
}

/// The meters of one dataflow.
#[derive(Clone)]
pub(crate) struct Meters {
    nodes: Rc<[Rc<Node>]>,
    output: Rc<Node>,
    stopwatch: Rc<Stopwatch>,
}

impl Meters {
    /// Meters for a plan of `nodes` nodes.
    pub(crate) fn new(nodes: usize) -> Meters {
        let stopwatch = Stopwatch { running: RefCell::default(), since: Cell::new(Instant::now()) };
        Meters {
            nodes: (0..nodes).map(|_| Rc::default()).collect(),
            output: Rc::default(),
            stopwatch: Rc::new(stopwatch),
        }
    }

    fn meter(&self, node: &Rc<Node>) -> Meter {
        Meter { node: Rc::clone(node), stopwatch: Rc::clone(&self.stopwatch), counts: true }
    }

    /// The meter of a node.
    pub(super) fn of(&self, node: NodeId) -> Meter {
        self.meter(&self.nodes[node.0])
    }

    /// The meter of the end of the dataflow.
    pub(crate) fn output(&self) -> Meter {
        self.meter(&self.output)
    }

    /// What they say, where the arrangements at the end hold `arranged`.
    pub(crate) fn figures(&self, arranged: Held) -> DataflowFigures {
        let nodes = self.nodes.iter().map(|node| node.figures()).collect();
        DataflowFigures { nodes, output: NodeFigures { held: Some(arranged), ..self.output.figures() } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spend(duration: Duration) {
        let begin = Instant::now();
        while begin.elapsed() < duration {
            std::hint::spin_loop();
        }
    }

    #[test]
    fn time_passes_for_one_node_at_a_time() {
        let meters = Meters::new(2);
        let (outer, inner) = (meters.of(NodeId(0)), meters.of(NodeId(1)));
        let begin = Instant::now();
        {
            let _outer = outer.enter();
            spend(Duration::from_millis(2));
            {
                let _inner = inner.enter();
                spend(Duration::from_millis(3));
            }
            spend(Duration::from_millis(2));
        }
        let all = begin.elapsed();
        spend(Duration::from_millis(1));
        let figures = meters.figures(Held::default());
        let [outer, inner] = [figures.nodes[0].elapsed, figures.nodes[1].elapsed];
        assert!(outer >= Duration::from_millis(4) && inner >= Duration::from_millis(3), "{outer:?} {inner:?}");
        assert!(outer + inner <= all, "nothing is counted twice: {outer:?} + {inner:?} of {all:?}");
    }

    struct Two;

    impl Holds for Two {
        fn held(&self) -> Held {
            Held { records: 2, bytes: 20 }
        }
    }

    #[test]
    fn a_node_holds_what_its_operators_hold_together() {
        let meters = Meters::new(2);
        let (_left, _right) = (meters.of(NodeId(1)).holds(Two), meters.of(NodeId(1)).holds(Two));
        let figures = meters.figures(Held { records: 7, bytes: 70 });
        assert_eq!(figures.nodes[0].held, None);
        assert_eq!(figures.nodes[1].held, Some(Held { records: 4, bytes: 40 }));
        assert_eq!(figures.total().held, Some(Held { records: 11, bytes: 110 }));
    }
}
