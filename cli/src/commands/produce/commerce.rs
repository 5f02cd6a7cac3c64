//! Deterministic transactions of a large shop: the work called commerce-bench, row by row. `headwater produce` writes them
//! as text, the benchmark of the engine makes columns of them: both compile this file.
//!
//! One to four lines an order, customers and products by Zipf (the hottest customer has about 9.5 % of all rows, on
//! purpose), amounts lognormal with 4 % refunds, a thousand transactions per second of event time, 2 % of them late.

/// Different customers.
pub(crate) const CUSTOMERS: usize = 1_000_000;
/// Different products.
pub(crate) const PRODUCTS: usize = 20_000;
/// Categories that products fall into.
const CATEGORIES: usize = 40;
/// The first event time, in microseconds since 1970: 1 January 2026.
const START_US: i64 = 1_767_225_600_000_000;

const COUNTRIES: [&str; 30] = [
    "US", "GB", "DE", "FR", "NL", "IE", "ES", "IT", "PT", "BE", "CH", "AT", "SE", "NO", "DK", "FI", "PL", "CZ", "GR",
    "JP", "AU", "CA", "BR", "MX", "IN", "SG", "AE", "ZA", "NZ", "KR",
];
const CHANNELS: [&str; 4] = ["web", "app", "store", "phone"];

/// Small, fast and the same everywhere.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// In `[0, 1)`.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// In `0 .. end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }

    fn normal(&mut self) -> f64 {
        let (a, b) = (1.0 - self.unit(), self.unit());
        (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
    }
}

/// Ranks with the probability `rank^-s`.
struct Zipf {
    cumulated: Vec<f64>,
    /// For every 1/n of the probability, the first rank that reaches it.
    guide: Vec<u32>,
}

impl Zipf {
    fn new(ranks: usize, s: f64) -> Zipf {
        let mut cumulated = Vec::with_capacity(ranks);
        let mut sum = 0.0;
        for rank in 1..=ranks {
            sum += (rank as f64).powf(-s);
            cumulated.push(sum);
        }
        cumulated.iter_mut().for_each(|value| *value /= sum);
        let mut guide = Vec::with_capacity(ranks);
        let mut rank = 0;
        for step in 0..ranks {
            while cumulated[rank] < step as f64 / ranks as f64 {
                rank += 1;
            }
            guide.push(u32::try_from(rank).expect("ranks are few"));
        }
        Zipf { cumulated, guide }
    }

    /// A rank from 0 on.
    fn draw(&self, random: &mut Random) -> usize {
        let at = random.unit();
        let mut rank = self.guide[(at * self.guide.len() as f64) as usize] as usize;
        while rank + 1 < self.cumulated.len() && self.cumulated[rank] < at {
            rank += 1;
        }
        rank
    }
}

/// One line of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Transaction {
    /// Counted from 0.
    pub(crate) transaction_id: i64,
    /// Counted from 1; one to four lines in a row have the same.
    pub(crate) order_id: i64,
    /// From 0 on, the most frequent first.
    pub(crate) customer_id: i64,
    /// From 0 on, the most frequent first.
    pub(crate) product_id: i64,
    /// 1 to 5.
    pub(crate) quantity: i32,
    /// Cents.
    pub(crate) amount: i64,
    /// Two letters.
    pub(crate) country: &'static str,
    /// web, app, store or phone.
    pub(crate) channel: &'static str,
    /// One of the customer's two.
    pub(crate) card_id: i64,
    /// One of the customer's three.
    pub(crate) device_id: i64,
    /// Microseconds since 1970.
    pub(crate) event_time: i64,
}

/// The category of a product.
pub(crate) fn category(product_id: i64) -> String {
    format!("cat_{:02}", product_id % CATEGORIES as i64)
}

/// Makes transactions, one after the other, without end.
pub(crate) struct Generator {
    random: Random,
    customers: Zipf,
    products: Zipf,
    countries: Zipf,
    transaction: i64,
    order: i64,
    /// Lines that the current order still gets.
    lines: u64,
    customer: i64,
    country: usize,
    channel: usize,
}

impl Generator {
    /// A generator whose rows depend on `seed` alone.
    pub(crate) fn new(seed: u64) -> Generator {
        Generator {
            random: Random(seed),
            customers: Zipf::new(CUSTOMERS, 1.05),
            products: Zipf::new(PRODUCTS, 1.05),
            countries: Zipf::new(COUNTRIES.len(), 0.9),
            transaction: 0,
            order: 0,
            lines: 0,
            customer: 0,
            country: 0,
            channel: 0,
        }
    }

    fn next_order(&mut self) {
        self.order += 1;
        self.lines = 1 + self.random.below(4);
        self.customer = self.customers.draw(&mut self.random) as i64;
        self.country = self.countries.draw(&mut self.random);
        self.channel = self.random.below(CHANNELS.len() as u64) as usize;
    }

    /// Lognormal around 35.00, one in 25 negative.
    fn amount(&mut self) -> i64 {
        let cents = (3_500.0 * (0.8 * self.random.normal()).exp()).round().clamp(1.0, 9e9) as i64;
        if self.random.below(25) == 0 { -cents } else { cents }
    }

    /// The next transaction.
    pub(crate) fn transaction(&mut self) -> Transaction {
        if self.lines == 0 {
            self.next_order();
        }
        self.lines -= 1;
        let product_id = self.products.draw(&mut self.random) as i64;
        let quantity = 1 + self.random.below(5) as i32;
        let amount = self.amount();
        let card_id = self.customer * 2 + (self.random.next() & 1) as i64;
        let device_id = self.customer * 3 + self.random.below(3) as i64;
        let late = if self.random.below(50) == 0 { self.random.below(5_000_000) as i64 } else { 0 };
        let transaction_id = self.transaction;
        self.transaction += 1;
        Transaction {
            transaction_id,
            order_id: self.order,
            customer_id: self.customer,
            product_id,
            quantity,
            amount,
            country: COUNTRIES[self.country],
            channel: CHANNELS[self.channel],
            card_id,
            device_id,
            event_time: START_US + transaction_id * 1_000 - late,
        }
    }
}
