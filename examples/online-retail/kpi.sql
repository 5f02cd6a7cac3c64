-- Key figures of a shop, kept fresh: in all, by day, hour and month, by country and by product. Reads `lines` of sources.sql.
--
-- Money is in mils. gross = the sale lines; refund = the cancelled lines, positive; net = gross - refund. Ratios are
-- rounded half up in integers: (2a + b) / (2b) is that for a >= 0 and b > 0, and there is none (NULL) for b = 0. The
-- refund may be negative, where integer division cuts towards zero instead of downwards: there, the remainder is made
-- positive first.

CREATE MATERIALIZED VIEW totals AS
SELECT
  count(*)                                                                          AS lines,
  coalesce(sum(amount_mils) FILTER (WHERE kind = 'sale'), 0)                        AS gross_mils,
  coalesce(-sum(amount_mils) FILTER (WHERE kind = 'cancel'), 0)                     AS refund_mils,
  coalesce(sum(amount_mils) FILTER (WHERE kind = 'sale'), 0)
    + coalesce(sum(amount_mils) FILTER (WHERE kind = 'cancel'), 0)                  AS net_mils,
  coalesce(sum(amount_mils) FILTER (WHERE kind = 'sale' AND NOT service), 0)        AS product_gross_mils,
  coalesce(-sum(amount_mils) FILTER (WHERE kind = 'cancel' AND NOT service), 0)     AS product_refund_mils,
  coalesce(sum(amount_mils) FILTER (WHERE kind = 'sale' AND customer_id IS NOT NULL), 0)
                                                                                    AS gross_known_customer_mils,
  coalesce(sum(amount_mils), 0)                                                     AS amount_mils,
  count(DISTINCT invoice_no) FILTER (WHERE kind = 'sale')                           AS orders,
  count(DISTINCT invoice_no) FILTER (WHERE kind = 'cancel')                         AS cancel_invoices,
  count(DISTINCT invoice_no)                                                        AS invoices,
  count(DISTINCT customer_id) FILTER (WHERE kind = 'sale')                          AS customers,
  count(DISTINCT customer_id)                                                       AS customers_any,
  count(DISTINCT stock_code)                                                        AS stock_codes,
  count(DISTINCT country)                                                           AS countries,
  count(*) FILTER (WHERE kind = 'sale')                                             AS sale_lines,
  count(*) FILTER (WHERE kind = 'cancel')                                           AS cancel_lines,
  count(*) FILTER (WHERE kind = 'stock')                                            AS stock_lines,
  count(*) FILTER (WHERE kind = 'adjust')                                           AS adjust_lines,
  count(*) FILTER (WHERE customer_id IS NULL)                                       AS anonymous_lines,
  max(ts)                                                                           AS last_ts
FROM lines;

-- When each customer first bought: whoever buys in the period of this first sale is new there.
CREATE MATERIALIZED VIEW first_sales AS
SELECT customer_id, min(ts) AS first_sale_ts
FROM lines
WHERE kind = 'sale' AND customer_id IS NOT NULL
GROUP BY customer_id;

-- The lines, and beside them one entry of a kind of its own for each customer's first sale: so that one grouping by
-- period counts both, and a period without new customers still has its row.
CREATE VIEW period_entries AS
SELECT ts, kind, service, invoice_no, customer_id, quantity, amount_mils FROM lines
UNION ALL
SELECT first_sale_ts, 'first_sale', FALSE, CAST(NULL AS TEXT), customer_id, CAST(0 AS INT), CAST(0 AS BIGINT)
FROM first_sales;

CREATE MATERIALIZED VIEW daily_kpis AS
WITH sums AS (
  SELECT
    CAST(ts AS DATE) AS period,
    coalesce(sum(amount_mils) FILTER (WHERE kind = 'sale'), 0)                    AS gross_mils,
    coalesce(-sum(amount_mils) FILTER (WHERE kind = 'cancel'), 0)                 AS refund_mils,
    coalesce(sum(amount_mils) FILTER (WHERE kind = 'sale' AND NOT service), 0)    AS product_gross_mils,
    coalesce(-sum(amount_mils) FILTER (WHERE kind = 'cancel' AND NOT service), 0) AS product_refund_mils,
    count(DISTINCT invoice_no) FILTER (WHERE kind = 'sale')                       AS orders,
    count(*) FILTER (WHERE kind = 'sale')                                         AS sale_lines,
    coalesce(sum(quantity) FILTER (WHERE kind = 'sale'), 0)                       AS units,
    count(DISTINCT customer_id) FILTER (WHERE kind = 'sale')                      AS active_customers,
    count(*) FILTER (WHERE kind = 'first_sale')                                   AS new_customers,
    count(DISTINCT invoice_no) FILTER (WHERE kind = 'sale' AND customer_id IS NULL) AS anonymous_orders,
    count(DISTINCT invoice_no) FILTER (WHERE kind = 'cancel')                     AS cancel_invoices,
    count(*) FILTER (WHERE kind = 'cancel')                                       AS cancel_lines,
    count(*) FILTER (WHERE kind = 'stock')                                        AS stock_lines,
    count(*) FILTER (WHERE kind = 'adjust')                                       AS adjust_lines,
    coalesce(sum(amount_mils) FILTER (WHERE kind = 'adjust'), 0)                  AS adjust_mils
  FROM period_entries
  GROUP BY 1
)
SELECT
  period AS period_start,
  gross_mils,
  refund_mils,
  gross_mils - refund_mils AS net_mils,
  product_gross_mils,
  product_refund_mils,
  orders,
  (2 * gross_mils + orders) / nullif(2 * orders, 0) AS aov_mils,
  sale_lines,
  units,
  active_customers,
  new_customers,
  active_customers - new_customers AS returning_customers,
  anonymous_orders,
  cancel_invoices,
  cancel_lines,
  (2000000 * refund_mils + gross_mils
    - ((2000000 * refund_mils + gross_mils) % nullif(2 * gross_mils, 0) + 2 * gross_mils) % nullif(2 * gross_mils, 0)
  ) / nullif(2 * gross_mils, 0) AS refund_rate_ppm,
  (2000000 * cancel_invoices + cancel_invoices + orders) / nullif(2 * (cancel_invoices + orders), 0) AS cancel_rate_ppm,
  stock_lines,
  adjust_lines,
  adjust_mils
FROM sums;

CREATE MATERIALIZED VIEW hourly_kpis AS
WITH sums AS (
  SELECT
    date_trunc('hour', ts) AS period,
    coalesce(sum(amount_mils) FILTER (WHERE kind = 'sale'), 0)                    AS gross_mils,
    coalesce(-sum(amount_mils) FILTER (WHERE kind = 'cancel'), 0)                 AS refund_mils,
    coalesce(sum(amount_mils) FILTER (WHERE kind = 'sale' AND NOT service), 0)    AS product_gross_mils,
    coalesce(-sum(amount_mils) FILTER (WHERE kind = 'cancel' AND NOT service), 0) AS product_refund_mils,
    count(DISTINCT invoice_no) FILTER (WHERE kind = 'sale')                       AS orders,
    count(*) FILTER (WHERE kind = 'sale')                                         AS sale_lines,
    coalesce(sum(quantity) FILTER (WHERE kind = 'sale'), 0)                       AS units,
    count(DISTINCT customer_id) FILTER (WHERE kind = 'sale')                      AS active_customers,
    count(*) FILTER (WHERE kind = 'first_sale')                                   AS new_customers,
    count(DISTINCT invoice_no) FILTER (WHERE kind = 'sale' AND customer_id IS NULL) AS anonymous_orders,
    count(DISTINCT invoice_no) FILTER (WHERE kind = 'cancel')                     AS cancel_invoices,
    count(*) FILTER (WHERE kind = 'cancel')                                       AS cancel_lines,
    count(*) FILTER (WHERE kind = 'stock')                                        AS stock_lines,
    count(*) FILTER (WHERE kind = 'adjust')                                       AS adjust_lines,
    coalesce(sum(amount_mils) FILTER (WHERE kind = 'adjust'), 0)                  AS adjust_mils
  FROM period_entries
  GROUP BY 1
)
SELECT
  period AS period_start,
  gross_mils,
  refund_mils,
  gross_mils - refund_mils AS net_mils,
  product_gross_mils,
  product_refund_mils,
  orders,
  (2 * gross_mils + orders) / nullif(2 * orders, 0) AS aov_mils,
  sale_lines,
  units,
  active_customers,
  new_customers,
  active_customers - new_customers AS returning_customers,
  anonymous_orders,
  cancel_invoices,
  cancel_lines,
  (2000000 * refund_mils + gross_mils
    - ((2000000 * refund_mils + gross_mils) % nullif(2 * gross_mils, 0) + 2 * gross_mils) % nullif(2 * gross_mils, 0)
  ) / nullif(2 * gross_mils, 0) AS refund_rate_ppm,
  (2000000 * cancel_invoices + cancel_invoices + orders) / nullif(2 * (cancel_invoices + orders), 0) AS cancel_rate_ppm,
  stock_lines,
  adjust_lines,
  adjust_mils
FROM sums;

CREATE MATERIALIZED VIEW monthly_kpis AS
WITH sums AS (
  SELECT
    date_trunc('month', ts) AS period,
    coalesce(sum(amount_mils) FILTER (WHERE kind = 'sale'), 0)                    AS gross_mils,
    coalesce(-sum(amount_mils) FILTER (WHERE kind = 'cancel'), 0)                 AS refund_mils,
    coalesce(sum(amount_mils) FILTER (WHERE kind = 'sale' AND NOT service), 0)    AS product_gross_mils,
    coalesce(-sum(amount_mils) FILTER (WHERE kind = 'cancel' AND NOT service), 0) AS product_refund_mils,
    count(DISTINCT invoice_no) FILTER (WHERE kind = 'sale')                       AS orders,
    count(*) FILTER (WHERE kind = 'sale')                                         AS sale_lines,
    coalesce(sum(quantity) FILTER (WHERE kind = 'sale'), 0)                       AS units,
    count(DISTINCT customer_id) FILTER (WHERE kind = 'sale')                      AS active_customers,
    count(*) FILTER (WHERE kind = 'first_sale')                                   AS new_customers,
    count(DISTINCT invoice_no) FILTER (WHERE kind = 'sale' AND customer_id IS NULL) AS anonymous_orders,
    count(DISTINCT invoice_no) FILTER (WHERE kind = 'cancel')                     AS cancel_invoices,
    count(*) FILTER (WHERE kind = 'cancel')                                       AS cancel_lines,
    count(*) FILTER (WHERE kind = 'stock')                                        AS stock_lines,
    count(*) FILTER (WHERE kind = 'adjust')                                       AS adjust_lines,
    coalesce(sum(amount_mils) FILTER (WHERE kind = 'adjust'), 0)                  AS adjust_mils
  FROM period_entries
  GROUP BY 1
)
SELECT
  substr(CAST(CAST(period AS DATE) AS TEXT), 1, 7) AS period_start,
  gross_mils,
  refund_mils,
  gross_mils - refund_mils AS net_mils,
  product_gross_mils,
  product_refund_mils,
  orders,
  (2 * gross_mils + orders) / nullif(2 * orders, 0) AS aov_mils,
  sale_lines,
  units,
  active_customers,
  new_customers,
  active_customers - new_customers AS returning_customers,
  anonymous_orders,
  cancel_invoices,
  cancel_lines,
  (2000000 * refund_mils + gross_mils
    - ((2000000 * refund_mils + gross_mils) % nullif(2 * gross_mils, 0) + 2 * gross_mils) % nullif(2 * gross_mils, 0)
  ) / nullif(2 * gross_mils, 0) AS refund_rate_ppm,
  (2000000 * cancel_invoices + cancel_invoices + orders) / nullif(2 * (cancel_invoices + orders), 0) AS cancel_rate_ppm,
  stock_lines,
  adjust_lines,
  adjust_mils
FROM sums;

CREATE MATERIALIZED VIEW country_kpis AS
WITH sums AS (
  SELECT
    country,
    coalesce(sum(amount_mils) FILTER (WHERE kind = 'sale'), 0)    AS gross_mils,
    coalesce(-sum(amount_mils) FILTER (WHERE kind = 'cancel'), 0) AS refund_mils,
    count(DISTINCT invoice_no) FILTER (WHERE kind = 'sale')       AS orders,
    count(DISTINCT customer_id) FILTER (WHERE kind = 'sale')      AS customers,
    coalesce(sum(quantity) FILTER (WHERE kind = 'sale'), 0)       AS units,
    count(*) FILTER (WHERE kind = 'sale')                         AS sale_lines,
    count(DISTINCT invoice_no) FILTER (WHERE kind = 'cancel')     AS cancel_invoices
  FROM lines
  GROUP BY country
)
SELECT
  country,
  gross_mils,
  refund_mils,
  gross_mils - refund_mils AS net_mils,
  orders,
  (2 * gross_mils + orders) / nullif(2 * orders, 0) AS aov_mils,
  customers,
  units,
  sale_lines,
  cancel_invoices
FROM sums;

-- By stock code, as it is written: codes that differ by case only are different. What a product was last called and
-- sold for is not here: that takes the row with the greatest sequence number, and the published file has none.
CREATE MATERIALIZED VIEW product_kpis AS
WITH sums AS (
  SELECT
    stock_code,
    service,
    coalesce(sum(amount_mils) FILTER (WHERE kind = 'sale'), 0)    AS gross_mils,
    coalesce(-sum(amount_mils) FILTER (WHERE kind = 'cancel'), 0) AS refund_mils,
    coalesce(sum(quantity) FILTER (WHERE kind = 'sale'), 0)       AS units_sold,
    coalesce(-sum(quantity) FILTER (WHERE kind = 'cancel'), 0)    AS units_cancelled,
    coalesce(sum(quantity) FILTER (WHERE kind = 'stock'), 0)      AS stock_delta,
    count(DISTINCT invoice_no) FILTER (WHERE kind = 'sale')       AS orders,
    count(DISTINCT customer_id) FILTER (WHERE kind = 'sale')      AS customers
  FROM lines
  GROUP BY stock_code, service
)
SELECT
  stock_code,
  gross_mils,
  refund_mils,
  gross_mils - refund_mils AS net_mils,
  units_sold,
  units_cancelled,
  stock_delta,
  orders,
  customers,
  CAST(service AS INT) AS is_service
FROM sums;
