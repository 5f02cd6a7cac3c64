//! The shop's standing: its products with prices and popularity, its customers with their country and habits.

use rand::Rng;
use rand::seq::SliceRandom;

use super::draw::{Quantiles, Weighted, count, normal};
use super::names::product_name;

/// Products of a whole year's trade.
const PRODUCTS: usize = 3_900;
/// Customers who buy in a whole year.
const CUSTOMERS: usize = 4_338;
/// Customers who only ever cancel what they bought before the first day.
const GHOSTS: usize = 34;

/// Lines of the products by popularity: (rank, lines).
const POPULARITY: [(f64, f64); 15] = [
    (1.0, 2265.0),
    (2.0, 2112.0),
    (6.0, 1489.0),
    (11.0, 1326.0),
    (21.0, 1169.0),
    (51.0, 916.0),
    (101.0, 696.0),
    (201.0, 487.0),
    (501.0, 293.0),
    (1001.0, 166.0),
    (1501.0, 104.0),
    (2001.0, 63.0),
    (2501.0, 33.0),
    (3001.0, 14.0),
    (4001.0, 1.0),
];

/// Prices of the products to trade customers, in pounds.
const PRICES: Quantiles = Quantiles(&[
    (0.0, 0.12),
    (0.01, 0.29),
    (0.05, 0.42),
    (0.25, 1.25),
    (0.5, 1.95),
    (0.75, 3.75),
    (0.9, 6.75),
    (0.95, 8.5),
    (0.99, 14.0),
    (0.999, 25.0),
    (1.0, 60.0),
]);

/// The price labels of the shop, in pence; prices above the last one are whole pounds less five pence.
const LABELS: [i64; 32] = [
    12, 19, 21, 29, 39, 42, 55, 65, 72, 85, 95, 125, 145, 165, 195, 208, 210, 255, 295, 325, 375, 425, 495, 595, 675,
    795, 850, 995, 1275, 1495, 1695, 1995,
];

/// Orders of a customer in the year.
const ORDERS: Quantiles = Quantiles(&[
    (0.0, 1.0),
    (0.345, 1.0),
    (0.35, 2.0),
    (0.54, 2.0),
    (0.55, 3.0),
    (0.68, 3.0),
    (0.76, 5.0),
    (0.91, 9.0),
    (0.951, 13.0),
    (0.99, 30.0),
    (0.999, 92.0),
    (1.0, 209.0),
]);

/// Where customers are: (country, customers of 4,338).
const COUNTRIES: [(&str, f64); 24] = [
    ("United Kingdom", 3921.0),
    ("Germany", 110.0),
    ("France", 100.0),
    ("Spain", 30.0),
    ("Belgium", 25.0),
    ("Switzerland", 22.0),
    ("Portugal", 20.0),
    ("Italy", 14.0),
    ("Finland", 12.0),
    ("Austria", 11.0),
    ("Norway", 10.0),
    ("Netherlands", 9.0),
    ("Australia", 9.0),
    ("Channel Islands", 9.0),
    ("Denmark", 9.0),
    ("Sweden", 8.0),
    ("Cyprus", 8.0),
    ("Japan", 8.0),
    ("Poland", 6.0),
    ("Ireland", 24.0),
    ("USA", 4.0),
    ("Israel", 4.0),
    ("Canada", 4.0),
    ("Iceland", 1.0),
];

/// The country of anonymous customers, and where the shop is.
pub(crate) const HOME: &str = COUNTRIES[0].0;

/// Something that is sold by the piece.
pub(crate) struct Product {
    pub(crate) stock_code: String,
    pub(crate) description: String,
    /// The price to trade customers.
    pub(crate) price_mils: i64,
}

/// Somebody with an account.
pub(crate) struct Customer {
    pub(crate) id: u32,
    pub(crate) country: &'static str,
    /// How many orders the customer gives in the year; none for those who only cancel.
    pub(crate) orders: usize,
    /// How much larger than others' the orders are: standard normal.
    pub(crate) size: f64,
}

/// All that does not change during the year.
pub(crate) struct Shop {
    pub(crate) products: Vec<Product>,
    pub(crate) popularity: Weighted,
    pub(crate) customers: Vec<Customer>,
}

impl Shop {
    /// A shop with `scale` times the customers of the full one.
    pub(crate) fn open(scale: f64, rng: &mut impl Rng) -> Shop {
        let products = products(rng);
        let popularity = Weighted::new((0..products.len()).map(|rank| lines_at_rank(rank as f64 + 1.0)));
        Shop { products, popularity, customers: customers(scale, rng) }
    }
}

/// The products, the most popular first.
fn products(rng: &mut impl Rng) -> Vec<Product> {
    let mut prices: Vec<i64> =
        (0..PRODUCTS).map(|index| label(PRICES.at((index as f64 + 0.5) / PRODUCTS as f64))).collect();
    prices.shuffle(rng);
    let mut number = 10_007;
    let mut products: Vec<Product> = Vec::with_capacity(PRODUCTS);
    while products.len() < PRODUCTS {
        number += rng.random_range(1..=40);
        let description = product_name(rng);
        // One in eight comes in several colours, told apart by a letter behind the number; a few codes differ from the
        // one before by the case of that letter only.
        let colours = if rng.random_ratio(1, 8) { rng.random_range(2..=5) } else { 1 };
        for colour in 0..colours {
            let Some(&price_mils) = prices.get(products.len()) else { break };
            let letter = match colour {
                _ if colours == 1 => String::new(),
                1.. if rng.random_ratio(1, 50) => char::from(b'a' + colour - 1).to_string(),
                _ => char::from(b'A' + colour).to_string(),
            };
            let stock_code = format!("{number}{letter}");
            products.push(Product { stock_code, description: description.clone(), price_mils });
        }
    }
    products.shuffle(rng);
    products
}

/// The price label nearest to a price in pounds, in mils.
fn label(pounds: f64) -> i64 {
    let pence = pounds * 100.0;
    let nearest = LABELS.iter().min_by(|a, b| (**a as f64 - pence).abs().total_cmp(&(**b as f64 - pence).abs()));
    let nearest = *nearest.expect("there are labels");
    if pence > 2_100.0 { (pounds.round() as i64) * 1000 - 50 } else { nearest * 10 }
}

/// How many lines the product of a rank has in the year.
fn lines_at_rank(rank: f64) -> f64 {
    let above = POPULARITY.partition_point(|&(at, _)| at < rank).clamp(1, POPULARITY.len() - 1);
    let ((r0, l0), (r1, l1)) = (POPULARITY[above - 1], POPULARITY[above]);
    let share = (rank.ln() - r0.ln()) / (r1.ln() - r0.ln());
    // An invoice names a product once, which takes from the most popular; the power gives it back.
    (l0.ln() + share * (l1.ln() - l0.ln())).exp().powf(1.04)
}

/// The customers. The numbers of their orders meet the quantiles whatever the seed.
fn customers(scale: f64, rng: &mut impl Rng) -> Vec<Customer> {
    let buyers = count(CUSTOMERS as f64 * scale);
    let ghosts = (GHOSTS as f64 * scale).round() as usize;
    let countries = Weighted::new(COUNTRIES.iter().map(|&(_, customers)| customers));
    let mut customers: Vec<Customer> = (0..buyers + ghosts)
        .map(|index| {
            let share = (index as f64 + 0.5) / buyers as f64;
            let orders = if index < buyers { count(ORDERS.at(share)) } else { 0 };
            // Among the most frequent customers are the resellers, whose orders are far larger than anybody else's.
            let reseller = orders >= 12 && rng.random_ratio(1, 17);
            let size = if reseller { rng.random_range(1.6..3.2) } else { normal(rng) };
            Customer { id: 0, country: COUNTRIES[countries.draw(rng)].0, orders, size }
        })
        .collect();
    customers.shuffle(rng);
    let mut id = 20_001;
    for customer in &mut customers {
        customer.id = id;
        id += rng.random_range(1..=3);
    }
    customers
}
