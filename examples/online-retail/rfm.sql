-- RFM scores, codes and segments, after rfm_base.sql. Fifths of all customers with a sale; 5 is best.
--
-- `as_of` is a table of one row: the midnight (UTC) from which recency counts. Customers are ordered by the day of their
-- last sale, which is their order by recency for every midnight; so when as_of moves, recency_days changes and nothing
-- else does.

CREATE TABLE as_of (at TIMESTAMPTZ NOT NULL);

CREATE MATERIALIZED VIEW rfm_scores AS
WITH scored AS (
  SELECT
    customer_id,
    frequency,
    monetary_mils,
    -- A sale at midnight belongs to the day that ends there.
    ntile(5) OVER (ORDER BY date_trunc('day', last_sale_ts - INTERVAL '1 microsecond'), customer_id) AS r_score,
    ntile(5) OVER (ORDER BY frequency, customer_id)     AS f_score,
    ntile(5) OVER (ORDER BY monetary_mils, customer_id) AS m_score,
    ntile(5) OVER (ORDER BY last_sale_ts, customer_id)  AS r_score_by_ts
  FROM rfm_base
)
SELECT
  customer_id,
  frequency,
  monetary_mils,
  r_score,
  f_score,
  m_score,
  100 * r_score + 10 * f_score + m_score AS rfm_code,
  CASE
    WHEN r_score <= 2 AND f_score <= 2 THEN 'Hibernating'
    WHEN r_score <= 2 AND f_score <= 4 THEN 'At Risk'
    WHEN r_score <= 2                  THEN 'Cant Lose Them'
    WHEN r_score = 3 AND f_score <= 2  THEN 'About To Sleep'
    WHEN r_score = 3 AND f_score = 3   THEN 'Need Attention'
    WHEN r_score = 3                   THEN 'Loyal Customers'
    WHEN r_score = 4 AND f_score = 1   THEN 'Promising'
    WHEN r_score = 5 AND f_score = 1   THEN 'New Customers'
    WHEN f_score <= 3                  THEN 'Potential Loyalists'
    WHEN r_score = 4                   THEN 'Loyal Customers'
    ELSE 'Champions'
  END AS segment,
  r_score_by_ts
FROM scored;

CREATE MATERIALIZED VIEW rfm_customers AS
SELECT
  b.customer_id,
  b.first_sale_ts,
  b.last_sale_ts,
  CAST(floor(extract(epoch FROM a.at - b.last_sale_ts) / 86400) AS BIGINT) AS recency_days,
  b.frequency,
  b.monetary_mils,
  b.refund_mils,
  b.net_monetary_mils,
  b.cancel_invoices,
  s.r_score,
  s.f_score,
  s.m_score,
  s.rfm_code,
  s.segment,
  s.r_score_by_ts
FROM rfm_base AS b
JOIN rfm_scores AS s ON s.customer_id = b.customer_id
CROSS JOIN as_of AS a;

CREATE MATERIALIZED VIEW rfm_segments AS
SELECT segment, count(*) AS customers, sum(frequency) AS orders, sum(monetary_mils) AS monetary_mils
FROM rfm_scores
GROUP BY segment;

CREATE MATERIALIZED VIEW rfm_cells AS
SELECT rfm_code, count(*) AS customers, sum(monetary_mils) AS monetary_mils
FROM rfm_scores
GROUP BY rfm_code;
