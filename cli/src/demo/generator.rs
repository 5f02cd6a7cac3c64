//! A year of a gift shop's invoice lines, made up: the same for the same seed, in the columns of the published Online
//! Retail file, and of its shape (lines per order, amounts, customers' habits, hours, cancellations, anonymous orders).
//!
//! Everything is drawn beforehand and kept in memory, some 30 MB for a full year; writing it out is the caller's.

mod calendar;
mod draw;
mod names;
mod shop;
mod trade;

#[cfg(test)]
mod tests;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use self::calendar::time_of;
use self::shop::Shop;
use self::trade::{Books, InvoiceKind, Item};
use super::line::InvoiceLine;

/// Lines of a full year, on average over seeds.
const FULL_YEAR_LINES: f64 = 540_000.0;

/// The number before the first invoice's.
const INVOICE_NUMBER: u32 = 700_000;

/// A year of trade.
pub(crate) struct Year {
    shop: Shop,
    books: Books,
    /// For each invoice its number with its letter.
    numbers: Vec<String>,
}

impl Year {
    /// Draws a year of about `lines` lines, whose trade is as many times smaller or larger than the full shop's.
    pub(crate) fn draw(seed: u64, lines: usize) -> Year {
        let scale = lines as f64 / FULL_YEAR_LINES;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let shop = Shop::open(scale, &mut rng);
        let books = Books::keep(&shop, scale, &mut rng);
        let mut numbers = vec![String::new(); books.invoices.len()];
        let mut number = INVOICE_NUMBER;
        for part in &books.parts {
            if numbers[part.invoice].is_empty() {
                number += 1;
                numbers[part.invoice] = match books.invoices[part.invoice].kind {
                    InvoiceKind::Plain => number.to_string(),
                    InvoiceKind::Cancel => format!("C{number}"),
                    InvoiceKind::Adjust => format!("A{number}"),
                };
            }
        }
        Year { shop, books, numbers }
    }

    /// How many lines there are.
    pub(crate) fn len(&self) -> usize {
        self.books.parts.iter().map(|part| part.entries.len()).sum()
    }

    /// The lines in order of time.
    pub(crate) fn lines(&self) -> impl Iterator<Item = InvoiceLine<'_>> {
        self.books.parts.iter().flat_map(move |part| {
            let invoice = &self.books.invoices[part.invoice];
            part.entries.iter().map(move |entry| {
                let (stock_code, description) = match entry.item {
                    Item::Product(product) => self.product(product),
                    Item::Noted(product, note) => (self.product(product).0, note),
                    Item::Service(code, description) => (code, description),
                };
                InvoiceLine {
                    invoice_no: &self.numbers[part.invoice],
                    stock_code,
                    description,
                    quantity: entry.quantity,
                    time: time_of(part.minute),
                    unit_price_mils: entry.price_mils,
                    customer_id: invoice.customer.map(|index| self.shop.customers[index].id),
                    country: invoice.country,
                }
            })
        })
    }

    /// A product's code and description.
    fn product(&self, index: usize) -> (&str, &str) {
        let product = &self.shop.products[index];
        (&product.stock_code, &product.description)
    }
}
