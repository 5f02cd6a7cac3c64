//! Reads: any SELECT over in-memory tables.

use std::sync::Arc;

use arrow::array::{
    Array, Date32Array, Decimal128Array, Float64Array, Int64Array, StringArray, TimestampMicrosecondArray,
};
use arrow::util::pretty::pretty_format_batches;
use headwater_dataflow::repr::ObjectId;

use super::*;
use crate::sql::plan::tests::Shop;

fn tables() -> BTreeMap<CollectionId, Vec<RecordBatch>> {
    let schema = |id: &str| match crate::sql::Relations::relation(&Shop, id).unwrap().kind {
        crate::sql::RelationKind::Collection { schema, .. } => schema,
        crate::sql::RelationKind::View { .. } | crate::sql::RelationKind::Index { .. } => panic!("{id}"),
    };
    let at = |seconds: i64| seconds * 1_000_000;
    let lines: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec!["A1", "A1", "B2", "C3"])),
        Arc::new(Int64Array::from(vec![Some(1), Some(1), Some(2), None])),
        Arc::new(StringArray::from(vec!["tea", "mug", "tea", "pot"])),
        Arc::new(Int64Array::from(vec![2, 3, -1, 200])),
        Arc::new(Decimal128Array::from(vec![150, 425, 150, 999]).with_precision_and_scale(10, 2).unwrap()),
        Arc::new(
            TimestampMicrosecondArray::from(vec![at(1_323_433_805), at(1_323_433_805), at(1_323_520_205), at(0)])
                .with_timezone("+00:00"),
        ),
        Arc::new(StringArray::from(vec![Some("UK"), Some("UK"), Some("FR"), None])),
        Arc::new(Float64Array::from(vec![Some(0.5), Some(-0.5), Some(0.0), None])),
    ];
    let products: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec!["tea", "mug"])),
        Arc::new(StringArray::from(vec![Some("Tea"), None])),
        Arc::new(Decimal128Array::from(vec![Some(50), None]).with_precision_and_scale(10, 2).unwrap()),
        Arc::new(StringArray::from(vec![Some(r#"{"color": "green", "n": 7, "x": 1.5}"#), Some("{}")])),
        Arc::new(Date32Array::from(vec![Some(15_000), None])),
    ];
    BTreeMap::from([
        (ObjectId(1).rows(), vec![RecordBatch::try_new(schema("lines"), lines).unwrap()]),
        (ObjectId(2).rows(), vec![RecordBatch::try_new(schema("products"), products).unwrap()]),
    ])
}

fn run(query: &str) -> Result<Vec<RecordBatch>, SqlError> {
    let read = plan_read(query, &Shop)?;
    let schema = read.schema();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let batches = runtime.block_on(read.run(tables()))?;
    assert!(batches.iter().all(|batch| batch.schema() == schema), "{query}");
    Ok(batches)
}

/// The cells of the only row that `SELECT expression …` gives, as text.
#[track_caller]
fn row(query: &str) -> String {
    let batches = run(query).unwrap_or_else(|error| panic!("{query}: {error:?}"));
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    assert_eq!(rows, 1, "{query}");
    let cells = batches[0].columns().iter().map(|column| {
        if column.is_null(0) {
            "NULL".to_owned()
        } else {
            arrow::util::display::array_value_to_string(column, 0).unwrap()
        }
    });
    cells.collect::<Vec<_>>().join(" | ")
}

/// Both ways to the value: constants that the planner folds, and a column that it cannot see through.
#[track_caller]
fn check(expression: &str, expected: &str) {
    assert_eq!(row(&format!("SELECT {expression} AS x")), expected, "{expression}");
}

#[track_caller]
fn fails(query: &str, message: &str) {
    let error = run(query).map(|rows| panic!("{query}: {rows:?}")).unwrap_err();
    assert!(error.message.contains(message), "{query}: {error:?}");
    assert!(error.position.is_some(), "{query}");
}

#[test]
fn integers_are_checked() {
    check("1 + 2 * 3 - 4", "3");
    check("7 / 2", "3");
    check("-7 % 3", "-1");
    check("- (5)", "-5");
    check("2147483647 + 1", "2147483648");
    for expression in [
        "9223372036854775807 + 1",
        "(-9223372036854775807) - 2",
        "9223372036854775807 * 2",
        "quantity + 9223372036854775807",
        "quantity * 9223372036854775807",
        "-(quantity - 9223372036854775807 - 3)",
        "2147483647::INT + quantity::INT",
    ] {
        fails(&format!("SELECT {expression} FROM lines"), "verflow");
    }
    fails("SELECT sum(x) FROM (VALUES (9223372036854775807), (1)) AS t(x)", "does not fit");
    fails("SELECT sum(9223372036854775807) OVER () FROM lines", "does not fit");
    assert_eq!(row("SELECT sum(x) FROM (VALUES (9223372036854775807), (1), (-1)) AS t(x)"), "9223372036854775807");
    fails("SELECT quantity / 0 FROM lines", "ivide by zero");
    fails("SELECT quantity % 0 FROM lines", "ivide by zero");
}

#[test]
fn floats_are_canonical() {
    check("0.1::DOUBLE + 0.2::DOUBLE", "0.30000000000000004");
    fails("SELECT weight / 0 FROM lines", "ivide by zero");
    fails("SELECT 1::DOUBLE / (weight * 0) FROM lines WHERE weight IS NOT NULL", "ivide by zero");
    check("NULL::DOUBLE / 0::DOUBLE", "NULL");
    for expression in [
        "weight * 0",
        "-(weight * 0)",
        "0 * -weight",
        "(weight::TEXT || '')::DOUBLE * 0",
        "'-0'::DOUBLE + 0 * weight",
        "round(weight / 10)",
        "(weight * 1e-60::DOUBLE)::REAL::DOUBLE",
        "ceil(weight / 10 - 0.06)",
    ] {
        let query = format!("SELECT DISTINCT ({expression})::TEXT FROM lines WHERE weight IS NOT NULL");
        assert_eq!(row(&query), "0.0", "{expression}");
    }
    check("'NaN'::DOUBLE + 1", "NaN");
    assert_eq!(row("SELECT DISTINCT (-('NaN'::DOUBLE * weight))::TEXT FROM lines WHERE weight IS NOT NULL"), "NaN");
    let sum = "SELECT sum(x), avg(x) FROM (VALUES (1e16::DOUBLE), (1.0::DOUBLE), (-1e16::DOUBLE)) AS t(x)";
    assert_eq!(row(sum), "1.0 | 0.3333333333333333");
}

#[test]
fn floats_win_over_decimals() {
    let at = "FROM lines WHERE product = 'tea' AND quantity = 2";
    for (expression, expected) in [
        ("weight = 0.5", "true"),
        ("weight * '1e300'::DOUBLE > 0.5", "true"),
        ("weight * '1e300'::DOUBLE IN (0.5, 1)", "false"),
        ("weight BETWEEN 0.25 AND 0.5", "true"),
        ("coalesce(NULL, weight, 2.5)", "0.5"),
        ("CASE WHEN quantity > 100 THEN 2.5 ELSE weight END", "0.5"),
        ("greatest(weight, 0.1)", "0.5"),
        ("weight < price", "true"),
        ("0.1::DOUBLE = 0.1", "true"),
        ("0.1::REAL = 0.1", "false"),
        ("nullif(weight, 0.5)", "NULL"),
        (
            "(SELECT count(*) FROM (SELECT weight AS x FROM lines UNION ALL SELECT 123456789012345678.5 AS x) t WHERE x > 1)",
            "1",
        ),
    ] {
        assert_eq!(row(&format!("SELECT {expression} AS x {at}")), expected, "{expression}");
    }
    assert_eq!(row("SELECT count(*) FROM lines WHERE weight IN (SELECT cost FROM products)"), "1");
    assert_eq!(row("SELECT count(*) FROM lines WHERE price IN (SELECT weight + 1 FROM lines)"), "2");
    let read = plan_read("SELECT weight FROM lines UNION SELECT price FROM lines", &Shop).unwrap();
    assert_eq!(*read.schema().field(0).data_type(), arrow::datatypes::DataType::Float64);
}

#[test]
fn decimals_are_exact_and_checked() {
    check("0.1 + 0.2", "0.3");
    check("1.10 * 2.5", "2.750");
    check("10.00 / 3", "3.333333");
    check("sum(quantity * price) FROM lines", "2012.25");
    check("avg(price) FROM lines", "4.310000");
    fails("SELECT 1.5 / 0", "ivide by zero");
    fails("SELECT price / (quantity - quantity) FROM lines", "ivide by zero");
    fails("SELECT 99999999999999999999999999999999999999::NUMERIC(38,0) + quantity FROM lines", "");
    fails("SELECT 0.12345678901234567890 * 0.12345678901234567890", "exceed max scale of 38");
}

#[test]
fn times_are_microseconds_in_utc() {
    let at = "FROM lines WHERE product = 'mug'";
    for (expression, expected) in [
        ("at", "2011-12-09T12:30:05Z"),
        ("date_trunc('day', at)", "2011-12-09T00:00:00Z"),
        ("date_trunc('month', at) + INTERVAL '1 month'", "2012-01-01T00:00:00Z"),
        ("at::DATE", "2011-12-09"),
        ("at::DATE - DATE '2011-12-01'", "8"),
        ("at::DATE + 1", "2011-12-10"),
        ("(at + INTERVAL '90 minutes')::TEXT", "2011-12-09T14:00:05Z"),
        ("extract(year FROM at) * 100 + extract(month FROM at)", "201112"),
        ("extract(epoch FROM at - TIMESTAMPTZ '2011-12-09 12:00:00+00')", "1805.0"),
        ("to_timestamp('2011-12-09T12:30:05+01:00')", "2011-12-09T11:30:05Z"),
        ("to_timestamp(1323433805)", "2011-12-09T12:30:05Z"),
        ("'2011-12-09 12:30:05.123456'::TIMESTAMPTZ", "2011-12-09T12:30:05.123456Z"),
        ("TIMESTAMP '2011-12-09 12:30:05' = at", "true"),
        ("to_char(at, 'DD Mon YYYY HH24:MI')", "09 Dec 2011 12:30"),
        ("to_char(at::DATE, 'FMDay')", "Friday"),
        ("at - (at - INTERVAL '1 day') > INTERVAL '23 hours'", "true"),
        ("INTERVAL '1 month' > INTERVAL '29 days'", "true"),
        ("INTERVAL '1 day' = INTERVAL '24 hours'", "true"),
        ("at > '2011-12-09'", "true"),
        ("at BETWEEN '2011-12-01' AND '2011-12-31'", "true"),
        ("date_bin(INTERVAL '15 minutes', at)", "2011-12-09T12:30:00Z"),
    ] {
        assert_eq!(row(&format!("SELECT {expression} AS x {at}")), expected, "{expression}");
    }
    for expression in [
        "at",
        "date_trunc('day', at)",
        "to_timestamp(product)",
        "date_bin(INTERVAL '1 hour', at)",
        "'2011-01-01'::TIMESTAMP",
        "now()",
    ] {
        let read = plan_read(&format!("SELECT {expression} AS x FROM lines"), &Shop).unwrap();
        assert_eq!(*read.schema().field(0).data_type(), crate::sql::session::types::timestamptz(), "{expression}");
    }
    fails("SELECT to_char(at, 'RM') FROM lines", "does not know the pattern RM");
    fails("SELECT to_char(quantity, '999') FROM lines", "to_char of a value of type BIGINT");
}

#[test]
fn texts_and_json() {
    for (expression, expected) in [
        ("meta->>'color'", "green"),
        ("(meta->'n')::BIGINT + 1", "8"),
        ("meta->>'nothing'", "NULL"),
        ("upper(name) || '!'", "TEA!"),
        ("substr(product, 2, 1)", "e"),
        ("CASE WHEN cost > 0.2 THEN 'dear' ELSE 'cheap' END", "dear"),
        ("coalesce(NULL, name)", "Tea"),
        ("length(name)", "3"),
        ("regexp_replace(name, 'e', 'E')", "TEa"),
        ("name LIKE 'T%' AND name ~ '^T'", "true"),
        ("split_part('a,b', ',', 2)", "b"),
        ("md5('a')", "0cc175b9c0f1b6a831c399e269772661"),
        ("[1, 2, 3]", "[1, 2, 3]"),
        ("array_length([1, 2, 3])", "3"),
    ] {
        assert_eq!(
            row(&format!("SELECT {expression} AS x FROM products WHERE product = 'tea'")),
            expected,
            "{expression}"
        );
    }
}

#[test]
fn reads_may_do_anything() {
    for (query, expected) in [
        ("SELECT 1 AS a, NULL AS b", "1 | NULL"),
        ("SELECT count(*) FROM lines l LEFT JOIN products p USING (product) WHERE p.product IS NULL", "1"),
        ("SELECT product FROM lines ORDER BY price DESC, product LIMIT 1", "pot"),
        ("SELECT max(n) FROM (SELECT row_number() OVER (PARTITION BY invoice ORDER BY price) AS n FROM lines) t", "2"),
        ("SELECT product FROM lines WHERE product NOT IN (SELECT product FROM products)", "pot"),
        ("SELECT (SELECT count(*) FROM products) + 1 AS n", "3"),
        ("WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 5) SELECT sum(n) FROM t", "15"),
        ("SELECT count(*) FROM (SELECT country FROM lines EXCEPT SELECT 'UK') t", "2"),
        ("SELECT count(*) FROM lines, lines AS other", "16"),
        ("SELECT sum(x) FROM (SELECT unnest([1, 2, 3]) AS x) t", "6"),
        ("SELECT median(price) FROM lines", "2.87"),
        ("SELECT count(*) FROM big", "1"),
        ("SELECT count(*) FROM ranked", "4"),
        ("SELECT count(*) FROM \"lines$errors\"", "0"),
        ("SELECT sum(value) FROM generate_series(1, 4)", "10"),
        ("SELECT now() > TIMESTAMPTZ '2020-01-01' AS later", "true"),
        (
            "SELECT count(*) FROM (SELECT DISTINCT ON (invoice) invoice, price FROM lines ORDER BY invoice, price) t",
            "3",
        ),
        ("SELECT sum(n) FROM (SELECT count(*) n FROM lines GROUP BY ROLLUP (invoice)) t", "8"),
    ] {
        assert_eq!(row(query), expected, "{query}");
    }
    let read = plan_read("SELECT l.invoice FROM big l JOIN products USING (product)", &Shop).unwrap();
    assert_eq!(read.collections(), [ObjectId(1).rows(), ObjectId(2).rows()]);
    let answer = run("SELECT invoice, sum(quantity) AS q FROM lines GROUP BY invoice ORDER BY invoice").unwrap();
    insta::assert_snapshot!(pretty_format_batches(&answer).unwrap(), @r"
    +---------+-----+
    | invoice | q   |
    +---------+-----+
    | A1      | 5   |
    | B2      | -1  |
    | C3      | 200 |
    +---------+-----+
    ");
}

#[test]
fn aggregates_depend_on_their_rows_alone() {
    for (query, expected) in [
        ("SELECT string_agg(x, ',' ORDER BY y DESC) FROM (VALUES ('a', 1), ('b', 2)) t(x, y)", "b,a"),
        ("SELECT string_agg(x, ',') FROM (VALUES ('b'), ('a'), (NULL), ('a')) t(x)", "a,a,b"),
        ("SELECT string_agg(DISTINCT x, ',' ORDER BY x DESC) FROM (VALUES ('b'), ('a'), ('a')) t(x)", "b,a"),
        ("SELECT array_agg(x ORDER BY x DESC NULLS LAST) FROM (VALUES (1), (NULL), (2)) t(x)", "[2, 1, ]"),
        ("SELECT first_value(x ORDER BY y) FROM (VALUES (9, 1), (5, 1), (7, 2)) t(x, y)", "5"),
        ("SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY x) FROM (VALUES (4), (1), (NULL), (3), (2)) t(x)", "2"),
        ("SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY x DESC) FROM (VALUES (4), (1), (3), (2)) t(x)", "3"),
        ("SELECT mode() WITHIN GROUP (ORDER BY x) FROM (VALUES ('b'), ('a'), ('b'), ('a'), ('c')) t(x)", "a"),
        ("SELECT var_samp(x) FROM (VALUES (1), (2), (4)) t(x)", "2.3333333333333335"),
        ("SELECT corr(x, y), regr_count(x, y) FROM (VALUES (1, 2), (2, 4), (3, 6), (4, NULL)) t(x, y)", "1.0 | 3"),
        ("SELECT stddev(x) FROM (VALUES (0.1), (0.1), (0.1)) t(x)", "0.0"),
        ("SELECT sum(DISTINCT x), avg(DISTINCT x) FROM (VALUES (1), (1), (2)) t(x)", "3 | 1.5"),
        ("SELECT count(DISTINCT x, y) FROM (VALUES (1, 2), (1, 2), (1, 3), (1, NULL)) t(x, y)", "2"),
        ("SELECT variance(x) FROM (VALUES (1)) t(x)", "NULL"),
    ] {
        assert_eq!(row(query), expected, "{query}");
    }
}

#[test]
fn lists_of_the_left_side_can_be_unnested() {
    let lists = "(VALUES (1, [1, 2]), (2, [3]), (3, NULL), (4, [])) AS t(k, l)";
    for (query, expected) in [
        (format!("SELECT sum(u.x), count(*), max(k) FROM {lists}, unnest(t.l) AS u(x)"), "6 | 3 | 2"),
        (format!("SELECT count(*), count(u.x) FROM {lists} LEFT JOIN unnest(t.l) AS u(x) ON true"), "5 | 3"),
        (format!("SELECT sum(x) FROM {lists} JOIN unnest(t.l) AS u(x) ON u.x > t.k"), "5"),
    ] {
        assert_eq!(row(&query), expected, "{query}");
    }
}

#[test]
fn failures_have_words_and_a_place() {
    fails("SELECT product::BIGINT FROM lines", "tea");
    fails("SELECT 'x'::DATE", "x");
    for (query, place, message, hint) in [
        ("SELECT nothing FROM lines", "1:8", "column \"nothing\" does not exist", "lines.invoice"),
        ("SELECT *\nFROM line", "2:6", "relation \"line\" does not exist", "did you mean \"lines\"?"),
        ("SELECT *\nFROM a.lines", "2:6", "the qualified name \"a.lines\"", "no schemas"),
        ("SELECT foo(1)", "1:8", "invalid function 'foo'", "did you mean"),
        ("SELECT * FROM broken", "1:15", "in view \"broken\": column \"nothing\" does not exist", "lines.invoice"),
        ("SELECT 1 + ", "1:11", "expected: an expression, found: EOF", ""),
        (
            "SELECT * FROM lines l, LATERAL (SELECT p.product FROM products p WHERE p.product = l.product LIMIT 1) x",
            "1:24",
            "a subquery that reads columns of the query around it in this way",
            "join",
        ),
        ("SELECT x::UUID FROM (SELECT 'a' AS x) t", "1:1", "the type UUID", "use TEXT"),
        (
            "SELECT count(product IN (SELECT product FROM products)) AS x FROM lines",
            "1:22",
            "EXISTS or IN (SELECT …) in this place",
            "WHERE",
        ),
        ("SELECT encode('a', 'base64'), 'a'::BYTEA", "1:1", "the type BYTEA", "encode"),
    ] {
        let error = run(query).map(|rows| panic!("{query}: {rows:?}")).unwrap_err();
        assert_eq!(error.message, message, "{query}");
        assert_eq!(error.position.unwrap().to_string(), place, "{query}");
        assert!(error.hint.unwrap_or_default().contains(hint), "{query}");
    }
}

#[test]
fn what_the_planner_gets_wrong_is_right() {
    assert_eq!(
        row("SELECT string_agg(x, ',') FROM (VALUES ('a'), ('a'), ('b') EXCEPT ALL VALUES ('a')) AS t (x)"),
        "a,b"
    );
    assert_eq!(
        row("SELECT count(*) FROM (VALUES (1), (1), (NULL) INTERSECT ALL VALUES (1), (NULL), (NULL)) AS t (x)"),
        "2"
    );
    // The same relation inside and outside.
    assert_eq!(row("SELECT max(quantity) FROM lines WHERE quantity < ANY (SELECT quantity FROM lines)"), "3");
    assert_eq!(row("SELECT count(*) FROM lines WHERE quantity >= ALL (SELECT quantity FROM lines)"), "1");
    // A float beside a decimal, and a number too large for BIGINT.
    assert_eq!(row("SELECT max(x) FROM (VALUES (1.5), ('NaN'::DOUBLE PRECISION)) AS t (x)"), "NaN");
    assert_eq!(row("SELECT max(x) FROM (VALUES (1), (18446744073709551615)) AS t (x)"), "18446744073709551615");
    // Keys that are constant in parts of a union, and NULL in some grouping sets.
    let union = "(SELECT 'a' AS x FROM products UNION ALL SELECT 'b' AS x FROM products) AS t";
    for (groups, rows) in [("CUBE (x, 2.25)", "6"), ("ROLLUP (x, 2.25)", "5"), ("GROUPING SETS ((2.25), (), ())", "3")]
    {
        assert_eq!(
            row(&format!("SELECT count(*) FROM (SELECT 1 FROM {union} GROUP BY {groups}) AS g")),
            rows,
            "{groups}"
        );
    }
    let totals = "SELECT count(x), min(x), sum(n), sum(g) FROM (SELECT x, count(*) AS n, grouping(x) AS g FROM";
    assert_eq!(row(&format!("{totals} {union} GROUP BY GROUPING SETS ((x), ())) AS g")), "2 | a | 8 | 1");
    assert_eq!(
        row(&format!("{totals} {union} WHERE x = 'c' GROUP BY GROUPING SETS ((x), ())) AS g")),
        "0 | NULL | 0 | 1"
    );
    // An order asked for above an OFFSET, copies in BIT_XOR(DISTINCT), columns of one name on both sides of a join.
    let skipped = "(SELECT invoice, price FROM lines ORDER BY price OFFSET 3) AS t";
    let last = row("SELECT invoice FROM lines ORDER BY price DESC LIMIT 1");
    assert_eq!(
        row(&format!(
            "SELECT min(invoice) FROM (SELECT *, row_number() OVER (ORDER BY price DESC) FROM {skipped}) AS n"
        )),
        last
    );
    assert_eq!(
        row("SELECT bit_xor(DISTINCT x), count(*) FROM (VALUES (6, 1), (6, 1)) AS t (x, y) GROUP BY y"),
        "6 | 2"
    );
    let sides = "(VALUES (1, 5), (1, NULL)) AS a (k, v), (VALUES (1, 5, 1), (1, NULL, 2)) AS b (k, v, n)";
    assert_eq!(
        row(&format!("SELECT count(*) FROM {sides} WHERE a.k = b.k AND n > 1 AND COALESCE(b.v, a.v) >= (SELECT 5)")),
        "1"
    );
    let all = "SELECT invoice FROM (SELECT invoice, max(price) AS p FROM lines GROUP BY invoice) AS t ORDER BY p DESC";
    assert_eq!(row(&format!("SELECT count(*) FROM ({all} LIMIT {}) AS t", i64::MAX)), "3");
    // What is computed with places is BIGINT.
    let numbered = plan_read("SELECT row_number() OVER (ORDER BY price) * 2 AS n FROM lines", &Shop).unwrap();
    assert_eq!(*numbered.schema().field(0).data_type(), arrow::datatypes::DataType::Int64);
    let names = |query| -> Vec<String> {
        plan_read(query, &Shop).unwrap().schema().fields().iter().map(|field| field.name().clone()).collect()
    };
    assert_eq!(names("SELECT invoice, 1 AS invoice, invoice FROM lines"), ["invoice"; 3]);
}
