//! Deterministic transactions of a large shop as record batches: the work called commerce-bench.
//!
//! One to four lines an order, customers and products by Zipf (the hottest customer has about 9.5 % of all rows, on
//! purpose), amounts lognormal with 4 % refunds, a thousand transactions per second of event time, 2 % of them late.

use std::sync::{Arc, LazyLock};

use arrow::array::{
    ArrayRef, Decimal128Builder, Int32Builder, Int64Builder, RecordBatch, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

/// Different customers.
pub(crate) const CUSTOMERS: usize = 1_000_000;
/// Different products.
pub(crate) const PRODUCTS: usize = 20_000;
/// Categories that products fall into.
pub(crate) const CATEGORIES: usize = 40;
/// The first event time, in microseconds since 1970: 1 January 2026.
const START_US: i64 = 1_767_225_600_000_000;

const COUNTRIES: [&str; 30] = [
    "US", "GB", "DE", "FR", "NL", "IE", "ES", "IT", "PT", "BE", "CH", "AT", "SE", "NO", "DK", "FI", "PL", "CZ", "GR",
    "JP", "AU", "CA", "BR", "MX", "IN", "SG", "AE", "ZA", "NZ", "KR",
];
const CHANNELS: [&str; 4] = ["web", "app", "store", "phone"];

/// Small, fast and the same everywhere.
struct Random(u64);

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

    fn below(&mut self, end: u64) -> u64 {
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

static TRANSACTIONS: LazyLock<SchemaRef> = LazyLock::new(|| {
    let timestamp = DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from("+00:00")));
    Arc::new(Schema::new(vec![
        Field::new("transaction_id", DataType::Int64, false),
        Field::new("order_id", DataType::Int64, false),
        Field::new("customer_id", DataType::Int64, false),
        Field::new("product_id", DataType::Int64, false),
        Field::new("category", DataType::Utf8, false),
        Field::new("quantity", DataType::Int32, false),
        Field::new("amount", DataType::Decimal128(12, 2), false),
        Field::new("country", DataType::Utf8, false),
        Field::new("channel", DataType::Utf8, false),
        Field::new("card_id", DataType::Int64, false),
        Field::new("device_id", DataType::Int64, false),
        Field::new("event_time", timestamp, false),
    ]))
});

static PRODUCTS_SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("product_id", DataType::Int64, false),
        Field::new("category", DataType::Utf8, false),
    ]))
});

/// The columns of a transaction.
pub(crate) fn transactions_schema() -> SchemaRef {
    Arc::clone(&TRANSACTIONS)
}

/// The columns of a product.
pub(crate) fn products_schema() -> SchemaRef {
    Arc::clone(&PRODUCTS_SCHEMA)
}

/// All products.
pub(crate) fn products() -> RecordBatch {
    let mut id = Int64Builder::new();
    let mut category = StringBuilder::new();
    for product in 0..PRODUCTS {
        id.append_value(product as i64);
        category.append_value(format!("cat_{:02}", product % CATEGORIES));
    }
    RecordBatch::try_new(products_schema(), vec![Arc::new(id.finish()), Arc::new(category.finish())])
        .expect("the columns match the schema")
}

/// Makes transactions batch by batch.
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

    /// Cents: lognormal around 35.00, one in 25 negative.
    fn amount(&mut self) -> i128 {
        let cents = (3_500.0 * (0.8 * self.random.normal()).exp()).round().clamp(1.0, 9e9) as i128;
        if self.random.below(25) == 0 { -cents } else { cents }
    }

    /// The next `rows` transactions.
    pub(crate) fn batch(&mut self, rows: usize) -> RecordBatch {
        let int = || Int64Builder::with_capacity(rows);
        let (mut transaction, mut order, mut customer, mut product) = (int(), int(), int(), int());
        let (mut card, mut device) = (int(), int());
        let text = || StringBuilder::with_capacity(rows, rows * 6);
        let (mut category, mut country, mut channel) = (text(), text(), text());
        let mut quantity = Int32Builder::with_capacity(rows);
        let mut amount = Decimal128Builder::with_capacity(rows).with_data_type(DataType::Decimal128(12, 2));
        let mut time = TimestampMicrosecondBuilder::with_capacity(rows).with_timezone("+00:00");
        for _ in 0..rows {
            if self.lines == 0 {
                self.next_order();
            }
            self.lines -= 1;
            let bought = self.products.draw(&mut self.random);
            transaction.append_value(self.transaction);
            order.append_value(self.order);
            customer.append_value(self.customer);
            product.append_value(bought as i64);
            category.append_value(format!("cat_{:02}", bought % CATEGORIES));
            quantity.append_value(1 + self.random.below(5) as i32);
            amount.append_value(self.amount());
            country.append_value(COUNTRIES[self.country]);
            channel.append_value(CHANNELS[self.channel]);
            card.append_value(self.customer * 2 + (self.random.next() & 1) as i64);
            device.append_value(self.customer * 3 + self.random.below(3) as i64);
            let late = if self.random.below(50) == 0 { self.random.below(5_000_000) as i64 } else { 0 };
            time.append_value(START_US + self.transaction * 1_000 - late);
            self.transaction += 1;
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(transaction.finish()),
            Arc::new(order.finish()),
            Arc::new(customer.finish()),
            Arc::new(product.finish()),
            Arc::new(category.finish()),
            Arc::new(quantity.finish()),
            Arc::new(amount.finish()),
            Arc::new(country.finish()),
            Arc::new(channel.finish()),
            Arc::new(card.finish()),
            Arc::new(device.finish()),
            Arc::new(time.finish()),
        ];
        RecordBatch::try_new(transactions_schema(), columns).expect("the columns match the schema")
    }
}
