//! Planning: lowered plans in text, refusals with their place and hint.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use headwater_dataflow::repr::errors_schema;

use super::*;
use crate::sql::session::types::timestamptz;
use crate::sql::{Relation, RelationKind};

/// Two sources and two views, as a catalog would know them.
pub(in crate::sql) struct Shop;

impl Shop {
    fn schema(name: &str) -> Option<(ObjectId, Schema, bool)> {
        let required = |name: &str, data_type: DataType| Field::new(name, data_type, false);
        let optional = |name: &str, data_type: DataType| Field::new(name, data_type, true);
        let lines = vec![
            required("invoice", DataType::Utf8),
            optional("customer", DataType::Int64),
            required("product", DataType::Utf8),
            required("quantity", DataType::Int64),
            required("price", DataType::Decimal128(10, 2)),
            required("at", timestamptz()),
            optional("country", DataType::Utf8),
            optional("weight", DataType::Float64),
        ];
        let products = vec![
            required("product", DataType::Utf8),
            optional("name", DataType::Utf8),
            optional("cost", DataType::Decimal128(10, 2)),
            optional("meta", DataType::Utf8),
            optional("added", DataType::Date32),
        ];
        let totals = vec![optional("customer", DataType::Int64), optional("total", DataType::Decimal128(38, 2))];
        match name {
            "lines" => Some((ObjectId(1), Schema::new(lines), true)),
            "products" => Some((ObjectId(2), Schema::new(products), true)),
            "totals" => Some((ObjectId(3), Schema::new(totals), false)),
            _ => None,
        }
    }
}

impl Relations for Shop {
    fn relation(&self, name: &str) -> Option<Relation> {
        let kind = match name {
            "big" => RelationKind::View { query: "SELECT * FROM lines WHERE quantity >= 100".to_owned() },
            "ranked" => RelationKind::View {
                query: "SELECT invoice, count(DISTINCT price) OVER (ORDER BY at) AS n FROM lines".to_owned(),
            },
            "broken" => RelationKind::View { query: "SELECT nothing FROM lines".to_owned() },
            _ => match name.strip_suffix("$errors") {
                Some(object) => {
                    let (id, _, append_only) = Shop::schema(object)?;
                    RelationKind::Collection { collection: id.errors(), schema: errors_schema(), append_only }
                }
                None => {
                    let (id, schema, append_only) = Shop::schema(name)?;
                    RelationKind::Collection { collection: id.rows(), schema: Arc::new(schema), append_only }
                }
            },
        };
        Some(Relation { name: name.to_owned(), kind })
    }

    fn names(&self) -> Vec<String> {
        ["lines", "products", "totals", "big", "ranked", "broken"].map(str::to_owned).to_vec()
    }
}

/// The plan of a query that must be a view.
#[track_caller]
pub(super) fn explained(query: &str) -> String {
    match plan_view(query, &Shop) {
        Ok(view) => {
            assert_eq!(view.explain, plan_view(query, &Shop).unwrap().explain, "planning twice gives two plans");
            view.explain
        }
        Err(error) => panic!("{error:?}"),
    }
}

#[test]
fn the_functions_that_views_cannot_use() {
    let state = session(Purpose::View).unwrap();
    let mut names: Vec<&str> = state
        .scalar_functions()
        .iter()
        .filter(|(_, function)| function.signature().volatility != Volatility::Immutable)
        .map(|(name, _)| name.as_str())
        .collect();
    names.sort_unstable();
    let clock = ["current_date", "current_time", "current_timestamp"];
    let others = ["file_row_index", "input_file_name", "now", "rand", "random", "today", "uuid"];
    assert_eq!(names, [clock.as_slice(), &others].concat());
}

/// A refusal: place, message, and a piece of the hint.
#[track_caller]
fn refused(query: &str, place: &str, message: &str, hint: &str) {
    let error = plan_view(query, &Shop).map(|view| panic!("{query}: {}", view.explain)).unwrap_err();
    assert_eq!(error.message, message, "{query}");
    assert_eq!(error.position.map(|position| position.to_string()).unwrap_or_default(), place, "{query}");
    let found = error.hint.unwrap_or_default();
    assert!(found.contains(hint) && !found.is_empty(), "{query}: the hint is {found:?}");
}

#[test]
#[allow(clippy::too_many_lines, reason = "a flat table")]
fn what_cannot_be_maintained_is_refused_with_its_place() {
    for (query, place, message, hint) in [
        ("SELECT invoice FROM lines\nORDER BY invoice", "2:1", "ORDER BY in a view", "order when reading"),
        (
            "SELECT count(*) AS n FROM lines GROUP BY CUBE (invoice, customer, product, quantity, price, at, country, weight, quantity + 1)",
            "1:42",
            "more than 256 grouping sets",
            "name those you need",
        ),
        (
            "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 5) SELECT n FROM t",
            "1:6",
            "WITH RECURSIVE in a view",
            "reading",
        ),
        (
            "SELECT ntile(quantity) OVER (ORDER BY price) AS x FROM lines",
            "1:8",
            "NTILE with an argument that is no constant number in a view",
            "the number",
        ),
        ("SELECT invoice, now() AS n FROM lines", "1:17", "the function now() in a view", "reading"),
        (
            "SELECT invoice FROM lines WHERE at > now() - INTERVAL '1 day'",
            "1:38",
            "the function now() in a view",
            "reading",
        ),
        ("SELECT random() AS r FROM lines", "1:8", "the function random() in a view", "same row"),
        ("SELECT uuid() AS r FROM lines", "1:8", "the function uuid() in a view", "same row"),
        ("SELECT current_date AS r FROM lines", "1:8", "the function current_date() in a view", "reading"),
        ("SELECT max(at - at) AS s FROM lines", "1:8", "MAX of a value of type INTERVAL", "numbers"),
        ("SELECT invoice, 1 AS invoice FROM lines", "1:8", "two columns have the name \"invoice\"", "AS"),
        ("SELECT invoice, invoice FROM lines", "1:8", "two columns have the name \"invoice\"", "AS"),
        (
            "SELECT product FROM lines, products",
            "1:8",
            "column \"product\" is in several relations",
            "relation.product",
        ),
        ("SELECT l.product, p.product FROM lines l, products p", "1:10", "two columns have the name \"product\"", "AS"),
        ("SELECT meta->'a' AS x FROM products", "1:21", "a column of type JSON (\"x\")", "->>"),
        (
            "SELECT n FROM ranked",
            "1:15",
            "in view \"ranked\": COUNT(DISTINCT) over a window in a view",
            "DISTINCT rows",
        ),
        ("SELECT $1 AS x", "1:1", "parameters and variables", "value itself"),
        (
            "SELECT p.product FROM lines l FULL JOIN products p USING (product)",
            "1:1",
            "USING and NATURAL in a RIGHT or FULL JOIN",
            "coalesce",
        ),
    ] {
        refused(query, place, message, hint);
    }
}

#[test]
fn results_have_our_types_and_honest_nullability() {
    let text = |query: &str| {
        let view = plan_view(query, &Shop).unwrap_or_else(|error| panic!("{query}: {error:?}"));
        let columns = view.schema.fields().iter().map(|field| {
            format!("{} {}{}", field.name(), field.data_type(), if field.is_nullable() { "" } else { " NOT NULL" })
        });
        columns.collect::<Vec<_>>().join(", ")
    };
    for (query, expected) in [
        (
            "SELECT quantity, price, at, weight FROM lines",
            "quantity Int64 NOT NULL, price Decimal128(10, 2) NOT NULL, at Timestamp(µs, \"+00:00\") NOT NULL, weight Float64",
        ),
        ("SELECT NULL AS x, 1::SMALLINT AS s, true AS b", "x Utf8, s Int16 NOT NULL, b Boolean NOT NULL"),
        (
            "SELECT sum(quantity) AS s, sum(price) AS p, avg(quantity) AS a, avg(price) AS d FROM lines",
            "s Int64, p Decimal128(20, 2), a Float64, d Decimal128(14, 6)",
        ),
        ("SELECT count(*) AS c, min(country) AS m FROM lines", "c Int64 NOT NULL, m Utf8"),
        (
            "SELECT to_timestamp(product) AS t, date_trunc('hour', at) AS d FROM lines",
            "t Timestamp(µs, \"+00:00\"), d Timestamp(µs, \"+00:00\") NOT NULL",
        ),
        ("SELECT at - at AS i, at::DATE AS x FROM lines", "i Interval(MonthDayNano) NOT NULL, x Date32 NOT NULL"),
        (
            "SELECT length(country) AS l, array_length([1]) AS a, extract(year FROM at) AS y FROM lines",
            "l Int32, a Int64 NOT NULL, y Int32 NOT NULL",
        ),
        (
            "SELECT arrow_cast(product, 'LargeUtf8') AS a, arrow_cast(quantity, 'UInt32') AS u FROM lines",
            "a Utf8 NOT NULL, u Int64 NOT NULL",
        ),
        ("SELECT 1 AS x UNION ALL SELECT 2.5", "x Decimal128(21, 1) NOT NULL"),
        ("SELECT 1 AS x UNION ALL SELECT NULL", "x Int64"),
    ] {
        assert_eq!(text(query), expected, "{query}");
    }
}

#[test]
fn imports_reads_and_history() {
    for (query, imports, reads, append_only) in [
        ("SELECT invoice FROM lines", vec![ObjectId(1).rows()], vec!["lines"], true),
        (
            "SELECT l.invoice FROM big l JOIN products USING (product)",
            vec![ObjectId(1).rows(), ObjectId(2).rows()],
            vec!["big", "products"],
            true,
        ),
        (
            "SELECT DISTINCT invoice FROM lines UNION ALL SELECT 'x'",
            vec![ObjectId(0).rows(), ObjectId(1).rows()],
            vec!["lines"],
            true,
        ),
        ("SELECT message FROM \"lines$errors\"", vec![ObjectId(1).errors()], vec!["lines"], true),
        ("WITH products AS (SELECT 1 AS x) SELECT x FROM products", vec![ObjectId(0).rows()], vec![], true),
        ("SELECT count(*) FROM lines", vec![ObjectId(1).rows()], vec!["lines"], false),
        (
            "SELECT t.total FROM totals t JOIN lines l ON t.customer = l.customer",
            vec![ObjectId(1).rows(), ObjectId(3).rows()],
            vec!["lines", "totals"],
            false,
        ),
    ] {
        let view = plan_view(query, &Shop).unwrap();
        assert_eq!(view.imports, imports, "{query}");
        assert_eq!(view.reads, reads, "{query}");
        assert_eq!(view.append_only, append_only, "{query}");
        assert_eq!(view.schema, view.plan.schema(), "{query}");
    }
}

#[test]
fn floats_are_not_compared_as_decimals() {
    for (expression, expected) in [
        ("weight > 0.5", "weight > 0.5"),
        ("price > weight", "CAST(price AS Float64) > weight"),
        ("weight IN (0.5, 1)", "(weight = 0.5) OR (weight = 1)"),
        ("CASE WHEN quantity > 0 THEN weight ELSE 0.5 END", "CASE WHEN quantity > 0 THEN weight ELSE 0.5 END"),
        ("quantity = 0.5", "CAST(quantity AS Decimal128(21, 1)) = 0.5"),
    ] {
        let text = explained(&format!("SELECT {expression} AS x FROM lines"));
        assert!(text.contains(&format!("project: {expected} AS x")), "{text}");
    }
}

#[test]
fn offsets_at_the_end_of_their_range_are_planned() {
    for call in [
        "lag(price, -9223372036854775808) OVER (ORDER BY at)",
        "lead(price, -9223372036854775808) OVER (ORDER BY at)",
        "nth_value(price, -9223372036854775808) OVER (ORDER BY at)",
        "count(*) OVER (ORDER BY at RANGE INTERVAL '2000000000 days' PRECEDING)",
    ] {
        explained(&format!("SELECT {call} AS x FROM lines"));
    }
}

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

/// No text makes planning panic, and every refusal has a place: words of right queries in wrong orders.
#[test]
fn no_text_panics() {
    let sound = [
        "SELECT country , sum ( quantity * price ) AS gross FROM lines WHERE price / quantity > 1 GROUP BY country HAVING count ( * ) > 3",
        "SELECT l . invoice , p . name FROM lines l LEFT JOIN products p USING ( product ) WHERE p . cost < l . price",
        "SELECT invoice FROM lines l WHERE NOT EXISTS ( SELECT 1 FROM products p WHERE p . product = l . product ) OR price IN ( 1 , 2.5 )",
        "WITH t AS ( SELECT DISTINCT customer FROM big ) SELECT x , meta ->> 'a' FROM t CROSS JOIN products UNION ALL SELECT NULL , 'b'",
        "SELECT CASE WHEN at > '2011-01-01' THEN weight ELSE - 1.5e3 END :: TEXT || 'x' , row_number ( ) OVER ( ORDER BY at ) FROM \"lines$errors\" LIMIT 3",
        "SELECT date_trunc ( 'day' , at ) + INTERVAL '1 day' , coalesce ( NULL , 0 ) , [ 1 , 2 ] [ 1 ] , $1 FROM lines ORDER BY 1 , 2 DESC",
        "SELECT * FROM ( VALUES ( 1 , 'a' ) , ( 2 , NULL ) ) AS t ( x , y ) WHERE x BETWEEN 1 AND ( SELECT max ( total ) FROM totals )",
        "SELECT unnest ( [ 1 , 2 ] ) , to_char ( at , 'YYYY' ) , extract ( year FROM at ) FROM lines GROUP BY ROLLUP ( country ) INTERSECT SELECT * FROM ranked",
    ];
    let words: Vec<&str> = sound.iter().flat_map(|query| query.split(' ')).collect();
    let mut dice = Dice(7);
    let (mut planned, mut refused) = (0, 0);
    for round in 0..3_000 {
        let mut text: Vec<&str> = sound[dice.below(sound.len())].split(' ').collect();
        for _ in 0..round % 5 {
            let at = dice.below(text.len());
            match dice.below(4) {
                0 => text[at] = words[dice.below(words.len())],
                1 => text.insert(at, words[dice.below(words.len())]),
                2 => drop(text.remove(at)),
                _ => {
                    let other = dice.below(text.len());
                    text.swap(at, other);
                }
            }
            if text.is_empty() {
                break;
            }
        }
        let text = text.join(" ");
        match plan_view(&text, &Shop) {
            Ok(_) => planned += 1,
            Err(error) => {
                refused += 1;
                assert!(error.position.is_some() && !error.message.is_empty(), "{text}: {error:?}");
            }
        }
        if let Err(error) = crate::sql::plan_read(&text, &Shop) {
            assert!(error.position.is_some() && !error.message.is_empty(), "{text}: {error:?}");
        }
    }
    assert!(planned > 100 && refused > 1_000, "{planned} planned, {refused} refused");
}

#[test]
fn columns_take_the_names_that_they_are_given() {
    let names = |query: &str, names: &[&str]| -> Vec<String> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let view = plan_view_as(query, &names, &Shop).unwrap_or_else(|error| panic!("{query}: {error:?}"));
        view.schema.fields().iter().map(|field| field.name().clone()).collect()
    };
    assert_eq!(names("SELECT invoice, 1 AS invoice FROM lines", &["a", "b"]), ["a", "b"]);
    assert_eq!(names("SELECT l.product, p.product FROM lines l, products p", &["a", "b"]), ["a", "b"]);
    assert_eq!(names("SELECT invoice, product FROM lines", &["a"]), ["a", "product"]);
}

#[test]
fn aggregates_say_what_they_keep() {
    for (aggregate, shown) in [
        ("stddev(weight)", "stddev(weight) AS x (exact sums)"),
        ("bit_or(quantity)", "bit_or(quantity) AS x (counts per bit)"),
        ("sum(DISTINCT quantity)", "sum(DISTINCT quantity) AS x (set per group)"),
        ("string_agg(country, ';' ORDER BY at DESC)", "string_agg(country, ';' ORDER BY at DESC) AS "),
        (
            "percentile_cont(0.5) WITHIN GROUP (ORDER BY weight)",
            "AS x (rows per group, recomputed when one of them changes)",
        ),
    ] {
        let query = format!("SELECT product, {aggregate} AS x FROM lines GROUP BY product");
        let explain = plan_view(&query, &Shop).unwrap_or_else(|error| panic!("{query}: {error:?}")).explain;
        assert!(explain.contains(shown), "{explain}");
    }
}

#[test]
fn distinct_and_an_order_must_agree() {
    let query = "SELECT string_agg(DISTINCT country, ',' ORDER BY at) AS x FROM lines";
    let error = plan_view(query, &Shop).unwrap_err();
    assert!(error.message.contains("must appear in the argument list"), "{error:?}");
}

#[test]
fn lists_become_rows() {
    for query in [
        "SELECT invoice, unnest(string_to_array(product, ',')) AS x FROM lines",
        "SELECT l.invoice, u.x FROM lines l, unnest(string_to_array(l.product, ',')) AS u(x)",
        "SELECT l.invoice, x FROM lines l CROSS JOIN unnest(string_to_array(l.product, ',')) AS u(x) WHERE x <> ''",
        "SELECT l.invoice, x FROM lines l LEFT JOIN unnest(string_to_array(l.product, ',')) AS u(x) ON true",
    ] {
        let explain = plan_view(query, &Shop).unwrap_or_else(|error| panic!("{query}: {error:?}")).explain;
        assert!(explain.contains("Unnest") && !explain.contains("oin"), "{query}\n{explain}");
    }
    assert!(explained("SELECT value FROM generate_series(1, 3)").contains("Constant (3 rows)"));
    let query = "SELECT value FROM generate_series(1, 1000000)";
    assert!(plan_view(query, &Shop).unwrap_err().message.contains("more than 100000 rows"));
}
