//! EXPLAIN ANALYZE: the plan, and behind every operator what it has done and holds.

use std::collections::BTreeMap;
use std::time::Duration;

use headwater_dataflow::figures::{DataflowFigures, Held, NodeFigures};
use headwater_dataflow::plan::{Op, Plan};
use headwater_dataflow::repr::CollectionId;

use super::tree;

/// Where figures come from.
#[derive(Clone, Copy, Debug)]
pub struct Measured<'a> {
    /// Summed over the workers.
    pub figures: &'a DataflowFigures,
    /// How many workers.
    pub workers: usize,
    /// How long the dataflow has existed.
    pub age: Duration,
}

/// Shows a plan with its figures. `names` has the names of the collections it reads.
pub fn explain_analyzed(plan: &Plan, names: &BTreeMap<CollectionId, String>, measured: Measured<'_>) -> String {
    let Measured { figures, workers, age } = measured;
    let nodes: Vec<String> =
        (0..plan.nodes.len()).map(|index| node_text(&figures.nodes.get(index).copied().unwrap_or_default())).collect();
    let output = node_text(&figures.output);
    let tree = tree(plan, names, Some(&nodes), 1);
    let total = figures.total();
    let gets = plan.nodes.iter().zip(&figures.nodes).filter(|(node, _)| matches!(node.op, Op::Get { .. }));
    let rows_in: u64 = gets.map(|(_, figures)| figures.rows).sum();
    let workers = if workers == 1 { "1 worker".to_owned() } else { format!("{workers} workers") };
    format!(
        "Output (arranged, with its errors){output}\n{tree}\
         Total: {rows_in} rows in, {} rows out, {} of {workers} in {}, holds {}\n",
        figures.output.rows,
        millis(total.elapsed),
        seconds(age),
        held(total.held.unwrap_or_default()),
    )
}

/// The figures of one operator.
fn node_text(NodeFigures { rows, elapsed, held: state }: &NodeFigures) -> String {
    let state = state.map(|state| format!(", holds {}", held(state))).unwrap_or_default();
    format!("  (rows={rows} time={}{state})", millis(*elapsed))
}

fn held(Held { records, bytes }: Held) -> String {
    let noun = if records == 1 { "record" } else { "records" };
    format!("{records} {noun} in {}", size(bytes))
}

fn millis(elapsed: Duration) -> String {
    format!("{:.3} ms", elapsed.as_secs_f64() * 1_000.0)
}

fn seconds(age: Duration) -> String {
    format!("{:.1} s", age.as_secs_f64())
}

/// Bytes in the largest unit of which there is at least one.
fn size(bytes: u64) -> String {
    const STEP: u64 = 1 << 10;
    let mut unit = STEP;
    if bytes < unit {
        return format!("{bytes} B");
    }
    for name in ["KiB", "MiB", "GiB"] {
        if bytes < unit * STEP {
            return format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit);
        }
        unit *= STEP;
    }
    format!("{}.{} TiB", bytes / unit, bytes % unit * 10 / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        let texts = [0, 1_023, 1_024, 1_600, 1 << 20, 5 << 30, 3 << 40].map(size);
        assert_eq!(texts, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1.0 MiB", "5.0 GiB", "3.0 TiB"]);
    }

    #[test]
    fn an_operator_without_state_holds_nothing() {
        let figures = NodeFigures { rows: 3, elapsed: Duration::from_micros(1_500), held: None };
        assert_eq!(node_text(&figures), "  (rows=3 time=1.500 ms)");
        let held = Some(Held { records: 1, bytes: 70 });
        assert_eq!(node_text(&NodeFigures { held, ..figures }), "  (rows=3 time=1.500 ms, holds 1 record in 70 B)");
    }
}
