//! Window functions, the first rows of partitions, DISTINCT ON and LIMIT.
//!
//! Where an answer depends on the order of peers the order has all columns, so that only copies of a row are peers.

use rand::Rng;
use rand::seq::{IndexedRandom, IteratorRandom, SliceRandom};

use super::{Queries, Query};
use crate::oracle::syntax::{Kind, Node};
use crate::oracle::types::{Column, Facts, SqlType};

impl Queries<'_> {
    /// A query over the ordered rows of another.
    pub(super) fn windowed(&mut self, depth: usize) -> Query {
        let inner = if self.chance(60) { self.whole() } else { self.query(depth - 1) };
        let total = inner.columns.iter().all(|column| column.sql_type != SqlType::Interval);
        match self.rng.random_range(0..10) {
            0..2 if total => self.limited(inner),
            2..4 if total => self.first_of_each(inner),
            4 if total => self.distinct_on(inner),
            _ => self.functions(inner, total),
        }
    }

    /// All rows of a relation.
    fn whole(&mut self) -> Query {
        let (relation, alias) = self.base();
        let items: Vec<String> = relation
            .columns
            .iter()
            .enumerate()
            .map(|(index, column)| format!("{alias}.{} AS c{index}", column.name))
            .collect();
        let columns = relation
            .columns
            .iter()
            .enumerate()
            .map(|(index, column)| Column { name: format!("c{index}"), ..column.clone() });
        let text = format!("SELECT {} FROM {} AS {alias}", items.join(", "), relation.name);
        Query { node: Node::leaf(Kind::Query, text), columns: columns.collect(), rows: relation.rows }
    }

    fn keys(&mut self, columns: &[Column], total: bool) -> String {
        let mut names: Vec<&Column> = columns.iter().filter(|column| column.sql_type != SqlType::Interval).collect();
        names.shuffle(self.rng);
        if !total {
            let few = self.rng.random_range(1..=2);
            names.truncate(few);
        }
        let keys: Vec<String> = names
            .iter()
            .map(|column| {
                let direction = ["", " DESC", " DESC NULLS LAST", " NULLS FIRST"].choose(self.rng).expect("not empty");
                format!("{}{direction}", column.name)
            })
            .collect();
        keys.join(", ")
    }

    fn partition(&mut self, columns: &[Column]) -> String {
        match columns.choose(self.rng) {
            Some(column) if self.chance(65) => format!("PARTITION BY {} ", column.name),
            _ => String::new(),
        }
    }

    fn limited(&mut self, inner: Query) -> Query {
        let alias = self.name("l");
        let keys = self.keys(&inner.columns, true);
        let fetch = self.rng.random_range(0..12);
        let limit = match self.rng.random_range(0..4) {
            0 => format!("LIMIT {fetch} OFFSET {}", self.rng.random_range(0..8)),
            1 => format!("OFFSET {}", self.rng.random_range(0..8)),
            _ => format!("LIMIT {fetch}"),
        };
        let template = format!("SELECT * FROM ({{}}) AS {alias} ORDER BY {keys} {limit}");
        Query { node: Node::new(Kind::Query, &template, [inner.node]), ..inner }
    }

    fn first_of_each(&mut self, inner: Query) -> Query {
        let (alias, ranked) = (self.name("l"), self.name("r"));
        // Ranks have ties, and they stay.
        let function = ["ROW_NUMBER", "ROW_NUMBER", "RANK", "DENSE_RANK"].choose(self.rng).expect("not empty");
        let keys = self.keys(&inner.columns, *function == "ROW_NUMBER");
        let partition = self.partition(&inner.columns);
        let bound = ["<= 3", "< 2", "= 1", "<= 1", "<= 20"].choose(self.rng).expect("not empty");
        let names: Vec<&str> = inner.columns.iter().map(|column| column.name.as_str()).collect();
        let shown = if self.chance(50) { ", rn" } else { "" };
        let template = format!(
            "SELECT {}{shown} FROM (SELECT {alias}.*, {function}() OVER ({partition}ORDER BY {keys}) AS rn FROM ({{}}) AS {alias}) AS {ranked} WHERE rn {bound}",
            names.join(", ")
        );
        let mut columns = inner.columns.clone();
        if !shown.is_empty() {
            columns.push(number("rn"));
        }
        Query { node: Node::new(Kind::Query, &template, [inner.node]), columns, rows: inner.rows }
    }

    fn distinct_on(&mut self, inner: Query) -> Query {
        let alias = self.name("l");
        let Some(on) = inner.columns.choose(self.rng).map(|column| column.name.clone()) else { return inner };
        let keys = self.keys(&inner.columns, true);
        let limit = if self.chance(30) { " LIMIT 3" } else { "" };
        let template = format!("SELECT DISTINCT ON ({on}) * FROM ({{}}) AS {alias} ORDER BY {on}, {keys}{limit}");
        Query { node: Node::new(Kind::Query, &template, [inner.node]), ..inner }
    }

    fn functions(&mut self, inner: Query, total: bool) -> Query {
        let alias = self.name("l");
        let mut items: Vec<String> = inner.columns.iter().map(|column| column.name.clone()).collect();
        let mut columns = inner.columns.clone();
        let mut window = self.over_window(&inner.columns, total);
        for _ in 0..self.rng.random_range(1..=3) {
            if self.chance(30) {
                // Which copy of a row comes first in another order, nobody can tell.
                window = self.over_window(&inner.columns, false);
            }
            let Some((call, column)) = self.call(&inner.columns, &window) else { continue };
            let name = self.name("f");
            items.push(format!("{call} AS {name}"));
            columns.push(Column { name, ..column });
        }
        let template = format!("SELECT {} FROM ({{}}) AS {alias}", items.join(", "));
        Query { node: Node::new(Kind::Query, &template, [inner.node]), columns, rows: inner.rows }
    }

    fn over_window(&mut self, columns: &[Column], total: bool) -> Window {
        let total = total && self.chance(60);
        let measured: Vec<&Column> = columns
            .iter()
            .filter(|column| column.sql_type.is_int() || matches!(column.sql_type, SqlType::Date | SqlType::Timestamp))
            .filter(|column| column.facts.tame || column.facts.range.is_some())
            .collect();
        let measured = measured.choose(self.rng).map(|column| (*column).clone());
        let partition = self.partition(columns);
        match measured {
            Some(column) if !total && self.chance(50) => {
                let direction = if self.chance(30) { " DESC" } else { "" };
                let keys = format!("{}{direction}", column.name);
                Window { partition, keys, total: false, measured: Some(column.sql_type) }
            }
            _ => Window { partition, keys: self.keys(columns, total), total, measured: None },
        }
    }

    fn call(&mut self, columns: &[Column], window: &Window) -> Option<(String, Column)> {
        let over = |frame: &str| format!("OVER ({}ORDER BY {}{frame})", window.partition, window.keys);
        let column = columns.choose(self.rng)?.clone();
        let name = column.name.clone();
        let same = Column { facts: Facts::unknown(), samples: Vec::new(), ..column.clone() };
        let nulls = if self.chance(20) { " IGNORE NULLS" } else { "" };
        match self.rng.random_range(0..17) {
            0 => Some((format!("RANK() {}", over("")), number("rank"))),
            1 => Some((format!("DENSE_RANK() {}", over("")), number("rank"))),
            2 => Some((format!("PERCENT_RANK() {}", over("")), double("part"))),
            3 => Some((format!("CUME_DIST() {}", over("")), double("part"))),
            4 if window.total => Some((format!("ROW_NUMBER() {}", over("")), number("number"))),
            5 | 6 if window.total => {
                let tiles = [1, 2, 3, 5, 100][self.rng.random_range(0..5)];
                Some((format!("NTILE({tiles}) {}", over("")), number("tile")))
            }
            7 if window.total => {
                let function = if self.chance(50) { "LAG" } else { "LEAD" };
                let offset = [1, 1, 2, 7][self.rng.random_range(0..4)];
                Some((format!("{function}({name}, {offset}){nulls} {}", over("")), same))
            }
            8 if window.total => {
                let call = ["FIRST_VALUE(@)", "LAST_VALUE(@)", "NTH_VALUE(@, 2)"].choose(self.rng).expect("not empty");
                let frame = self.frame(window);
                let nulls = if call.starts_with("NTH") { "" } else { nulls };
                Some((format!("{}{nulls} {}", call.replace('@', &name), over(&frame)), same))
            }
            9 => {
                let frame = self.frame(window);
                Some((format!("COUNT(*) {}", over(&frame)), number("n")))
            }
            10 => {
                let frame = self.frame(window);
                Some((format!("COUNT({name}) {}", over(&frame)), number("n")))
            }
            11 if matches!(column.sql_type, SqlType::SmallInt | SqlType::Int) => {
                let frame = self.frame(window);
                Some((format!("SUM({name}) {}", over(&frame)), number("sum")))
            }
            11 | 12 if !matches!(column.sql_type, SqlType::Interval | SqlType::Boolean) => {
                let function = if self.chance(50) { "MIN" } else { "MAX" };
                let frame = self.frame(window);
                Some((format!("{function}({name}) {}", over(&frame)), same))
            }
            13 if self.chance(50) && column.sql_type == SqlType::Boolean => {
                let function = if self.chance(50) { "BOOL_AND" } else { "BOOL_OR" };
                let frame = self.frame(window);
                Some((format!("{function}({name}) {}", over(&frame)), same))
            }
            13 | 14 if column.sql_type.is_int() => {
                let function = ["VAR_POP", "STDDEV", "STDDEV_POP", "VARIANCE"].choose(self.rng).expect("not empty");
                let frame = self.frame(window);
                Some((format!("{function}({name}){} {}", self.seen(columns), over(&frame)), double("spread")))
            }
            15 if column.sql_type.is_int() => {
                let other = columns.iter().filter(|other| other.sql_type.is_int()).choose(self.rng)?.name.clone();
                let function = ["COVAR_POP", "CORR", "REGR_SLOPE", "REGR_SXY"].choose(self.rng).expect("not empty");
                let frame = self.frame(window);
                Some((format!("{function}({name}, {other}) {}", over(&frame)), double("spread")))
            }
            16 => self.anew(&column, columns, window),
            _ => None,
        }
    }

    /// FILTER, now and then.
    fn seen(&mut self, columns: &[Column]) -> String {
        match columns.choose(self.rng) {
            Some(column) if self.chance(30) => format!(" FILTER (WHERE {} IS NOT NULL)", column.name),
            _ => String::new(),
        }
    }

    /// An aggregate that is computed anew for every row: of frames that begin with the partition, as DataFusion cannot take
    /// rows out of all of them.
    fn anew(&mut self, column: &Column, columns: &[Column], window: &Window) -> Option<(String, Column)> {
        let (name, int) = (&column.name, column.sql_type.is_int());
        let same = || Column { facts: Facts::unknown(), samples: Vec::new(), ..column.clone() };
        let (call, result) = match self.rng.random_range(0..4) {
            0 if int => (format!("BIT_OR({name})"), same()),
            1 if int => (format!("BIT_AND({name})"), same()),
            2 if int => (format!("MEDIAN({name})"), same()),
            _ if window.total => {
                let text = Column { sql_type: SqlType::Text, ..same() };
                (format!("STRING_AGG(CAST({name} AS TEXT), ',')"), text)
            }
            _ => return None,
        };
        let units = if window.total { "ROWS" } else { "RANGE" };
        let seen = self.seen(columns);
        let Window { partition, keys, .. } = window;
        Some((format!("{call}{seen} OVER ({partition}ORDER BY {keys} {units} UNBOUNDED PRECEDING)"), result))
    }

    /// A frame whose rows do not depend on the order of peers.
    fn frame(&mut self, window: &Window) -> String {
        let counted = window.total && self.chance(60);
        let units = match (counted, self.rng.random_range(0..3)) {
            (true, _) => "ROWS",
            (false, 0) => "GROUPS",
            (false, _) if window.measured.is_some() => "RANGE",
            (false, 1) => return String::new(),
            (false, _) => {
                let bounds = [
                    "UNBOUNDED PRECEDING AND CURRENT ROW",
                    "CURRENT ROW AND UNBOUNDED FOLLOWING",
                    "UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING",
                ];
                return format!(" RANGE BETWEEN {}", bounds.choose(self.rng).expect("not empty"));
            }
        };
        let offset = |queries: &mut Self| {
            let count = queries.rng.random_range(0..4);
            match (units, window.measured) {
                ("RANGE", Some(SqlType::Date)) => format!("INTERVAL '{} days'", count * 20),
                ("RANGE", Some(SqlType::Timestamp)) => {
                    ["INTERVAL '1 hour'", "INTERVAL '10 days'", "INTERVAL '1 month'", "INTERVAL '3 minutes'"][count]
                        .to_owned()
                }
                _ => count.to_string(),
            }
        };
        let (first, second) = (offset(self), offset(self));
        let bounds = match self.rng.random_range(0..6) {
            0 => format!("{first} PRECEDING AND CURRENT ROW"),
            1 => format!("CURRENT ROW AND {first} FOLLOWING"),
            2 => format!("{first} PRECEDING AND {second} FOLLOWING"),
            3 => format!("UNBOUNDED PRECEDING AND {first} FOLLOWING"),
            4 => format!("{first} PRECEDING AND UNBOUNDED FOLLOWING"),
            _ => "UNBOUNDED PRECEDING AND CURRENT ROW".to_owned(),
        };
        format!(" {units} BETWEEN {bounds}")
    }
}

/// What stands in OVER.
struct Window {
    partition: String,
    keys: String,
    /// Only copies of a row are peers.
    total: bool,
    /// The type of the one key, if ranges can be measured on it.
    measured: Option<SqlType>,
}

fn number(name: &str) -> Column {
    let facts = Facts { range: Some((0, 100_000)), ..Facts::unknown() };
    Column { name: name.to_owned(), sql_type: SqlType::BigInt, facts, samples: Vec::new() }
}

fn double(name: &str) -> Column {
    Column { name: name.to_owned(), sql_type: SqlType::Double, facts: Facts::unknown(), samples: Vec::new() }
}
