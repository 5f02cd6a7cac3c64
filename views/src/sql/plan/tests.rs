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
                query: "SELECT invoice, row_number() OVER (ORDER BY at) AS n FROM lines".to_owned(),
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

#[track_caller]
fn explained(query: &str) -> String {
    match plan_view(query, &Shop) {
        Ok(view) => {
            assert_eq!(view.explain, plan_view(query, &Shop).unwrap().explain, "planning twice gives two plans");
            view.explain
        }
        Err(error) => panic!("{error:?}"),
    }
}

#[test]
fn smoke() {
    for query in [
        "SELECT 1 AS one, 'x' AS x, NULL AS n",
        "SELECT country, sum(quantity * price) AS gross, count(*) AS n, count(DISTINCT invoice) AS invoices, avg(quantity), min(at), max(product) FROM lines WHERE quantity > 0 AND price / quantity > 1 GROUP BY country HAVING count(*) > 3",
        "SELECT count(*) FROM lines",
        "SELECT date_trunc('day', at) AS day, sum(weight * 2.5) FILTER (WHERE country = 'UK') w FROM lines GROUP BY 1",
        "SELECT DISTINCT customer, country FROM big",
        "SELECT l.invoice, p.name FROM lines l JOIN products p USING (product) WHERE p.cost < l.price",
        "SELECT invoice FROM lines l WHERE EXISTS (SELECT 1 FROM products p WHERE p.product = l.product AND p.cost < l.price)",
        "SELECT invoice FROM lines l WHERE product IN (SELECT product FROM products)",
        "SELECT invoice AS x FROM lines UNION ALL SELECT product FROM products",
        "SELECT l.invoice, p.name FROM lines l CROSS JOIN products p",
        "SELECT l.invoice, p.name FROM lines l JOIN products p ON l.price > p.cost",
        "WITH t AS (SELECT customer, sum(quantity) AS q FROM lines GROUP BY customer) SELECT a.customer, a.q + b.q AS s FROM t a JOIN t b ON a.customer = b.customer",
        "SELECT x, y FROM (VALUES (1, 'a'), (2, NULL)) AS t(x, y)",
        "SELECT message FROM \"lines$errors\"",
        "SELECT product, meta->>'color' AS color, (meta->'n')::BIGINT AS n FROM products",
        "SELECT at::DATE AS d, at + INTERVAL '1 day' AS tomorrow, to_char(at, 'YYYY-MM') AS m FROM lines",
        "SELECT customer FROM totals INTERSECT SELECT customer FROM lines",
    ] {
        println!("{query}\n{}", explained(query));
    }
}
