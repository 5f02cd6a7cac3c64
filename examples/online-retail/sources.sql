-- The invoice lines of a shop, in the columns of the published Online Retail file:
-- Daqing Chen, UCI Machine Learning Repository, id 352, doi 10.24432/C5BW33, CC BY 4.0.
--
-- To follow a file that grows, add `FOLLOW true` behind the path. To use data of your own, replace the first two
-- statements: everything else reads `invoice_lines` and not the file.

CREATE SOURCE online_retail (
  "InvoiceNo"   TEXT NOT NULL,
  "StockCode"   TEXT NOT NULL,
  "Description" TEXT,
  "Quantity"    INT NOT NULL,
  "InvoiceDate" TIMESTAMPTZ NOT NULL,   -- the shop's local time, taken as UTC unchanged
  "UnitPrice"   DECIMAL(12, 3) NOT NULL,
  "CustomerID"  DECIMAL(12, 1),         -- the file writes 17850.0
  "Country"     TEXT NOT NULL
) FROM FILE (PATH 'online_retail.csv') FORMAT CSV;

-- Typed lines. Money is counted in mils, thousandths of a pound: some prices are a tenth of a penny.
CREATE VIEW invoice_lines AS
SELECT
  "InvoiceNo"                         AS invoice_no,
  "StockCode"                         AS stock_code,
  "Description"                       AS description,
  "Quantity"                          AS quantity,
  "InvoiceDate"                       AS ts,
  CAST("UnitPrice" * 1000 AS BIGINT)  AS unit_price_mils,
  CAST("CustomerID" AS BIGINT)        AS customer_id,
  "Country"                           AS country
FROM online_retail;

-- What each line is: a sale, a cancellation, an adjustment of the books, or a movement of stock. A service line is
-- postage, fees and the like: it counts as money but not as a product.
CREATE VIEW lines AS
SELECT
  invoice_no, stock_code, description, quantity, ts, unit_price_mils, customer_id, country,
  CAST(quantity AS BIGINT) * unit_price_mils AS amount_mils,
  CASE
    WHEN starts_with(invoice_no, 'C') THEN 'cancel'
    WHEN starts_with(invoice_no, 'A') THEN 'adjust'
    WHEN quantity > 0 AND unit_price_mils > 0 THEN 'sale'
    ELSE 'stock'
  END AS kind,
  upper(stock_code) IN (
    'POST', 'DOT', 'C2', 'C3', 'M', 'D', 'S', 'B', 'BANK CHARGES', 'AMAZONFEE', 'CRUK', 'ADJUST', 'ADJUST2',
    'TEST001', 'TEST002'
  ) AS service
FROM invoice_lines;
