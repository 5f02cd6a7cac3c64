//! Texts.

use rand::Rng;

use super::{Class, Expressions, Typed};
use crate::oracle::types::{Facts, SqlType};

impl Expressions<'_> {
    pub(super) fn text(&mut self, depth: usize) -> Typed {
        let facts = Facts::unknown();
        match self.rng.random_range(0..8) {
            0 => {
                let (a, b) = (self.of(Class::Text, depth), self.of(Class::Text, depth));
                let template = self.pick(&["concat({}, {})", "({} || {})", "replace({}, 'a', {})"]);
                Typed::new(SqlType::Text, facts, template, [a.node, b.node])
            }
            1 | 2 => {
                let class = self.pick(&[Class::Int, Class::Boolean, Class::Date, Class::Decimal, Class::Double]);
                let a = self.of(class, depth);
                if class == Class::Date && !a.facts.tame {
                    return self.simple(Class::Text);
                }
                Typed::new(SqlType::Text, facts, "CAST({} AS TEXT)", [a.node])
            }
            _ => {
                let a = self.of(Class::Text, depth);
                let template = self.pick(&[
                    "upper({})",
                    "lower({})",
                    "trim({})",
                    "reverse({})",
                    "substr({}, 2)",
                    "substr({}, 1, 2)",
                    "left({}, 2)",
                    "right({}, 3)",
                    "lpad({}, 4, '*')",
                    "repeat({}, 2)",
                    "split_part({}, ',', 1)",
                    "initcap({})",
                    "md5({})",
                    "regexp_replace({}, '[a-c]+', 'x')",
                    "translate({}, 'ab', 'ba')",
                ]);
                Typed::new(SqlType::Text, facts, template, [a.node])
            }
        }
    }
}
