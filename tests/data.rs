//! The real data and its reference answers: read where they lie, never copied into the repository.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::table::Table;

/// The folder with the data sets: `HEADWATER_TEST_DATA`, or `shared/data` beside the checkout.
pub(crate) fn data_dir() -> Option<PathBuf> {
    let beside = [Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data")];
    let named = std::env::var_os("HEADWATER_TEST_DATA").map(PathBuf::from);
    named.into_iter().chain(beside).find(|dir| dir.join("online-retail").is_dir())
}

/// The folder of the Online Retail data; without it, says loudly that `test` is skipped.
pub(crate) fn online_retail(test: &str) -> Option<PathBuf> {
    let dir = data_dir().map(|dir| dir.join("online-retail"));
    if dir.is_none() {
        // Written past the test runner's capture, so that it is seen when the test passes.
        let _ = writeln!(std::io::stderr(), "SKIPPED {test}: no real data (set HEADWATER_TEST_DATA to its folder)");
    }
    dir
}

/// The checkout's root.
pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the checkout exists while its tests run")
}

/// A file of the Online Retail example.
pub(crate) fn example(name: &str) -> Result<String> {
    let path = workspace().join("examples/online-retail").join(name);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// A packed file, unpacked.
pub(crate) fn unpack(path: &Path) -> Result<Vec<u8>> {
    let file = fs::File::open(path).with_context(|| path.display().to_string())?;
    Ok(zstd::decode_all(file)?)
}

/// A reference file, e.g. `full/daily_kpis.csv`.
pub(crate) fn reference(dir: &Path, name: &str) -> Result<Table> {
    let path = dir.join("reference").join(name);
    Table::from_csv(&fs::read(&path).with_context(|| path.display().to_string())?)
}

/// A reference file of figures, e.g. `full/totals.json`.
pub(crate) fn reference_json(dir: &Path, name: &str) -> Result<serde_json::Value> {
    let path = dir.join("reference").join(name);
    Ok(serde_json::from_slice(&fs::read(&path).with_context(|| path.display().to_string())?)?)
}

/// The views of the example that have a reference file, and the columns of that file which the example leaves out.
pub(crate) const CHECKED_VIEWS: [(&str, &str, &[&str]); 6] = [
    ("daily_kpis", "daily_kpis.csv", &[]),
    ("hourly_kpis", "hourly_kpis.csv", &[]),
    ("monthly_kpis", "monthly_kpis.csv", &[]),
    ("country_kpis", "country_kpis.csv", &[]),
    ("product_kpis", "products.csv", &["description", "last_sale_price_mils"]),
    (
        "rfm_base",
        "rfm_customers.csv",
        &["recency_days", "r_score", "f_score", "m_score", "rfm_code", "segment", "r_score_by_ts"],
    ),
];

/// The columns of the view `totals` and the names of the same figures in `totals.json`.
pub(crate) const TOTALS: [(&str, &str); 20] = [
    ("lines", "rows"),
    ("gross_mils", "gross_mils"),
    ("refund_mils", "refund_mils"),
    ("product_gross_mils", "product_gross_mils"),
    ("product_refund_mils", "product_refund_mils"),
    ("gross_known_customer_mils", "gross_known_customer_mils"),
    ("amount_mils", "sum_amount_all_mils"),
    ("orders", "orders"),
    ("cancel_invoices", "cancel_invoices"),
    ("invoices", "invoices"),
    ("customers", "buying_customers"),
    ("customers_any", "customers_any"),
    ("stock_codes", "stock_codes"),
    ("countries", "countries"),
    ("sale_lines", "sale_lines"),
    ("cancel_lines", "cancel_lines"),
    ("stock_lines", "stock_lines"),
    ("adjust_lines", "adjust_lines"),
    ("anonymous_lines", "null_customer_lines"),
    ("last_ts", "cut_ts"),
];
