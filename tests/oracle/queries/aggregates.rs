//! Aggregates beyond COUNT, SUM, AVG, MIN and MAX: over an order, over different values, of bits, of statistics.

use rand::Rng;

use super::Queries;
use super::group::{mean_type, sum_type};
use crate::oracle::expressions::{Class, Typed};
use crate::oracle::syntax::{Kind, Node};
use crate::oracle::types::{Column, Facts, SqlType};

impl Queries<'_> {
    /// One such aggregate over `columns`, without a FILTER.
    pub(super) fn other_aggregate(&mut self, columns: &[Column]) -> Typed {
        let depth = usize::from(self.chance(25));
        match self.rng.random_range(0..16) {
            0..3 => self.concatenated(columns, depth),
            3..5 => self.chosen(columns, depth),
            5..7 => self.different(columns, depth),
            7..9 => self.bits(columns, depth),
            9 | 10 => {
                let name = if self.chance(50) { "bool_and({})" } else { "bool_or({})" };
                let arg = self.over(columns).of(Class::Boolean, 1);
                typed(SqlType::Boolean, name, vec![arg.node])
            }
            11 | 12 => self.percentile(columns, depth),
            _ => self.statistic(columns, depth),
        }
    }

    /// A text of all values.
    fn concatenated(&mut self, columns: &[Column], depth: usize) -> Typed {
        let arg = self.over(columns).any(depth).node;
        let text = Node::new(Kind::Text, "CAST({} AS TEXT)", [arg]);
        let distinct = self.chance(25);
        let order = match (distinct, self.rng.random_range(0..3)) {
            (_, 0) => Node::leaf(Kind::Clause, ""),
            (true, _) => self.ordered_by(vec![text.clone()]),
            (false, _) => self.order(columns),
        };
        let word = if distinct { "DISTINCT " } else { "" };
        let template = match self.rng.random_range(0..4) {
            0 => format!("array_to_string(array_agg({word}{{}}{{}}), '|', 'null')"),
            1 => format!("CAST(cardinality(array_agg({word}{{}}{{}})) AS TEXT)"),
            _ => format!("string_agg({word}{{}}, ','{{}})"),
        };
        typed(SqlType::Text, &template, vec![text, order])
    }

    /// ` ORDER BY` some expressions.
    fn order(&mut self, columns: &[Column]) -> Node {
        let count = if self.chance(75) { 1 } else { 2 };
        let keys = (0..count).map(|_| self.over(columns).any(1).node).collect();
        self.ordered_by(keys)
    }

    fn ordered_by(&mut self, keys: Vec<Node>) -> Node {
        let mut directed = Vec::new();
        for key in keys {
            let direction = ["", " DESC", " NULLS FIRST", " DESC NULLS LAST"][self.rng.random_range(0..4)];
            directed.push(Node::new(Kind::Clause, &format!("{{}}{direction}"), [key]));
        }
        Node::new(Kind::Clause, " ORDER BY {}", [Node::list(", ", directed)])
    }

    /// The value of one row.
    fn chosen(&mut self, columns: &[Column], depth: usize) -> Typed {
        let arg = self.over(columns).any(depth);
        let order = if self.chance(80) { self.order(columns) } else { Node::leaf(Kind::Clause, "") };
        let template = match self.rng.random_range(0..5) {
            0 => "first_value({}{})",
            1 => "last_value({}{})",
            2 => "first_value({}{}) IGNORE NULLS",
            3 => "nth_value({}, 2{})",
            _ => "nth_value({}, -1{})",
        };
        Typed { node: Node::new(arg.sql_type.kind(), template, [arg.node, order]), ..arg }
    }

    /// A function of different values.
    fn different(&mut self, columns: &[Column], depth: usize) -> Typed {
        let arg = self.over(columns).any(depth);
        let counted = |template: &str, children| {
            let facts = Facts { range: Some((0, 100_000)), repeat: 0.3, ..Facts::default() };
            Typed { node: Node::new(Kind::Number, template, children), sql_type: SqlType::BigInt, facts }
        };
        match self.rng.random_range(0..5) {
            0 => {
                let second = self.over(columns).any(depth);
                counted("COUNT(DISTINCT {}, {})", vec![arg.node, second.node])
            }
            1 => counted("CAST(approx_distinct({}) AS BIGINT)", vec![arg.node]),
            2 => match mean_type(&arg) {
                Some((sql_type, facts)) => {
                    Typed { node: Node::new(sql_type.kind(), "AVG(DISTINCT {})", [arg.node]), sql_type, facts }
                }
                None => counted("COUNT(DISTINCT {})", vec![arg.node]),
            },
            _ => match sum_type(&arg) {
                Some((sql_type, facts)) => {
                    Typed { node: Node::new(sql_type.kind(), "SUM(DISTINCT {})", [arg.node]), sql_type, facts }
                }
                None => counted("COUNT(DISTINCT {})", vec![arg.node]),
            },
        }
    }

    fn bits(&mut self, columns: &[Column], depth: usize) -> Typed {
        let arg = self.over(columns).of(Class::Int, depth);
        let template =
            ["bit_and({})", "bit_or({})", "bit_xor({})", "bit_xor(DISTINCT {})"][self.rng.random_range(0..4)];
        Typed { node: Node::new(Kind::Number, template, [arg.node]), facts: Facts::unknown(), ..arg }
    }

    fn percentile(&mut self, columns: &[Column], depth: usize) -> Typed {
        if self.chance(25) {
            let arg = self.over(columns).any(depth);
            let template = match self.rng.random_range(0..3) {
                0 => "percentile_disc(0.4) WITHIN GROUP (ORDER BY {})",
                1 => "percentile_disc(0.8) WITHIN GROUP (ORDER BY {} DESC)",
                _ => "mode() WITHIN GROUP (ORDER BY {})",
            };
            return Typed { node: Node::new(arg.sql_type.kind(), template, [arg.node]), ..arg };
        }
        let arg = self.over(columns).of(Class::Double, depth);
        let template = match self.rng.random_range(0..6) {
            0 => "median({})",
            1 => "median(DISTINCT {})",
            2 => "percentile_cont(0.3) WITHIN GROUP (ORDER BY {})",
            3 => "percentile_cont(0.9) WITHIN GROUP (ORDER BY {} DESC)",
            4 => "approx_percentile_cont(0.75) WITHIN GROUP (ORDER BY {})",
            _ => "approx_median({})",
        };
        typed(SqlType::Double, template, vec![arg.node])
    }

    fn statistic(&mut self, columns: &[Column], depth: usize) -> Typed {
        let class = if self.chance(60) { Class::Double } else { Class::Int };
        let arg = self.over(columns).of(class, depth);
        const ONE: [&str; 5] =
            ["var_pop({})", "var_samp({})", "stddev_pop({})", "stddev({})", "stddev_samp(DISTINCT {})"];
        const TWO: [&str; 9] = [
            "covar_pop({}, {})",
            "covar_samp({}, {})",
            "corr({}, {})",
            "regr_slope({}, {})",
            "regr_intercept({}, {})",
            "regr_r2({}, {})",
            "regr_avgx({}, {})",
            "regr_sxx({}, {})",
            "CAST(regr_count({}, {}) AS DOUBLE)",
        ];
        if self.chance(50) {
            return typed(SqlType::Double, ONE[self.rng.random_range(0..ONE.len())], vec![arg.node]);
        }
        let second = self.over(columns).of(Class::Double, depth);
        typed(SqlType::Double, TWO[self.rng.random_range(0..TWO.len())], vec![arg.node, second.node])
    }
}

fn typed(sql_type: SqlType, template: &str, children: Vec<Node>) -> Typed {
    Typed { node: Node::new(sql_type.kind(), template, children), sql_type, facts: Facts::unknown() }
}
