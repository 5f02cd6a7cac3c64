//! A year of trade: orders, cancellations, movements of stock and the odd entry of the bookkeeper.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::calendar::{Calendar, Minute, day_of};
use super::draw::{Quantiles, count, normal, normal_like, share_below};
use super::names::STOCK_NOTES;
use super::shop::{Customer, HOME, Shop};

/// Lines of an order by a customer with an account.
const LINES: Quantiles = Quantiles(&[
    (0.0, 1.0),
    (0.05, 1.0),
    (0.12, 2.0),
    (0.25, 6.0),
    (0.5, 14.0),
    (0.75, 26.0),
    (0.9, 44.0),
    (0.95, 59.0),
    (0.99, 100.0),
    (0.999, 230.0),
    (1.0, 542.0),
]);

/// Lines of an anonymous order: single parcels, or all of a day's web orders in one invoice.
const ANONYMOUS_LINES: Quantiles = Quantiles(&[
    (0.0, 1.0),
    (0.15, 1.0),
    (0.25, 3.0),
    (0.5, 36.0),
    (0.75, 145.0),
    (0.9, 249.0),
    (0.95, 405.0),
    (0.99, 621.0),
    (0.999, 741.0),
    (1.0, 1114.0),
]);

/// What an order by a customer with an account comes to, in pounds.
const AMOUNTS: Quantiles = Quantiles(&[
    (0.0, 2.0),
    (0.01, 8.0),
    (0.05, 34.0),
    (0.25, 156.0),
    (0.5, 295.0),
    (0.75, 430.0),
    (0.9, 690.0),
    (0.95, 960.0),
    (0.99, 2600.0),
    (0.999, 10_500.0),
    (1.0, 38_970.0),
]);

/// What a line of an anonymous order comes to, in pounds, averaged over its order.
const ANONYMOUS_LINE_AMOUNTS: Quantiles = Quantiles(&[
    (0.0, 0.85),
    (0.01, 1.04),
    (0.05, 1.74),
    (0.25, 5.3),
    (0.5, 8.7),
    (0.75, 12.75),
    (0.9, 26.0),
    (0.95, 46.0),
    (0.99, 300.0),
    (1.0, 2_000.0),
]);

/// Days from a sale to its cancellation.
const CANCEL_DELAYS: Quantiles = Quantiles(&[
    (0.0, 0.001),
    (0.05, 0.007),
    (0.12, 0.5),
    (0.25, 4.1),
    (0.5, 9.3),
    (0.75, 24.0),
    (0.9, 67.0),
    (0.95, 119.0),
    (0.99, 220.0),
    (1.0, 368.0),
]);

/// Lines of a cancellation.
const CANCEL_LINES: Quantiles = Quantiles(&[
    (0.0, 1.0),
    (0.6, 1.0),
    (0.75, 2.0),
    (0.9, 4.0),
    (0.95, 7.0),
    (0.99, 18.0),
    (0.999, 39.0),
    (1.0, 101.0),
]);

/// Pieces of a movement of stock, in either direction.
const STOCK_PIECES: Quantiles =
    Quantiles(&[(0.0, 1.0), (0.3, 3.0), (0.5, 16.0), (0.75, 70.0), (0.9, 290.0), (0.98, 1_200.0), (1.0, 9_600.0)]);

/// What is charged or returned by hand, in pounds.
const MANUAL_AMOUNTS: Quantiles =
    Quantiles(&[(0.0, 0.4), (0.25, 2.0), (0.5, 8.0), (0.75, 120.0), (0.95, 900.0), (1.0, 4_300.0)]);

/// Quantities that things are packed in; below the first any number is sold, beyond the last whole hundreds.
const PACKS: [i32; 22] = [4, 5, 6, 8, 10, 12, 16, 18, 20, 24, 25, 30, 36, 40, 48, 60, 72, 96, 100, 120, 144, 192];

/// Anonymous orders, movements of stock, and cancellations of what was sold before the first day, in a whole year.
const ANONYMOUS_ORDERS: f64 = 1_427.0;
const STOCK_MOVEMENTS: f64 = 2_515.0;
const EARLY_CANCELS: f64 = 160.0;

/// What a line is about.
#[derive(Clone, Copy)]
pub(crate) enum Item {
    /// A product, by its index.
    Product(usize),
    /// A service, or what else is in no catalogue: its code and its description.
    Service(&'static str, &'static str),
    /// A product, by its index, with a note instead of its description.
    Noted(usize, &'static str),
}

/// One line of an invoice.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) item: Item,
    pub(crate) quantity: i32,
    pub(crate) price_mils: i64,
}

impl Entry {
    fn amount_mils(&self) -> i64 {
        i64::from(self.quantity) * self.price_mils
    }
}

/// What an invoice is; seen in the letter before its number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum InvoiceKind {
    /// A sale or a movement of stock.
    Plain,
    /// A cancellation, `C`.
    Cancel,
    /// An adjustment of the books, `A`.
    Adjust,
}

/// The head of an invoice.
pub(crate) struct Invoice {
    pub(crate) kind: InvoiceKind,
    /// The index of the customer; none for anonymous ones.
    pub(crate) customer: Option<usize>,
    pub(crate) country: &'static str,
}

/// Lines of one invoice booked in one minute; a few invoices have two such parts.
pub(crate) struct Part {
    pub(crate) minute: Minute,
    /// The index of the invoice.
    pub(crate) invoice: usize,
    pub(crate) entries: Vec<Entry>,
}

/// The year while it is being written.
pub(crate) struct Trade<'a> {
    shop: &'a Shop,
    calendar: Calendar,
    rng: &'a mut ChaCha8Rng,
    invoices: Vec<Invoice>,
    parts: Vec<Part>,
    /// For each product the last invoice with it: so that an invoice names a product once.
    named_in: Vec<usize>,
}

/// All invoices, and their parts in order of time.
pub(crate) struct Books {
    pub(crate) invoices: Vec<Invoice>,
    pub(crate) parts: Vec<Part>,
}

impl Books {
    /// A year of the shop's trade; `scale` is the share of a full year's.
    pub(crate) fn keep(shop: &Shop, scale: f64, rng: &mut ChaCha8Rng) -> Books {
        let mut trade = Trade {
            shop,
            calendar: Calendar::new(),
            rng,
            invoices: Vec::new(),
            parts: Vec::new(),
            named_in: vec![usize::MAX; shop.products.len()],
        };
        for index in 0..shop.customers.len() {
            trade.serve(index);
        }
        (0..count(ANONYMOUS_ORDERS * scale)).for_each(|_| trade.sell_anonymously());
        (0..count(STOCK_MOVEMENTS * scale)).for_each(|_| trade.move_stock());
        (0..count(EARLY_CANCELS * scale)).for_each(|_| {
            let customer = trade.rng.random_range(0..shop.customers.len());
            trade.cancel_what_came_before(customer);
        });
        trade.adjust_the_books();
        if scale >= 0.5 {
            trade.slip_on_the_keyboard();
        }
        let Trade { invoices, mut parts, .. } = trade;
        parts.sort_by_key(|part| part.minute);
        Books { invoices, parts }
    }
}

impl Trade<'_> {
    /// All orders of one customer, with their cancellations.
    fn serve(&mut self, index: usize) {
        let customer = &self.shop.customers[index];
        if customer.orders == 0 {
            (0..self.rng.random_range(1..=3)).for_each(|_| self.cancel_what_came_before(index));
        }
        // Who buys often buys at intervals; the others' orders fall as they may.
        let regular = customer.orders >= 4 && self.rng.random_bool(0.75);
        let mut day = 0;
        for order in 0..customer.orders {
            day = match self.rng.random_range(0..100) {
                // A second order of the day, or one to complete the last.
                0..5 if order > 0 => day,
                5..9 if order > 0 => {
                    let later = day + self.rng.random_range(2..30);
                    self.calendar.open_day(later).unwrap_or(day)
                }
                _ if regular => {
                    let share = (order as f64 + self.rng.random::<f64>()) / customer.orders as f64;
                    self.calendar.day_at(share)
                }
                _ => self.calendar.draw_day(0, self.rng),
            };
            self.sell(index, day);
        }
    }

    /// One order of a customer with an account.
    fn sell(&mut self, index: usize, day: usize) {
        let customer = &self.shop.customers[index];
        let size = normal_like(customer.size, 0.7, self.rng);
        let amount = AMOUNTS.at(share_below(size));
        let lines = count(LINES.at(share_below(normal_like(size, 0.54, self.rng))));
        let minute = self.calendar.draw_minute(day, self.rng);
        let mut entries = self.fill(lines, amount, Terms::Trade);
        self.add_services(customer, amount, &mut entries);
        let invoice = self.book(minute, InvoiceKind::Plain, Some(index), entries.clone());
        if lines >= 10 && self.rng.random_ratio(1, 250) {
            // The second half was keyed in a minute later.
            let part = self.parts.last_mut().expect("the order was booked");
            let second = part.entries.split_off(part.entries.len() / 2);
            self.parts.push(Part { minute: minute + 1, invoice, entries: second });
        }
        let cancelled = if amount > 8_000.0 { 0.4 } else { 0.2 };
        if self.rng.random_bool(cancelled) {
            self.cancel(index, minute, &entries, amount > 8_000.0);
        }
    }

    /// One order of the web shop or over the counter.
    fn sell_anonymously(&mut self) {
        let lines = ANONYMOUS_LINES.draw_count(self.rng);
        // The more lines, the nearer their average is to the usual one.
        let spread = if lines > 20 { 0.45 } else { 1.0 };
        let share = 0.62 + (self.rng.random::<f64>() - 0.62) * spread;
        let amount = ANONYMOUS_LINE_AMOUNTS.at(share) * lines as f64;
        let day = self.calendar.draw_day(0, self.rng);
        let minute = self.calendar.draw_minute(day, self.rng);
        let mut entries = self.fill(lines, amount, Terms::Retail);
        if lines >= 20 && self.rng.random_bool(0.85) {
            let postage = pence(amount * self.rng.random_range(0.08..0.22));
            entries.push(Entry { item: Item::Service("DOT", "WEB SHOP POSTAGE"), quantity: 1, price_mils: postage });
        }
        self.book(minute, InvoiceKind::Plain, None, entries);
    }

    /// Postage abroad, carriage, and what is charged by hand.
    fn add_services(&mut self, customer: &Customer, amount: f64, entries: &mut Vec<Entry>) {
        let mut charge = |item, quantity, price_mils| entries.push(Entry { item, quantity, price_mils });
        if customer.country == "Ireland" && self.rng.random_bool(0.5) {
            charge(Item::Service("C2", "CARRIAGE"), 1, 50_000);
        } else if customer.country != HOME && self.rng.random_bool(0.6) {
            let parcels = ((amount / 240.0).ceil() as i32).clamp(1, 12);
            let price_mils = if self.rng.random_bool(0.7) { 18_000 } else { 28_000 };
            charge(Item::Service("POST", "POSTAGE"), parcels, price_mils);
        }
        if self.rng.random_bool(0.016) {
            charge(Item::Service("M", "Manual"), 1, pence(MANUAL_AMOUNTS.draw(self.rng)));
        }
        if self.rng.random_bool(0.001) {
            // Sold by the hundred at a tenth of a penny: a penny is not fine enough for money here.
            let bags = self.rng.random_range(1..=4);
            charge(Item::Service("SPARES", "SPARE RIVETS BY THE BAG"), 250 * bags, 1);
        }
        if self.rng.random_bool(0.002) {
            let gift = self.shop.popularity.draw(self.rng);
            charge(Item::Product(gift), self.rng.random_range(1..=4), 0);
        }
    }

    /// Draws products and quantities until there are `lines` of them that come to about `amount` pounds.
    fn fill(&mut self, lines: usize, amount: f64, terms: Terms) -> Vec<Entry> {
        let target = amount / lines as f64;
        let spread = match terms {
            Terms::Trade => 0.62,
            Terms::Retail => 0.85,
        };
        let mut entries: Vec<Entry> = (0..lines)
            .map(|_| {
                // Now and then something is bought by the carton.
                let carton = if matches!(terms, Terms::Trade) && self.rng.random_ratio(1, 45) { 8.0 } else { 1.0 };
                let pounds = target * (spread * normal(self.rng) - spread * spread / 2.0).exp();
                let product = self.draw_product_for(pounds);
                let price_mils = terms.price(self.shop.products[product].price_mils, self.rng);
                let quantity = pack(carton * pounds * 1000.0 / price_mils as f64);
                Entry { item: Item::Product(product), quantity, price_mils }
            })
            .collect();
        let sum: i64 = entries.iter().map(Entry::amount_mils).sum();
        let off = amount * 1000.0 / sum as f64;
        for entry in &mut entries {
            entry.quantity = pack(f64::from(entry.quantity) * off);
            if matches!(terms, Terms::Trade) && entry.quantity >= 60 && entry.price_mils > 200 {
                // By the carton it is cheaper.
                entry.price_mils = entry.price_mils * 17 / 20 / 10 * 10;
            }
        }
        entries
    }

    /// A product of a price at which a line of `pounds` is likely: dear ones are not bought for a little, and seldom is
    /// much of a cheap one.
    fn draw_product_for(&mut self, pounds: f64) -> usize {
        let mut product = self.draw_product();
        for _ in 0..4 {
            let pieces = pounds * 1000.0 / self.shop.products[product].price_mils as f64;
            if (0.5..48.0).contains(&pieces) || self.rng.random_bool(0.06) {
                break;
            }
            product = self.draw_product();
        }
        product
    }

    /// A product that the invoice to be booked next does not name yet, unless luck has it otherwise.
    fn draw_product(&mut self) -> usize {
        let invoice = self.invoices.len();
        let mut product = self.shop.popularity.draw(self.rng);
        for _ in 0..3 {
            if self.named_in[product] != invoice {
                break;
            }
            product = self.shop.popularity.draw(self.rng);
        }
        self.named_in[product] = invoice;
        product
    }

    /// Takes some lines of an order back, or all.
    fn cancel(&mut self, index: usize, sold: Minute, entries: &[Entry], whole: bool) {
        let delay = if whole { 0.02 } else { CANCEL_DELAYS.draw(self.rng) };
        let minute = sold + (delay * 24.0 * 60.0).ceil() as Minute;
        let Some(minute) = self.within_hours(sold, minute) else { return };
        let first = self.rng.random_range(0..entries.len());
        let lines = if whole { entries.len() } else { CANCEL_LINES.draw_count(self.rng).min(entries.len()) };
        let taken_back: Vec<Entry> = (0..lines)
            .map(|line| {
                let entry = entries[(first + line) % entries.len()];
                let all = whole || entry.quantity == 1 || self.rng.random_bool(0.4);
                let pieces = if all { entry.quantity } else { self.rng.random_range(1..=entry.quantity.min(12)) };
                Entry { quantity: -pieces, ..entry }
            })
            .filter(|entry| entry.price_mils > 0)
            .collect();
        if !taken_back.is_empty() {
            self.book(minute, InvoiceKind::Cancel, Some(index), taken_back);
        }
        if self.rng.random_ratio(1, 25) {
            let amount = pence(MANUAL_AMOUNTS.draw(self.rng));
            let item =
                if self.rng.random_bool(0.4) { Item::Service("D", "Discount") } else { Item::Service("M", "Manual") };
            let back = Entry { item, quantity: -1, price_mils: amount };
            self.book(minute, InvoiceKind::Cancel, Some(index), vec![back]);
        }
    }

    /// `minute` if it is the day of the sale, else a minute of trade on that day or the next open one, if there is one.
    fn within_hours(&mut self, sold: Minute, minute: Minute) -> Option<Minute> {
        if day_of(minute) == day_of(sold) {
            return Some(minute);
        }
        let day = self.calendar.open_day(day_of(minute))?;
        Some(self.calendar.draw_minute(day, self.rng))
    }

    /// A cancellation, early in the year, of something that was sold before its first day.
    fn cancel_what_came_before(&mut self, index: usize) {
        let day = self.rng.random_range(0..40);
        let Some(day) = self.calendar.open_day(day) else { return };
        let minute = self.calendar.draw_minute(day, self.rng);
        let lines = CANCEL_LINES.draw_count(self.rng);
        let entries = (0..lines).map(|_| {
            let product = self.draw_product();
            let quantity = -self.rng.random_range(1..=12);
            Entry { item: Item::Product(product), quantity, price_mils: self.shop.products[product].price_mils }
        });
        let entries = entries.collect();
        self.book(minute, InvoiceKind::Cancel, Some(index), entries);
    }

    /// Something was counted, broken or found.
    fn move_stock(&mut self) {
        let pieces = STOCK_PIECES.draw_count(self.rng) as i32;
        let quantity = if self.rng.random_bool(0.53) { -pieces } else { pieces };
        let product = self.rng.random_range(0..self.shop.products.len());
        let item = match self.rng.random_range(0..STOCK_NOTES.len()) {
            0 => Item::Product(product),
            note => Item::Noted(product, STOCK_NOTES[note]),
        };
        let day = self.calendar.draw_day(0, self.rng);
        let minute = self.calendar.draw_minute(day, self.rng);
        self.book(minute, InvoiceKind::Plain, None, vec![Entry { item, quantity, price_mils: 0 }]);
    }

    /// The bookkeeper writes off a bad debt, at the third attempt.
    fn adjust_the_books(&mut self) {
        let debt_mils = 8_417_350;
        let day = self.calendar.draw_day(self.calendar.days() * 2 / 3, self.rng);
        let minute = self.calendar.draw_minute(day, self.rng);
        for (delay, price_mils) in [(0, debt_mils), (1, -debt_mils), (2, -debt_mils)] {
            let entry = Entry { item: Item::Service("B", "Adjust bad debt"), quantity: 1, price_mils };
            self.book(minute + delay, InvoiceKind::Adjust, None, vec![entry]);
        }
    }

    /// Somebody orders a thousand times too much, and cancels it twelve minutes later.
    fn slip_on_the_keyboard(&mut self) {
        let index = self.rng.random_range(0..self.shop.customers.len());
        let day = self.calendar.draw_day(self.calendar.days() - 3, self.rng);
        let minute = self.calendar.draw_minute(day, self.rng);
        let entry = Entry { item: Item::Product(self.draw_product()), quantity: 74_000, price_mils: 1_950 };
        self.book(minute, InvoiceKind::Plain, Some(index), vec![entry]);
        let back = Entry { quantity: -entry.quantity, ..entry };
        self.book(minute + 12, InvoiceKind::Cancel, Some(index), vec![back]);
    }

    /// Writes an invoice and returns its index.
    fn book(&mut self, minute: Minute, kind: InvoiceKind, customer: Option<usize>, entries: Vec<Entry>) -> usize {
        let country = customer.map_or(HOME, |index| self.shop.customers[index].country);
        self.invoices.push(Invoice { kind, customer, country });
        let invoice = self.invoices.len() - 1;
        self.parts.push(Part { minute, invoice, entries });
        invoice
    }
}

/// Whom a price is for.
#[derive(Clone, Copy)]
enum Terms {
    Trade,
    Retail,
}

impl Terms {
    /// The price, in mils, of what costs trade customers `trade_mils`.
    fn price(self, trade_mils: i64, rng: &mut impl Rng) -> i64 {
        match self {
            Terms::Trade => trade_mils,
            Terms::Retail if trade_mils < 200 || rng.random_bool(0.3) => trade_mils,
            // With the tax that consumers pay, to the penny.
            Terms::Retail => trade_mils * 194 / 100 / 10 * 10,
        }
    }
}

/// The nearest quantity that is sold.
fn pack(pieces: f64) -> i32 {
    let most = PACKS[PACKS.len() - 1];
    if pieces < f64::from(PACKS[0]) {
        pieces.round().max(1.0) as i32
    } else if pieces > f64::from(most) {
        (pieces / 100.0).round().max(2.0) as i32 * 100
    } else {
        let far = |pack: i32| (f64::from(pack).ln() - pieces.ln()).abs();
        *PACKS.iter().min_by(|a, b| far(**a).total_cmp(&far(**b))).expect("there are packs")
    }
}

/// Pounds as mils of whole pence, at least one penny.
fn pence(pounds: f64) -> i64 {
    ((pounds * 100.0).round() as i64).max(1) * 10
}
