//! Dates, timestamps, intervals.

use rand::Rng;

use super::{Class, Expressions, Typed};
use crate::oracle::syntax::{Kind, Node};
use crate::oracle::types::{Facts, SqlType};

fn tame(tame: bool) -> Facts {
    Facts { tame, repeat: 0.2, ..Facts::default() }
}

impl Expressions<'_> {
    pub(super) fn date_literal(&mut self) -> Typed {
        let (month, day) = (self.rng.random_range(1..=12), self.rng.random_range(1..=28));
        let node = Node::leaf(Kind::Date, format!("DATE '2011-{month:02}-{day:02}'"));
        Typed { node, sql_type: SqlType::Date, facts: tame(true) }
    }

    pub(super) fn timestamp_literal(&mut self) -> Typed {
        let (month, hour) = (self.rng.random_range(1..=12), self.rng.random_range(0..24));
        let node = Node::leaf(Kind::Timestamp, format!("TIMESTAMPTZ '2011-{month:02}-05T{hour:02}:00:00Z'"));
        Typed { node, sql_type: SqlType::Timestamp, facts: tame(true) }
    }

    pub(super) fn interval_literal(&mut self) -> Typed {
        let text = self.pick(&["1 day", "3 days", "2 hours", "15 minutes", "1 month", "2 years", "1 day 2 hours"]);
        let node = Node::leaf(Kind::Interval, format!("INTERVAL '{text}'"));
        Typed { node, sql_type: SqlType::Interval, facts: tame(true) }
    }

    pub(super) fn timestamp(&mut self, depth: usize) -> Typed {
        let a = if self.chance(20) {
            let a = self.of(Class::Date, depth);
            if !a.facts.tame {
                return self.simple(Class::Timestamp);
            }
            Typed::new(SqlType::Timestamp, a.facts, "CAST({} AS TIMESTAMPTZ)", [a.node])
        } else {
            self.of(Class::Timestamp, depth)
        };
        if !a.facts.tame {
            return a;
        }
        match self.rng.random_range(0..8) {
            0..4 => {
                let unit =
                    self.pick(&["year", "quarter", "month", "week", "day", "hour", "minute", "second", "millisecond"]);
                Typed::new(SqlType::Timestamp, tame(true), &format!("date_trunc('{unit}', {{}})"), [a.node])
            }
            4..6 => {
                let b = self.simple(Class::Interval);
                let template = self.pick(&["({} + {})", "({} - {})"]);
                Typed::new(SqlType::Timestamp, tame(true), template, [a.node, b.node])
            }
            6 => {
                let template = "date_bin(INTERVAL '15 minutes', {}, TIMESTAMPTZ '2010-01-01T00:00:00Z')";
                Typed::new(SqlType::Timestamp, tame(true), template, [a.node])
            }
            _ => a,
        }
    }

    pub(super) fn date(&mut self, depth: usize) -> Typed {
        if self.chance(60) {
            let a = self.of(Class::Timestamp, depth);
            if a.facts.tame {
                return Typed::new(SqlType::Date, tame(true), "CAST({} AS DATE)", [a.node]);
            }
            return self.simple(Class::Date);
        }
        let a = self.of(Class::Date, depth);
        if !a.facts.tame {
            return a;
        }
        let template = self.pick(&["CAST({} + INTERVAL '1 day' AS DATE)", "CAST(date_trunc('month', {}) AS DATE)"]);
        Typed::new(SqlType::Date, tame(true), template, [a.node])
    }

    /// A number out of a date or a timestamp.
    pub(super) fn calendar(&mut self, depth: usize) -> Typed {
        let class = self.pick(&[Class::Timestamp, Class::Timestamp, Class::Date]);
        let a = self.of(class, depth);
        if !a.facts.tame {
            return self.simple(Class::Int);
        }
        let units: &[&str] = if class == Class::Date {
            &["year", "month", "day", "dow", "doy", "week", "quarter"]
        } else {
            &["year", "month", "day", "dow", "hour", "minute", "week", "quarter"]
        };
        let unit = self.pick(units);
        let facts = Facts { range: Some((-10, 10_000)), repeat: 0.2, ..Facts::default() };
        let template =
            if self.chance(50) { format!("extract({unit} FROM {{}})") } else { format!("date_part('{unit}', {{}})") };
        Typed::new(SqlType::Int, facts, &template, [a.node])
    }
}
