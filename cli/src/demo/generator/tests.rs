//! The made-up year against the shape of the real one, and what holds for every line.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use chrono::{Datelike, Timelike};
use serde_json::Value;

use super::Year;
use crate::demo::line::{InvoiceLine, LineKind};

/// Lines of the published file.
const PUBLISHED_LINES: usize = 541_909;

/// How far a quantile may be off, as a factor, by its percentage. Those that a handful of orders decide are left out.
const QUANTILE_FACTORS: [(&str, f64); 7] =
    [("5", 1.5), ("25", 1.35), ("50", 1.25), ("75", 1.25), ("90", 1.3), ("95", 1.35), ("99", 1.6)];

/// `shape.json`, if the real data is there.
fn shape() -> Option<Value> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let named = std::env::var_os("HEADWATER_TEST_DATA").map(PathBuf::from);
    let path = named.unwrap_or(beside).join("online-retail/reference/shape.json");
    let text = std::fs::read(path).ok()?;
    Some(serde_json::from_slice(&text).expect("shape.json is JSON"))
}

/// The quantiles of `values` must be those of `shape[name]` within the factors, or within `slack` of them.
fn check_quantiles(shape: &Value, name: &str, mut values: Vec<f64>, slack: f64) -> Vec<String> {
    values.sort_by(f64::total_cmp);
    let mut off = Vec::new();
    for (percent, factor) in QUANTILE_FACTORS {
        let place = (values.len() - 1) as f64 * percent.parse::<f64>().unwrap() / 100.0;
        let (below, above) = (values[place as usize], values[(place as usize + 1).min(values.len() - 1)]);
        let (got, want) = (below + (above - below) * place.fract(), shape[name][percent].as_f64().unwrap());
        let near = (got - want).abs() <= slack || (want / factor..=want * factor).contains(&got);
        if !near {
            off.push(format!("{name} {percent} %: {got} instead of {want}"));
        }
    }
    off
}

/// `got` must be `shape[name]` to `slack`.
fn check_figure(shape: &Value, name: &str, got: f64, slack: f64) -> Vec<String> {
    let want = shape[name].as_f64().unwrap();
    if (got - want).abs() <= slack { Vec::new() } else { vec![format!("{name}: {got} instead of {want}")] }
}

/// The shares of `got` must be those of `shape[name]` to `slack`.
fn check_shares(shape: &Value, name: &str, got: &BTreeMap<String, f64>, slack: f64) -> Vec<String> {
    let want: BTreeMap<&String, f64> =
        shape[name].as_object().unwrap().iter().map(|(key, value)| (key, value.as_f64().unwrap())).collect();
    let (got_sum, want_sum) = (got.values().sum::<f64>(), want.values().sum::<f64>());
    let mut keys: HashSet<&String> = got.keys().collect();
    keys.extend(want.keys());
    let share = |key: &String| (got.get(key).unwrap_or(&0.0) / got_sum, want.get(key).unwrap_or(&0.0) / want_sum);
    let far = |key: &&String| (share(key).0 - share(key).1).abs() > slack;
    keys.into_iter().filter(far).map(|key| format!("{name} {key}: {:?}", share(key))).collect()
}

/// The share of the sum that the greatest `part` (0 to 1) of the values have.
fn share_of_greatest(mut values: Vec<f64>, part: f64) -> f64 {
    values.sort_by(|a, b| b.total_cmp(a));
    let count = (values.len() as f64 * part) as usize;
    values[..count].iter().sum::<f64>() / values.iter().sum::<f64>()
}

/// The slope of log(value) over log(rank) for the thousand greatest values.
fn rank_slope(mut values: Vec<f64>) -> f64 {
    values.sort_by(|a, b| b.total_cmp(a));
    let points: Vec<(f64, f64)> =
        values.iter().take(1000).enumerate().map(|(rank, value)| ((rank as f64 + 1.0).ln(), value.ln())).collect();
    let count = points.len() as f64;
    let (x, y) = points.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0 / count, y + point.1 / count));
    let covariance: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    covariance / points.iter().map(|point| (point.0 - x).powi(2)).sum::<f64>()
}

/// What the shape is made of.
#[derive(Default)]
struct Figures<'a> {
    order_lines: HashMap<&'a str, f64>,
    order_pounds: HashMap<&'a str, f64>,
    customer_orders: HashMap<u32, HashSet<&'a str>>,
    customer_days: HashMap<u32, HashSet<i32>>,
    customer_pounds: HashMap<u32, f64>,
    product_lines: HashMap<&'a str, f64>,
    prices: Vec<f64>,
    quantities: Vec<f64>,
    hour_pounds: BTreeMap<String, f64>,
    weekday_lines: BTreeMap<String, f64>,
}

impl<'a> Figures<'a> {
    fn add(&mut self, line: &InvoiceLine<'a>) {
        let pounds = line.amount_mils() as f64 / 1000.0;
        *self.order_lines.entry(line.invoice_no).or_default() += 1.0;
        *self.order_pounds.entry(line.invoice_no).or_default() += pounds;
        *self.product_lines.entry(line.stock_code).or_default() += 1.0;
        if let Some(id) = line.customer_id {
            self.customer_orders.entry(id).or_default().insert(line.invoice_no);
            self.customer_days.entry(id).or_default().insert(line.time.num_days_from_ce());
            *self.customer_pounds.entry(id).or_default() += pounds;
        }
        self.prices.push(line.unit_price_mils as f64 / 1000.0);
        self.quantities.push(f64::from(line.quantity));
        *self.hour_pounds.entry(format!("{:02}", line.time.hour())).or_default() += pounds;
        *self.weekday_lines.entry(line.time.weekday().num_days_from_monday().to_string()).or_default() += 1.0;
    }

    /// Days between the days on which a customer bought.
    fn gaps(&self) -> Vec<f64> {
        let mut gaps = Vec::new();
        for days in self.customer_days.values() {
            let mut days: Vec<i32> = days.iter().copied().collect();
            days.sort_unstable();
            gaps.extend(days.windows(2).map(|pair| f64::from(pair[1] - pair[0])));
        }
        gaps
    }

    fn check(&self, shape: &Value) -> Vec<String> {
        let values = |map: &HashMap<&str, f64>| map.values().copied().collect::<Vec<f64>>();
        let spent: Vec<f64> = self.customer_pounds.values().copied().collect();
        let orders = self.customer_orders.values().map(|orders| orders.len() as f64).collect();
        let products = values(&self.product_lines);
        [
            check_quantiles(shape, "lines_per_invoice", values(&self.order_lines), 1.0),
            check_quantiles(shape, "invoice_amount_gbp", values(&self.order_pounds), 0.0),
            check_quantiles(shape, "orders_per_customer", orders, 0.0),
            check_quantiles(shape, "gap_days_between_purchase_days", self.gaps(), 1.0),
            check_quantiles(shape, "unit_price_gbp", self.prices.clone(), 0.15),
            check_quantiles(shape, "quantity", self.quantities.clone(), 1.0),
            check_figure(shape, "revenue_share_top1pct_customers", share_of_greatest(spent.clone(), 0.01), 0.08),
            check_figure(shape, "revenue_share_top10pct_customers", share_of_greatest(spent.clone(), 0.1), 0.06),
            check_figure(shape, "revenue_share_top20pct_customers", share_of_greatest(spent, 0.2), 0.05),
            check_figure(shape, "line_share_top10pct_products", share_of_greatest(products.clone(), 0.1), 0.03),
            check_figure(shape, "zipf_slope_product_lines_rank1_1000", rank_slope(products), 0.05),
            check_shares(shape, "revenue_by_hour", &self.hour_pounds, 0.025),
            check_shares(shape, "lines_by_weekday_mon0", &self.weekday_lines, 0.02),
        ]
        .concat()
    }
}

#[test]
fn the_year_has_the_shape_of_the_published_one() {
    let Some(shape) = shape() else {
        let name = "the_year_has_the_shape_of_the_published_one";
        let _ = writeln!(std::io::stderr(), "SKIPPED {name}: no real data (set HEADWATER_TEST_DATA to its folder)");
        return;
    };
    let year = Year::draw(1, PUBLISHED_LINES);
    let mut figures = Figures::default();
    let (mut lines, mut home, mut anonymous) = (0.0, 0.0, 0.0);
    let mut times: HashMap<_, f64> = HashMap::new();
    for line in year.lines() {
        lines += 1.0;
        home += f64::from(u8::from(line.country == "United Kingdom"));
        anonymous += f64::from(u8::from(line.customer_id.is_none()));
        *times.entry(line.time).or_default() += 1.0;
        if line.kind() == LineKind::Sale {
            figures.add(&line);
        }
    }
    let mut off = figures.check(&shape);
    off.extend(check_figure(&shape, "uk_line_share", home / lines, 0.02));
    off.extend(check_figure(&shape, "null_customer_share", anonymous / lines, 0.03));
    off.extend(check_figure(&shape, "distinct_timestamps", times.len() as f64, 2_500.0));
    let most = times.values().copied().fold(0.0, f64::max);
    off.extend(check_figure(&shape, "max_lines_same_timestamp", most, 600.0));
    assert!((lines - PUBLISHED_LINES as f64).abs() < 30_000.0, "{lines} lines");
    assert!(off.is_empty(), "{}", off.join("\n"));
}

#[test]
fn the_same_seed_gives_the_same_year() {
    let text = |seed| {
        let year = Year::draw(seed, 20_000);
        let mut text = String::new();
        year.lines().for_each(|line| line.write_csv(&mut text));
        text
    };
    let first = text(7);
    assert_eq!(first, text(7));
    assert_ne!(first, text(8));
    let lines = first.lines().count();
    assert!((15_000..25_000).contains(&lines), "{lines}");
}

#[test]
fn what_holds_for_every_line() {
    let year = Year::draw(2, 100_000);
    let mut last = None;
    let (mut sold, mut buyers) = (HashMap::<(u32, &str), i64>::new(), HashSet::new());
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let (mut cancelled, mut of_earlier_sale) = (0, 0);
    for line in year.lines() {
        assert!(last.replace(line.time) <= Some(line.time), "{line:?} comes after a later one");
        assert_ne!(line.time.weekday(), chrono::Weekday::Sat, "{line:?}");
        assert_ne!(line.quantity, 0, "{line:?}");
        match (line.kind(), line.customer_id) {
            (LineKind::Sale, id) => {
                *seen.entry("sale").or_default() += 1;
                buyers.extend(id);
                id.map(|id| sold.insert((id, line.stock_code), i64::from(line.quantity)));
            }
            (LineKind::Cancel, id) => {
                assert!(line.quantity < 0 && line.unit_price_mils > 0, "{line:?}");
                cancelled += 1;
                of_earlier_sale += usize::from(id.is_some_and(|id| sold.contains_key(&(id, line.stock_code))));
                let before_any_sale = id.is_some_and(|id| !buyers.contains(&id));
                *seen.entry(if before_any_sale { "early cancel" } else { "cancel" }).or_default() += 1;
            }
            (LineKind::Adjust, _) => *seen.entry("adjust").or_default() += 1,
            (LineKind::Stock, id) => {
                assert_eq!(line.unit_price_mils, 0, "{line:?}");
                *seen.entry(if id.is_none() { "stock" } else { "gift" }).or_default() += 1;
            }
        }
        for code in ["POST", "DOT", "C2", "M"].iter().filter(|code| **code == line.stock_code) {
            *seen.entry(code).or_default() += 1;
        }
        *seen.entry("a comma").or_default() += usize::from(line.description.contains(','));
        *seen.entry("a tenth of a penny").or_default() += usize::from(line.unit_price_mils % 10 != 0);
    }
    let expected = [
        "sale",
        "cancel",
        "early cancel",
        "adjust",
        "stock",
        "gift",
        "POST",
        "DOT",
        "C2",
        "M",
        "a comma",
        "a tenth of a penny",
    ];
    for what in expected {
        assert!(seen.get(what).is_some_and(|count| *count > 0), "no line is {what}: {seen:?}");
    }
    assert!(of_earlier_sale * 10 > cancelled * 7, "{of_earlier_sale} of {cancelled} cancellations refer to a sale");
}
