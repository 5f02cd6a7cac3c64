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
            1 => counted("approx_distinct({})", vec![arg.node]),
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

    /// A value of a place in the order of all values.
    fn percentile(&mut self, columns: &[Column], depth: usize) -> Typed {
        if self.chance(15) {
            let arg = self.over(columns).of(Class::Double, depth);
            let template =
                if self.chance(50) { self.within("approx_percentile_cont") } else { "approx_median({})".to_owned() };
            return typed(SqlType::Double, &template, vec![arg.node]);
        }
        if self.chance(40) {
            let arg = self.over(columns).any(depth);
            let template = if self.chance(15) {
                "mode() WITHIN GROUP (ORDER BY {})".to_owned()
            } else {
                self.within("percentile_disc")
            };
            let chosen = Typed { node: Node::new(arg.sql_type.kind(), &template, [arg.node.clone()]), ..arg.clone() };
            let several = self.chance(25) && !matches!(arg.sql_type, SqlType::Boolean | SqlType::Interval);
            return if several { self.greatest(chosen, arg, "percentile_disc", columns) } else { chosen };
        }
        let class = [Class::Double, Class::Double, Class::Int, Class::Decimal][self.rng.random_range(0..4)];
        let arg = self.over(columns).of(class, depth);
        if self.chance(40) {
            let template = if self.chance(30) { "median(DISTINCT {})" } else { "median({})" };
            let facts = if class == Class::Decimal { arg.facts } else { Facts::unknown() };
            let sql_type = if class == Class::Decimal { arg.sql_type } else { SqlType::Double };
            return Typed { node: Node::new(sql_type.kind(), template, [arg.node]), sql_type, facts };
        }
        let template = self.within("percentile_cont");
        let lies = typed(SqlType::Double, &template, vec![arg.node.clone()]);
        if self.chance(30) { self.greatest(lies, arg, "percentile_cont", columns) } else { lies }
    }

    /// Two percentiles of the same values.
    fn greatest(&mut self, mut first: Typed, arg: Typed, name: &str, columns: &[Column]) -> Typed {
        let kind = first.sql_type.kind();
        let mut second = Node::new(kind, &self.within(name), [arg.node]);
        if self.chance(25) {
            let condition = self.over(columns).of(Class::Boolean, 1).node;
            let filter = Node::new(Kind::Clause, " FILTER (WHERE {})", [condition]);
            first.node.push(filter.clone());
            second.push(filter);
        }
        Typed { node: Node::new(kind, "GREATEST({}, {})", [first.node, second]), ..first }
    }

    /// A call with some fraction and direction.
    fn within(&mut self, name: &str) -> String {
        let fraction = ["0", "0.1", "0.25", "0.3", "0.5", "0.75", "0.9", "0.99", "1"][self.rng.random_range(0..9)];
        let direction = if self.chance(35) { " DESC" } else { "" };
        format!("{name}({fraction}) WITHIN GROUP (ORDER BY {{}}{direction})")
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
