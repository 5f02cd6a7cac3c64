//! One case: tables, their history, and views over them and over each other, all out of one seed.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::expressions::{Class, Expressions, Typed};
use super::history::History;
use super::queries::{Queries, Query, Relation};
use super::syntax::{Kind, Node};
use super::tables::{self, Table};
use super::types::Column;

/// What is run and compared.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) seed: u64,
    pub(crate) tables: Vec<Table>,
    pub(crate) history: History,
    /// Views that are inlined where they are used.
    pub(crate) inlined: Vec<(String, Node)>,
    pub(crate) views: Vec<View>,
    /// Arrangements keep everything (true) or almost nothing readable.
    pub(crate) long_history: bool,
}

/// A view of a case.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) name: String,
    pub(crate) check: Check,
    /// The change whose time, or one shortly after it, is the dataflow's `as_of`.
    pub(crate) as_of: usize,
    /// How many changes were fed before the dataflow is created: at least as many as `as_of` needs.
    pub(crate) created: usize,
}

/// What a view computes and how its answer is judged.
#[derive(Clone, Debug)]
pub(crate) enum Check {
    /// Nothing in it can fail: the rows equal the batch, and there are no errors.
    Whole(Node),
    /// `top` over the rows of `core`, which cannot fail itself. Rows on which `probe` fails are errors, one each; the
    /// rows equal `top` over the others.
    Probe { core: Node, probe: Node, top: Node },
    /// `top` groups the rows of `core` by their first column. Groups on which it fails are one error each; the rows
    /// equal `top` over the other groups.
    Groups { core: Node, top: Node },
    /// Anything can fail anywhere: where neither the batch nor the view has an error, the rows are equal.
    Loose(Node),
}

impl Check {
    /// The text of the view.
    pub(crate) fn sql(&self) -> String {
        match self {
            Check::Whole(query) | Check::Loose(query) => query.sql(),
            Check::Probe { core, top, .. } | Check::Groups { core, top } => {
                format!("WITH core AS ({}) {}", core.sql(), top.sql())
            }
        }
    }

    /// Smaller texts that are judged in the same way.
    pub(crate) fn smaller(&self) -> Vec<Check> {
        match self {
            Check::Whole(query) => query.smaller().into_iter().map(Check::Whole).collect(),
            Check::Loose(query) => query.smaller().into_iter().map(Check::Loose).collect(),
            Check::Probe { core, probe, top } => core
                .smaller()
                .into_iter()
                .map(|core| Check::Probe { core, probe: probe.clone(), top: top.clone() })
                .collect(),
            Check::Groups { core, top } => {
                core.smaller().into_iter().map(|core| Check::Groups { core, top: top.clone() }).collect()
            }
        }
    }
}

impl Case {
    /// The case of a seed.
    pub(crate) fn new(seed: u64) -> Case {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let rng = &mut rng;
        let big = rng.random_bool(0.06);
        let tables: Vec<Table> = (0..rng.random_range(1..=4))
            .map(|index| {
                let big = big && index == 0;
                tables::table(rng, format!("t{index}"), big)
            })
            .collect();
        let history = History::random(rng, &tables);
        let mut relations: Vec<Relation> = tables
            .iter()
            .map(|table| Relation {
                name: table.name.clone(),
                columns: table.columns.clone(),
                rows: table.rows_max as f64,
            })
            .collect();
        let mut inlined = Vec::new();
        if rng.random_bool(0.12) {
            let query = Queries::new(rng, relations.clone()).query(1);
            inlined.push(("n0".to_owned(), query.node));
            relations.push(Relation { name: "n0".to_owned(), columns: query.columns, rows: query.rows });
        }
        let count = [1, 1, 1, 1, 1, 1, 2, 2, 2, 3][rng.random_range(0..10)];
        let long_history = rng.random_bool(0.7);
        let mut views = Vec::new();
        let mut earliest = 0;
        for index in 0..count {
            let (check, query) = check(rng, relations.clone());
            let as_of = rng.random_range(earliest..history.changes.len());
            let created = if long_history && rng.random_bool(0.3) {
                rng.random_range(as_of..history.changes.len())
            } else {
                as_of
            };
            let name = format!("v{index}");
            if let Some(query) = query {
                // Mostly seen by the next view.
                let relation = Relation { name: name.clone(), columns: query.columns, rows: query.rows };
                relations.extend(vec![relation; relations.len()]);
                earliest = as_of;
            }
            views.push(View { name, check, as_of, created });
        }
        // A view is created after those it may read.
        let mut created = 0;
        for view in &mut views {
            created = created.max(view.created);
            view.created = created;
            if !long_history {
                view.as_of = created;
            }
        }
        Case { seed, tables, history, inlined, views, long_history }
    }

    /// Smaller cases.
    pub(crate) fn smaller(&self) -> Vec<Case> {
        let mut found = Vec::new();
        for index in (0..self.views.len()).rev() {
            let mut less = self.clone();
            less.views.remove(index);
            if !less.views.is_empty() {
                found.push(less);
            }
        }
        for index in 0..self.views.len() {
            for check in self.views[index].check.smaller() {
                let mut less = self.clone();
                less.views[index].check = check;
                found.push(less);
            }
        }
        let created: Vec<usize> = self.views.iter().map(|view| view.created).collect();
        for history in self.history.smaller(&created) {
            found.push(Case { history, ..self.clone() });
        }
        found
    }
}

/// A random view's query and judgement; the query too if other views may read it.
fn check(rng: &mut ChaCha8Rng, relations: Vec<Relation>) -> (Check, Option<Query>) {
    let mut queries = Queries::new(rng, relations);
    match queries.rng.random_range(0..20) {
        0..3 => (probed(&mut queries), None),
        3 => (groups(&mut queries), None),
        4 => {
            let query = queries.query(1);
            let expressions = &mut Expressions { rng: queries.rng, columns: &query.columns };
            let risky = expressions.risky();
            let condition = expressions.of(Class::Boolean, 1);
            let template = "SELECT q.*, {} AS risk FROM ({}) AS q WHERE {}";
            let inner = Node::new(Kind::Query, template, [risky.node, query.node, condition.node]);
            let template = "SELECT COUNT(*) AS n, MIN(q.risk) AS least FROM ({}) AS q GROUP BY q.c0";
            (Check::Loose(Node::new(Kind::Query, template, [inner])), None)
        }
        5 => {
            let query = queries.query(1);
            (Check::Whole(queries.nested(query)), None)
        }
        _ => {
            let query = queries.query(2);
            (Check::Whole(query.node.clone()), Some(query))
        }
    }
}

fn probed(queries: &mut Queries<'_>) -> Check {
    // A condition may be evaluated below a join or a group, on rows that never come out: only flat cores have one.
    let flat = queries.rng.random_bool(0.5);
    let (core, columns) = if flat {
        let relation = queries.relations[queries.rng.random_range(0..queries.relations.len())].clone();
        (Node::new(Kind::Query, &format!("SELECT * FROM {}", relation.name), []), relation.columns)
    } else {
        let query = queries.query(1);
        (query.node, query.columns)
    };
    let mut expressions = Expressions { rng: queries.rng, columns: &columns };
    let expressions = &mut expressions;
    let kept = expressions.any_column();
    let first = expressions.risky();
    match expressions.rng.random_range(0..3) {
        0 if flat && !queries_inlined(&core) => {
            let risky = match Class::of(first.sql_type) {
                Class::Boolean => first.node,
                // Not IS NOT NULL: for what cannot be NULL that is true without a look at the value.
                _ => Node::new(Kind::Boolean, "CAST({} AS TEXT) <> 'none'", [first.node]),
            };
            let top = Node::new(Kind::Query, "SELECT {} AS c0 FROM core WHERE {}", [kept.node, risky]);
            Check::Probe { core, probe: top.clone(), top }
        }
        1 => {
            let probe =
                Node::new(Kind::Query, "SELECT {} AS a, {} AS b FROM core", [kept.node.clone(), first.node.clone()]);
            let template = "SELECT {} AS c0, COUNT({}) AS c1, COUNT(DISTINCT {}) AS c2 FROM core GROUP BY 1";
            let top = Node::new(Kind::Query, template, [kept.node, first.node.clone(), first.node]);
            Check::Probe { core, probe, top }
        }
        _ => {
            let second = if expressions.rng.random_bool(0.3) { expressions.risky() } else { expressions.any(2) };
            let template = "SELECT {} AS c0, {} AS c1, {} AS c2 FROM core";
            let top = Node::new(Kind::Query, template, [kept.node, first.node, second.node]);
            Check::Probe { core, probe: top.clone(), top }
        }
    }
}

/// Whether the core reads a view that is inlined, and so is not flat.
fn queries_inlined(core: &Node) -> bool {
    core.sql().ends_with("FROM n0")
}

fn groups(queries: &mut Queries<'_>) -> Check {
    let query = queries.query(1);
    let numbers: Vec<&Column> = query.columns.iter().filter(|column| column.sql_type.is_int()).collect();
    let arg = match numbers.get(queries.rng.random_range(0..numbers.len().max(1))) {
        Some(column) => Typed::column(column).node,
        None => Node::leaf(Kind::Number, "length(CAST(c0 AS TEXT))"),
    };
    // Sums of a few rows fit, sums of more do not.
    let arg = Node::new(Kind::Number, "CASE WHEN {} > 1 THEN 4611686018427387000 ELSE 1 END", [arg]);
    let template = "SELECT c0, SUM({}) AS total, COUNT(*) AS n FROM core GROUP BY c0";
    let top = Node::new(Kind::Query, template, [arg]);
    Check::Groups { core: query.node, top }
}
