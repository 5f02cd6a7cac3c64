//! The queries, as SQL and as the hash of a row of their answers.

use super::input::Input;
use super::measure::{NULL, mix, text_value};

/// What a query may cost, in CPU microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    /// At most this at first.
    pub(crate) landing: Option<f64>,
    /// What is aimed at.
    pub(crate) goal: Option<f64>,
}

impl Bound {
    /// Nothing is asked.
    pub(crate) const NONE: Bound = Bound { landing: None, goal: None };

    const fn new(landing: f64, goal: f64) -> Bound {
        Bound { landing: Some(landing), goal: Some(goal) }
    }
}

/// One query of the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Query {
    /// Sum, count and different orders per minute and country.
    Q1,
    /// Latest transaction, different orders and money per customer, over an input that only grows.
    Q2,
    /// The same over an input that also retracts.
    Q2Retractable,
    /// Q2 and on top of it which fifth of all customers by money.
    Q2n,
    /// Per transaction: count and sum of the card's last ten minutes, the customer's running mean, and a score.
    Q3,
    /// Money per category and hour, the category by a join with the products.
    Q4,
    /// The ten products of most revenue per country.
    Q5,
    /// Orders and their payments.
    Q6,
    /// The same with orders that are not paid.
    Q7,
}

const Q1: &str = "SELECT date_trunc('minute', event_time) AS minute, country, sum(amount) AS revenue, \
    count(*) AS transactions, count(DISTINCT order_id) AS orders FROM transactions GROUP BY 1, 2";

const Q2: &str = "SELECT customer_id, max(event_time) AS latest, count(DISTINCT order_id) AS orders, \
    sum(amount) AS monetary FROM transactions GROUP BY customer_id";

const Q2N: &str = "SELECT customer_id, latest, orders, monetary, \
    ntile(5) OVER (ORDER BY monetary, customer_id) AS monetary_score FROM \
    (SELECT customer_id, max(event_time) AS latest, count(DISTINCT order_id) AS orders, \
    sum(amount) AS monetary FROM transactions GROUP BY customer_id) AS customers";

const Q3: &str = "SELECT transaction_id, n, spent, usual, \
    CASE WHEN n > 20 THEN 1 ELSE 0 END + CASE WHEN amount > 4 * usual THEN 1 ELSE 0 END AS score FROM \
    (SELECT transaction_id, amount, count(*) OVER recent AS n, sum(amount) OVER recent AS spent, \
    avg(amount) OVER (PARTITION BY customer_id ORDER BY event_time) AS usual FROM transactions \
    WINDOW recent AS (PARTITION BY card_id ORDER BY event_time \
    RANGE BETWEEN INTERVAL '10 minutes' PRECEDING AND CURRENT ROW)) AS scored";

const Q4: &str = "SELECT p.category, date_trunc('hour', t.event_time) AS hour, sum(t.amount) AS revenue \
    FROM transactions t JOIN products p ON t.product_id = p.product_id GROUP BY 1, 2";

const Q5: &str = "SELECT country, product_id, revenue FROM (SELECT country, product_id, revenue, \
    row_number() OVER (PARTITION BY country ORDER BY revenue DESC, product_id) AS place FROM \
    (SELECT country, product_id, sum(amount) AS revenue FROM transactions GROUP BY 1, 2) AS sums) AS ranked \
    WHERE place <= 10";

const Q6: &str = "SELECT o.order_id, o.customer_id, o.total, p.payment_id, p.amount \
    FROM orders o JOIN payments p ON o.order_id = p.order_id";

const Q7: &str = "SELECT o.order_id, o.customer_id, o.total, p.payment_id, p.amount \
    FROM orders o LEFT JOIN payments p ON o.order_id = p.order_id";

impl Query {
    /// All of them.
    pub(crate) const ALL: [Query; 9] =
        [Query::Q1, Query::Q2, Query::Q2Retractable, Query::Q2n, Query::Q3, Query::Q4, Query::Q5, Query::Q6, Query::Q7];

    /// The name in tables and as an argument.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Query::Q1 => "Q1",
            Query::Q2 => "Q2",
            Query::Q2Retractable => "Q2r",
            Query::Q2n => "Q2n",
            Query::Q3 => "Q3",
            Query::Q4 => "Q4",
            Query::Q5 => "Q5",
            Query::Q6 => "Q6",
            Query::Q7 => "Q7",
        }
    }

    /// What it is, in words.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Query::Q1 => "sums and different orders per minute and country",
            Query::Q2 => "latest, orders and money per customer",
            Query::Q2Retractable => "the same, one row in twenty taken away",
            Query::Q2n => "Q2 and the fifth of customers by money",
            Query::Q3 => "ten minutes of the card, the customer's mean, score",
            Query::Q4 => "join with products, sum per category and hour",
            Query::Q5 => "ten best products per country",
            Query::Q6 => "orders join payments, some taken away",
            Query::Q7 => "orders left join payments, some taken away",
        }
    }

    /// What a row of a large tick may cost; of Q2n it is what it costs more than Q2.
    pub(crate) fn bulk_bound(self) -> Bound {
        match self {
            Query::Q1 => Bound::new(0.25, 0.12),
            Query::Q2 => Bound::new(0.30, 0.12),
            Query::Q2Retractable => Bound::new(0.50, 0.25),
            Query::Q2n => Bound::new(1.0, 0.35),
            Query::Q3 => Bound::new(3.0, 1.2),
            Query::Q4 => Bound::new(0.20, 0.08),
            Query::Q5 => Bound::new(0.30, 0.12),
            Query::Q6 => Bound::new(0.45, 0.22),
            Query::Q7 => Bound::new(0.55, 0.28),
        }
    }

    /// What a tick of one row may cost.
    pub(crate) fn tick_bound(self) -> Bound {
        match self {
            Query::Q2n => Bound::new(100.0, 20.0),
            Query::Q3 => Bound { landing: None, goal: Some(30.0) },
            _ => Bound::new(40.0, 15.0),
        }
    }

    /// The text of the view.
    pub(crate) fn sql(self) -> &'static str {
        match self {
            Query::Q1 => Q1,
            Query::Q2 | Query::Q2Retractable => Q2,
            Query::Q2n => Q2N,
            Query::Q3 => Q3,
            Query::Q4 => Q4,
            Query::Q5 => Q5,
            Query::Q6 => Q6,
            Query::Q7 => Q7,
        }
    }

    /// What it is fed.
    pub(crate) fn input(self) -> Input {
        match self {
            Query::Q1 | Query::Q2 | Query::Q2n | Query::Q3 | Query::Q4 | Query::Q5 => Input::Transactions,
            Query::Q2Retractable => Input::Corrected,
            Query::Q6 | Query::Q7 => Input::Joined,
        }
    }

    /// Whether its collections are declared to be append-only.
    pub(crate) fn append_only(self) -> bool {
        matches!(self.input(), Input::Transactions | Input::Uniform)
    }
}

fn country_value(country: u16) -> u64 {
    text_value(&country.to_be_bytes())
}

/// The hash of a row of Q1.
#[inline]
pub(crate) fn q1_row(minute_us: i64, country: u16, sum: i64, rows: i64, orders: i64) -> u64 {
    mix(mix(mix(mix(mix(0, minute_us as u64), country_value(country)), sum as u64), rows as u64), orders as u64)
}

/// The hash of a row of Q2.
#[inline]
pub(crate) fn q2_row(customer: i64, latest: i64, orders: i64, sum: i64) -> u64 {
    mix(mix(mix(mix(0, customer as u64), latest as u64), orders as u64), sum as u64)
}

/// The hash of a row of Q2n, from that of its row of Q2.
#[inline]
pub(crate) fn q2n_row(q2_row: u64, tile: u64) -> u64 {
    mix(q2_row, tile)
}

/// A row of Q3.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fraud {
    /// Transactions of the card in its last ten minutes.
    pub(crate) n: i64,
    /// Their amounts, in cents.
    pub(crate) spent: i64,
    /// Transactions of the customer so far.
    pub(crate) rows: i64,
    /// Their amounts, in cents.
    pub(crate) total: i64,
}

/// The hash of a row of Q3.
#[inline]
pub(crate) fn q3_row(transaction: i64, amount: i64, row: &Fraud) -> u64 {
    // A mean has four digits more than an amount, and what is beyond them is cut off.
    let usual = row.total * 10_000 / row.rows;
    let score = u64::from(row.n > 20) + u64::from(amount * 10_000 > 4 * usual);
    mix(mix(mix(mix(mix(0, transaction as u64), row.n as u64), row.spent as u64), usual as u64), score)
}

/// The hash of a row of Q4.
#[inline]
pub(crate) fn q4_row(category: u64, hour_us: i64, sum: i64) -> u64 {
    mix(mix(mix(0, category), hour_us as u64), sum as u64)
}

/// The hash of a row of Q5.
#[inline]
pub(crate) fn q5_row(country: u16, product: i64, revenue: i64) -> u64 {
    mix(mix(mix(0, country_value(country)), product as u64), revenue as u64)
}

/// The hash of a row of Q6 and Q7: an order (customer, total) and a payment (number, amount), if there is one.
#[inline]
pub(crate) fn q6_row(order: i64, (customer, total): (i64, i64), payment: Option<(i64, i64)>) -> u64 {
    let (payment, amount) = payment.map_or((NULL, NULL), |(payment, amount)| (payment as u64, amount as u64));
    mix(mix(mix(mix(mix(0, order as u64), customer as u64), total as u64), payment), amount)
}
