-- The base of RFM per customer: recency (the last sale), frequency, monetary value. Reads `lines` of sources.sql.
-- Customers with cancellations only are not in it. Refunds are not deducted from monetary_mils.

CREATE MATERIALIZED VIEW rfm_base AS
WITH customers AS (
  SELECT
    customer_id,
    min(ts) FILTER (WHERE kind = 'sale')                          AS first_sale_ts,
    max(ts) FILTER (WHERE kind = 'sale')                          AS last_sale_ts,
    count(DISTINCT invoice_no) FILTER (WHERE kind = 'sale')       AS frequency,
    coalesce(sum(amount_mils) FILTER (WHERE kind = 'sale'), 0)    AS monetary_mils,
    coalesce(-sum(amount_mils) FILTER (WHERE kind = 'cancel'), 0) AS refund_mils,
    count(DISTINCT invoice_no) FILTER (WHERE kind = 'cancel')     AS cancel_invoices
  FROM lines
  WHERE customer_id IS NOT NULL
  GROUP BY customer_id
  HAVING count(*) FILTER (WHERE kind = 'sale') > 0
)
SELECT
  customer_id,
  first_sale_ts,
  last_sale_ts,
  frequency,
  monetary_mils,
  refund_mils,
  monetary_mils - refund_mils AS net_monetary_mils,
  cancel_invoices
FROM customers;
