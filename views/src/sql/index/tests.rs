//! What is planned as an index, which joins and reads use it, and how that is shown.

use headwater_dataflow::repr::{CollectionId, ObjectId};

use super::*;
use crate::sql::plan::tests::Shop;
use crate::sql::{Position, Relation, plan_read, plan_view};

/// The shop with an index on each of some columns.
struct Indexed(Vec<NamedIndex>);

impl Indexed {
    fn new(indexes: &[(&str, &[&str])]) -> Indexed {
        let mut shop = Indexed(Vec::new());
        for (number, (of, columns)) in (10..).zip(indexes) {
            let create = create(of, columns);
            let (index, _) = plan_index(ObjectId(number), &create, &shop).unwrap();
            shop.0.push(NamedIndex { name: create.name, index });
        }
        shop
    }
}

impl Relations for Indexed {
    fn relation(&self, name: &str) -> Option<Relation> {
        Shop.relation(name)
    }

    fn names(&self) -> Vec<String> {
        Shop.names()
    }

    fn indexes(&self, collection: CollectionId) -> Vec<NamedIndex> {
        self.0.iter().filter(|named| named.index.of == collection).cloned().collect()
    }
}

fn create(of: &str, columns: &[&str]) -> CreateIndex {
    let place = |column| Position { line: 1, column };
    let columns: Vec<_> = (20..).zip(columns).map(|(at, name)| ((*name).to_owned(), place(at))).collect();
    let name = format!("{of}_idx");
    CreateIndex { name, if_not_exists: false, of: of.to_owned(), place: place(9), columns }
}

/// How the first join of a view is shown.
fn join(shop: &Indexed, query: &str) -> String {
    let planned = plan_view(query, shop).unwrap();
    let join = planned.explain.lines().find(|line| line.contains("oin (")).unwrap_or_else(|| panic!("{query}"));
    assert_eq!(join.contains("index"), !planned.indexes().is_empty(), "{query}");
    join.trim().to_owned()
}

#[test]
fn an_index_has_all_columns_its_own_first() {
    let (index, planned) = plan_index(ObjectId(9), &create("totals", &["total"]), &Shop).unwrap();
    assert_eq!((index.columns, index.key, planned.imports), (vec![1, 0], 1, vec![ObjectId(3).rows()]));
    assert_eq!(
        planned.explain,
        "Index (arranged by total)\n  Get totals (shared import, with retractions)\n      columns: total, customer\n"
    );
}

#[test]
fn joins_look_up_where_one_side_is_kept_by_the_keys() {
    let shop = Indexed::new(&[("products", &["product"]), ("totals", &["total", "customer"])]);
    for (query, shown) in [
        ("SELECT invoice, name FROM lines JOIN products USING (product)", "Join (private table, index products_idx)"),
        (
            "SELECT name, invoice FROM products p LEFT JOIN lines l ON p.product = l.product",
            "Left join (index products_idx, private table)",
        ),
        (
            "SELECT invoice FROM lines WHERE NOT EXISTS (SELECT 1 FROM products p WHERE p.product = lines.product)",
            "Anti join (private table, index products_idx)",
        ),
        (
            "SELECT l.invoice FROM lines l JOIN totals t ON l.customer = t.customer AND CAST(l.price AS DECIMAL(38, 2)) = t.total",
            "Join (private table, index totals_idx)",
        ),
        ("SELECT l.invoice FROM lines l JOIN totals t ON l.customer = t.customer", "Join (private table per side)"),
        (
            "SELECT invoice FROM lines l JOIN products p ON l.product = p.product AND p.name > 'a'",
            "Join (private table per side)",
        ),
        (
            "SELECT a.name FROM products a JOIN products b ON a.product = b.product",
            "Join (index products_idx, index products_idx)",
        ),
    ] {
        assert_eq!(join(&shop, query), shown, "{query}");
    }
    let planned = plan_view("SELECT invoice, name FROM lines JOIN products USING (product)", &shop).unwrap();
    let shown = "Look up in index products_idx (shared arrangement)\n        columns: product, name\n";
    assert!(planned.explain.contains(shown), "{}", planned.explain);
    assert_eq!(planned.imports, [ObjectId(1).rows(), ObjectId(10).rows()]);
}

/// How many keys a read looks up in which index.
fn lookups(shop: &Indexed, query: &str) -> Vec<(String, usize)> {
    let planned = plan_read(query, shop).unwrap();
    planned.lookups().values().map(|lookup| (lookup.name.clone(), lookup.keys.beginnings.len())).collect()
}

#[test]
fn reads_look_up_the_values_of_the_first_columns() {
    let shop = Indexed::new(&[("products", &["product"]), ("lines", &["customer", "country"])]);
    let (products, lines) = ("products_idx", "lines_idx");
    for (query, found) in [
        ("SELECT name FROM products WHERE product = 'tea'", vec![(products, 1)]),
        ("SELECT name FROM products WHERE 'tea' = product AND cost > 1", vec![(products, 1)]),
        ("SELECT name FROM products p WHERE p.product IN ('a', 'b', 'a')", vec![(products, 2)]),
        ("SELECT name FROM products WHERE product = 'a' OR product = 'b'", vec![(products, 2)]),
        ("SELECT name FROM products WHERE product = 'a' OR name = 'b'", vec![]),
        ("SELECT name FROM products WHERE product > 'a'", vec![]),
        ("SELECT name FROM products WHERE product NOT IN ('a', 'b', 'c', 'd', 'e')", vec![]),
        ("SELECT name FROM products WHERE product = name", vec![]),
        ("SELECT name FROM products", vec![]),
        ("SELECT invoice FROM lines WHERE customer = 7", vec![(lines, 1)]),
        ("SELECT invoice FROM big WHERE customer = 7", vec![(lines, 1)]),
        ("SELECT invoice FROM lines WHERE country IN ('a', 'b', 'c', 'd', 'e') AND customer = 7", vec![(lines, 5)]),
        ("SELECT invoice FROM lines WHERE country = 'a'", vec![]),
        ("SELECT invoice FROM lines WHERE customer = 7.5", vec![]),
        (
            "SELECT invoice, name FROM lines JOIN products USING (product) WHERE customer = 7 AND products.product = 'tea'",
            vec![(lines, 1), (products, 1)],
        ),
        (
            "SELECT invoice FROM lines WHERE customer = 7 UNION ALL SELECT invoice FROM lines WHERE customer = 8",
            vec![(lines, 2)],
        ),
        ("SELECT invoice FROM lines WHERE customer = 7 UNION ALL SELECT invoice FROM lines", vec![]),
        ("SELECT 1 WHERE EXISTS (SELECT 1 FROM products WHERE product = 'tea')", vec![(products, 1)]),
    ] {
        let found: Vec<_> = found.into_iter().map(|(name, keys)| (name.to_owned(), keys)).collect();
        assert_eq!(lookups(&shop, query), found, "{query}");
    }
    let two = Indexed::new(&[("lines", &["customer"]), ("lines", &["customer", "country"])]);
    let planned = plan_read("SELECT invoice FROM lines WHERE customer = 1 AND country = 'a'", &two).unwrap();
    assert_eq!(planned.lookups()[&ObjectId(1).rows()].index, ObjectId(11).rows(), "the index that says more");
    let target = crate::sql::ExplainTarget::Query("SELECT name FROM products WHERE product = 'tea'".to_owned());
    let explained = crate::sql::explain(&target, &shop).unwrap();
    assert!(explained.ends_with("Read now: index products_idx (1 key looked up, no scan)\n"), "{explained}");
}

#[test]
fn what_cannot_be_indexed_is_refused() {
    for (of, columns, place, message, hint) in [
        ("nothing", &["a"], "1:9", "relation \"nothing\" does not exist", "SHOW OBJECTS"),
        ("big", &["price"], "1:9", "an index on \"big\", which is a view", "MATERIALIZED VIEW"),
        ("lines$errors", &["message"], "1:9", "an index on \"lines$errors\", which is an errors relation", "itself"),
        ("totals", &["sum"], "1:20", "column \"sum\" of relation \"totals\" does not exist", "customer, total"),
    ] {
        let error = plan_index(ObjectId(9), &create(of, columns), &Shop).map(|_| panic!("{of}")).unwrap_err();
        assert_eq!((error.message.as_str(), error.position.unwrap().to_string().as_str()), (message, place));
        assert!(error.hint.unwrap().contains(hint));
    }
}
