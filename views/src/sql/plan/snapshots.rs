//! Plans as EXPLAIN shows them.

use super::tests::explained;

#[test]
fn constants_are_computed_while_planning() {
    insta::assert_snapshot!(explained("SELECT 1 + 1 AS two, 'x' AS x"), @r#"
    Constant (1 rows)
        columns: two, x
    "#);
    insta::assert_snapshot!(explained("SELECT x, y FROM (VALUES (1, 'a'), (2, NULL)) AS t(x, y) WHERE x > 1"), @r#"
    Constant (1 rows)
        columns: x, y
    "#);
    insta::assert_snapshot!(explained("SELECT 1 AS x WHERE false"), @r#"
    Constant (0 rows)
        columns: x
    "#);
}

#[test]
fn columns_are_read_only_where_needed() {
    insta::assert_snapshot!(explained("SELECT invoice AS number FROM lines"), @r#"
    Get lines (shared import, append-only)
        columns: number
    "#);
    insta::assert_snapshot!(explained("SELECT count(*) FROM lines"), @r#"
    Reduce (private table)
        one group
        count(*) AS count(*) (slot)
      Get lines (shared import, append-only)
          columns: customer
    "#);
    insta::assert_snapshot!(explained(r#"SELECT message FROM "lines$errors""#), @r#"
    Get lines$errors (shared import, append-only)
        columns: message
    "#);
}

#[test]
fn filters_and_projections_are_fused() {
    insta::assert_snapshot!(explained("SELECT invoice, q * 2 AS q FROM (SELECT invoice, quantity + 1 AS q FROM big WHERE price > 1) t WHERE invoice <> 'C' AND q > 0"), @r#"
    Filter and project
        filter: invoice != 'C' AND price > 1.00 AND quantity >= 100 AND (quantity + 1) > 0
        project: invoice, (quantity + 1) * 2 AS q
      Get lines (shared import, append-only)
          columns: invoice, quantity, price
    "#);
    insta::assert_snapshot!(explained("SELECT meta->>'color' AS color, (meta->'n')::BIGINT AS n FROM products WHERE name LIKE 'A%' AND cost IN (1, 2.5)"), @r#"
    Filter and project
        filter: (cost = 1.00) OR (cost = 2.50) AND name LIKE 'A%'
        project: json_as_text(meta, 'color') AS color, json_get_int(meta, 'n') AS n
      Get products (shared import, append-only)
          columns: name, cost, meta
    "#);
    insta::assert_snapshot!(explained("SELECT to_char(at, 'YYYY-MM') AS month, at + INTERVAL '1 day' AS t, CASE WHEN quantity < 0 THEN 'refund' ELSE 'sale' END AS kind FROM lines"), @r#"
    Project
        project: to_char(at, 'YYYY-MM') AS month, at + INTERVAL '1 days' AS t, CASE WHEN quantity < 0 THEN 'refund' ELSE 'sale' END AS kind
      Get lines (shared import, append-only)
          columns: quantity, at
    "#);
}

#[test]
fn groups() {
    insta::assert_snapshot!(explained("SELECT country, sum(quantity * price) AS gross, count(*) AS n, count(DISTINCT invoice) AS invoices, avg(quantity) AS a, min(at) AS first, max(product) FILTER (WHERE quantity > 0) AS last FROM lines WHERE price / quantity > 1 GROUP BY country HAVING count(*) > 3"), @r#"
    Filter and project
        filter: count(Int64(1)) > 3
        project: country, sum(lines.quantity * lines.price) AS gross, count(Int64(1)) AS n, count(DISTINCT lines.invoice) AS invoices, avg(lines.quantity) AS a, min(lines.at) AS first, max(lines.product) FILTER (WHERE lines.quantity > Int64(0)) AS last
      Reduce (private table)
          keys: country
          sum(CAST(quantity AS Decimal128(20, 0)) * price) AS sum(lines.quantity * lines.price) (slot)
          count(*) AS count(Int64(1)) (slot)
          count(DISTINCT invoice) AS count(DISTINCT lines.invoice) (set per group)
          avg(CAST(quantity AS Float64)) AS avg(lines.quantity) (slot)
          min(at) AS min(lines.at) (slot, append-only)
          max(product) FILTER (quantity > 0) AS max(lines.product) FILTER (WHERE lines.quantity > Int64(0)) (slot, append-only)
        Filter and project
            filter: (price / CAST(quantity AS Decimal128(20, 0))) > 1.000000
            project: invoice, product, quantity, price, at, country
          Get lines (shared import, append-only)
              columns: invoice, product, quantity, price, at, country
    "#);
    insta::assert_snapshot!(explained("SELECT max(total) AS m, count(customer) AS c FROM totals"), @r#"
    Reduce (private table)
        one group
        max(total) AS m (multiset per group)
        count(customer) AS c (slot)
      Get totals (shared import, with retractions)
          columns: customer, total
    "#);
    insta::assert_snapshot!(explained("SELECT date_trunc('day', at) AS day, sum(weight * 2.5) AS w FROM lines GROUP BY 1"), @r#"
    Reduce (private table)
        keys: date_trunc('day', at) AS day
        sum(weight * 2.5) AS w (slot)
      Get lines (shared import, append-only)
          columns: at, weight
    "#);
    insta::assert_snapshot!(explained("SELECT DISTINCT customer, country FROM big"), @r#"
    Distinct (private table)
      Filter and project
          filter: quantity >= 100
          project: customer, country
        Get lines (shared import, append-only)
            columns: customer, quantity, country
    "#);
    insta::assert_snapshot!(explained("SELECT product FROM lines UNION SELECT product FROM products"), @r#"
    Distinct (private table)
      Union
        Get lines (shared import, append-only)
            columns: product
        Get products (shared import, append-only)
            columns: product
    "#);
}

#[test]
fn joins() {
    insta::assert_snapshot!(explained("SELECT l.invoice, p.name FROM lines l JOIN products p USING (product) WHERE p.cost < l.price"), @r#"
    Project
        project: invoice, name
      Join (private table per side)
          keys: product = product
          filter: cost < price
        Get lines (shared import, append-only)
            columns: invoice, product, price
        Get products (shared import, append-only)
            columns: product, name, cost
    "#);
    insta::assert_snapshot!(explained("SELECT l.invoice, p.name FROM lines l CROSS JOIN products p"), @r#"
    Cross join (private table per side)
      Get lines (shared import, append-only)
          columns: invoice
      Get products (shared import, append-only)
          columns: name
    "#);
    insta::assert_snapshot!(explained("SELECT l.invoice, p.name FROM lines l, products p WHERE l.price > p.cost"), @r#"
    Project
        project: invoice, name
      Cross join (private table per side)
          filter: cost < price
        Get lines (shared import, append-only)
            columns: invoice, price
        Get products (shared import, append-only)
            columns: name, cost
    "#);
    insta::assert_snapshot!(explained("SELECT l.invoice, t.total FROM lines l JOIN totals t ON l.customer + 1 = t.customer AND l.quantity = t.total"), @r#"
    Project
        project: invoice, total
      Join (private table per side)
          keys: customer + 1 = customer, CAST(quantity AS Decimal128(38, 2)) = total
        Get lines (shared import, append-only)
            columns: invoice, customer, quantity
        Get totals (shared import, with retractions)
            columns: customer, total
    "#);
    insta::assert_snapshot!(explained("SELECT a.invoice FROM lines a JOIN lines b ON a.country IS NOT DISTINCT FROM b.country"), @r#"
    Project
        project: invoice
      Join (private table per side)
          keys: country IS NOT DISTINCT FROM country
        Get lines (shared import, append-only)
            columns: invoice, country
        Get lines (shared import, append-only)
            columns: country
    "#);
    insta::assert_snapshot!(explained("SELECT count(*) AS n FROM lines, products, totals"), @r#"
    Reduce (private table)
        one group
        count(*) AS n (slot)
      Cross join (private table per side)
        Project
            project: true AS row
          Cross join (private table per side)
            Project
                project: true AS row
              Get lines (shared import, append-only)
                  columns: customer
            Project
                project: true AS row
              Get products (shared import, append-only)
                  columns: added
        Project
            project: true AS row
          Get totals (shared import, with retractions)
              columns: customer
    "#);
}

#[test]
fn semi_joins() {
    insta::assert_snapshot!(explained("SELECT invoice FROM lines l WHERE product IN (SELECT product FROM products)"), @r#"
    Project
        project: invoice
      Semi join (private table per side)
          keys: product = product
        Get lines (shared import, append-only)
            columns: invoice, product
        Get products (shared import, append-only)
            columns: product
    "#);
    insta::assert_snapshot!(explained("SELECT invoice FROM lines l WHERE EXISTS (SELECT 1 FROM products p WHERE p.product = l.product AND p.cost < l.price)"), @r#"
    Project
        project: invoice
      Semi join (private table per side)
          keys: product IS NOT DISTINCT FROM product, price IS NOT DISTINCT FROM price
        Get lines (shared import, append-only)
            columns: invoice, product, price
        Distinct (private table)
          Project
              project: product, price
            Join (private table per side)
                keys: product = product
                filter: cost < price
              Distinct (private table)
                Get lines (shared import, append-only)
                    columns: product, price
              Project
                  project: cost, product
                Get products (shared import, append-only)
                    columns: product, cost
    "#);
    insta::assert_snapshot!(explained("SELECT invoice FROM lines l WHERE EXISTS (SELECT 1 FROM products p WHERE p.cost > 3)"), @r#"
    Semi join (private table per side)
        keys: true = true
      Get lines (shared import, append-only)
          columns: invoice
      Filter and project
          filter: cost > 3.00
          project: true AS row
        Get products (shared import, append-only)
            columns: cost
    "#);
    insta::assert_snapshot!(explained("SELECT customer FROM totals INTERSECT SELECT customer FROM lines"), @r#"
    Semi join (private table per side)
        keys: customer IS NOT DISTINCT FROM customer
      Distinct (private table)
        Get totals (shared import, with retractions)
            columns: customer
      Get lines (shared import, append-only)
          columns: customer
    "#);
}

#[test]
fn equal_parts_are_built_once() {
    insta::assert_snapshot!(explained("WITH t AS (SELECT customer, sum(quantity) AS q FROM lines GROUP BY customer) SELECT a.customer, a.q + b.q AS s FROM t a JOIN t b ON a.customer = b.customer"), @r#"
    Project
        project: customer, sum(lines.quantity) + sum(lines.quantity) AS s
      Join (private table per side)
          keys: customer = customer
        #1 Reduce (private table)
            keys: customer
            sum(quantity) AS sum(lines.quantity) (slot)
          Get lines (shared import, append-only)
              columns: customer, quantity
        → #1 (shown above)
    "#);
    insta::assert_snapshot!(explained("SELECT invoice FROM lines UNION ALL SELECT product FROM products UNION ALL SELECT invoice FROM lines"), @r#"
    Union
      Get lines (shared import, append-only)
          columns: invoice
      Get products (shared import, append-only)
          columns: product
      Get lines (shared import, append-only)
          columns: invoice
    "#);
}

#[test]
fn outer_and_anti_joins() {
    insta::assert_snapshot!(explained("SELECT invoice, cost FROM lines l LEFT JOIN products p ON p.product = l.product AND p.cost < l.price"), @r#"
    Project
        project: invoice, cost
      Union
        #2 Join (private table per side)
            keys: product = product
            filter: cost < price
          Get lines (shared import, append-only)
              columns: invoice, product, price
          Get products (shared import, append-only)
              columns: product, cost
        Project
            project: invoice, product, price, NULL AS product, NULL AS cost
          Anti join (private table per side)
              keys: product IS NOT DISTINCT FROM product, price IS NOT DISTINCT FROM price
            Get lines (shared import, append-only)
                columns: invoice, product, price
            Distinct (private table)
              Project
                  project: product, price
                → #2 (shown above)
    "#);
    insta::assert_snapshot!(explained("SELECT invoice FROM lines WHERE product NOT IN (SELECT name FROM products)"), @r#"
    Anti join (private table per side)
        keys: true = true
      Project
          project: invoice
        Anti join (private table per side)
            keys: product = name
          Get lines (shared import, append-only)
              columns: invoice, product
          Get products (shared import, append-only)
              columns: name
      Filter and project
          filter: name IS NULL
          project: true AS row
        Get products (shared import, append-only)
            columns: name
    "#);
    insta::assert_snapshot!(explained("SELECT invoice, (SELECT name FROM products) AS p FROM lines"), @r#"
    Project
        project: invoice, name AS p
      Left join (private table per side)
        Get lines (shared import, append-only)
            columns: invoice
        Filter and project
            filter: only_row(rows)
            project: name
          Reduce (private table)
              one group
              count(*) AS rows (slot)
              min(name) AS name (slot, append-only)
            Get products (shared import, append-only)
                columns: name
    "#);
}

#[test]
fn first_ranks() {
    insta::assert_snapshot!(explained("SELECT invoice FROM (SELECT invoice, dense_rank() OVER (PARTITION BY product ORDER BY price DESC) AS n FROM lines) AS t WHERE n < 3"), @r#"
    Filter and project
        filter: dense_rank() < 3
        project: invoice
      Window, top rows (private tree per partition)
          partition: product
          order: price DESC
          leaves: dense ranks up to 2
          dense_rank() AS dense_rank()
        Get lines (shared import, append-only)
            columns: invoice, product, price
    "#);
}

#[test]
fn windows_and_top_rows() {
    insta::assert_snapshot!(explained("SELECT invoice, ntile(5) OVER (ORDER BY price, invoice) AS tile, lag(price) OVER (PARTITION BY product ORDER BY at DESC) AS before FROM lines"), @r#"
    Project
        project: invoice, ntile(5) AS tile, lag(lines.price) PARTITION BY [lines.product] ORDER BY [lines.at DESC NULLS FIRST] RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW AS before
      Window (private tree per partition)
          one partition
          order: price, invoice
          ntile(5) AS ntile(5)
        Project
            project: invoice, price, lag(lines.price) AS lag(lines.price) PARTITION BY [lines.product] ORDER BY [lines.at DESC NULLS FIRST] RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
          Window (private tree per partition)
              partition: product
              order: at DESC
              lag(price, 1) AS lag(lines.price)
            Get lines (shared import, append-only)
                columns: invoice, product, price, at
    "#);
    insta::assert_snapshot!(explained("SELECT invoice FROM (SELECT invoice, row_number() OVER (PARTITION BY product ORDER BY price DESC) AS n FROM lines) AS t WHERE n <= 3"), @r#"
    Filter and project
        filter: row_number() <= 3
        project: invoice
      Window, top rows (private tree per partition)
          partition: product
          order: price DESC
          leaves: 3 rows
          row_number() AS row_number()
        Get lines (shared import, append-only)
            columns: invoice, product, price
    "#);
    insta::assert_snapshot!(explained("SELECT invoice, sum(price) OVER (PARTITION BY product ORDER BY at RANGE INTERVAL '10 minutes' PRECEDING) AS spent FROM lines"), @r#"
    Project
        project: invoice, sum(lines.price) AS spent
      Window (private tree per partition)
          partition: product
          order: at
          sum(price) range between 600000000 preceding and current row AS sum(lines.price)
        Get lines (shared import, append-only)
            columns: invoice, product, price, at
    "#);
    insta::assert_snapshot!(explained("SELECT DISTINCT ON (product) product, price FROM lines ORDER BY product, price DESC"), @r#"
    Filter and project
        filter: row_number() = 1
        project: product, price
      Window, top rows (private tree per partition)
          partition: product
          order: product, price DESC
          leaves: 1 rows
          row_number() AS row_number()
        Get lines (shared import, append-only)
            columns: product, price
    "#);
    insta::assert_snapshot!(explained("SELECT invoice FROM lines ORDER BY price LIMIT 3 OFFSET 1"), @r#"
    Project
        project: invoice
      Top rows (private tree)
          one partition
          order: price
          leaves: 3 rows behind the first 1
        Get lines (shared import, append-only)
            columns: invoice, price
    "#);
}
