//! Figures: what the nodes of a dataflow have done, and what they hold. They tell and never decide: no answer depends on
//! them.

use std::ops::AddAssign;
use std::time::Duration;

/// What state holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Rows, groups, keys: whatever the state is made of.
    pub records: u64,
    /// About how much memory it takes. What lies behind places of a table is estimated from some of them.
    pub bytes: u64,
}

impl Held {
    /// `records` that take `bytes`.
    pub(crate) fn new(records: usize, bytes: usize) -> Held {
        let count = |value: usize| u64::try_from(value).unwrap_or(u64::MAX);
        Held { records: count(records), bytes: count(bytes) }
    }

    /// The same records, with `bytes` more.
    pub(crate) fn and_bytes(self, bytes: usize) -> Held {
        Held { records: self.records, bytes: self.bytes + Held::new(0, bytes).bytes }
    }
}

impl AddAssign for Held {
    fn add_assign(&mut self, other: Held) {
        self.records += other.records;
        self.bytes += other.bytes;
    }
}

/// The figures of one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeFigures {
    /// Rows of the changes that have left it.
    pub rows: u64,
    /// The time that workers have spent in it.
    pub elapsed: Duration,
    /// What it holds; `None` if it is stateless.
    pub held: Option<Held>,
}

impl AddAssign for NodeFigures {
    fn add_assign(&mut self, other: NodeFigures) {
        self.rows += other.rows;
        self.elapsed += other.elapsed;
        if let Some(held) = other.held {
            *self.held.get_or_insert_default() += held;
        }
    }
}

/// The figures of a dataflow since it was created, of one worker or summed over several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DataflowFigures {
    /// One for each node of the plan.
    pub nodes: Vec<NodeFigures>,
    /// Of the end, where rows and errors are arranged and exported.
    pub output: NodeFigures,
}

impl DataflowFigures {
    /// All nodes and the end together.
    pub fn total(&self) -> NodeFigures {
        let mut total = NodeFigures::default();
        self.nodes.iter().chain([&self.output]).for_each(|figures| total += *figures);
        total
    }
}

impl AddAssign<&DataflowFigures> for DataflowFigures {
    fn add_assign(&mut self, other: &DataflowFigures) {
        self.nodes.resize_with(self.nodes.len().max(other.nodes.len()), NodeFigures::default);
        self.nodes.iter_mut().zip(&other.nodes).for_each(|(sum, figures)| *sum += *figures);
        self.output += other.output;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_workers_add_up() {
        let figures = |rows, held| NodeFigures { rows, elapsed: Duration::from_nanos(rows), held };
        let held = |records, bytes| Some(Held { records, bytes });
        let mut sum = DataflowFigures::default();
        sum += &DataflowFigures { nodes: vec![figures(3, None), figures(2, held(5, 70))], output: figures(1, None) };
        sum += &DataflowFigures { nodes: vec![figures(4, None), figures(0, held(1, 30))], output: figures(9, None) };
        assert_eq!(sum.nodes, [figures(7, None), figures(2, held(6, 100))]);
        assert_eq!(sum.total(), figures(19, held(6, 100)));
    }
}
