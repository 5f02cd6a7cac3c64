//! A plain sum over lines: what the views must come to, computed without them.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::line::{InvoiceLine, LineKind};

/// The totals of all lines so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// What was sold, in mils.
    pub(crate) gross_mils: i64,
    /// What was taken back, in mils.
    pub(crate) refund_mils: i64,
    /// Invoices with at least one sale.
    pub(crate) orders: u64,
    /// Customers with at least one sale.
    pub(crate) customers: u64,
    /// Lines of any kind.
    pub(crate) lines: u64,
    /// Records that are no lines.
    pub(crate) errors: u64,
}

/// Adds lines up.
#[derive(Default)]
pub(crate) struct Tally {
    totals: Totals,
    /// Hashes of the invoices with a sale: 64 bits tell a year's invoices apart.
    invoices: HashSet<u64>,
    customers: HashSet<u32>,
}

impl Tally {
    /// Adds a line.
    pub(crate) fn add(&mut self, line: &InvoiceLine<'_>) {
        self.totals.lines += 1;
        match line.kind() {
            LineKind::Sale => {
                self.totals.gross_mils += line.amount_mils();
                self.invoices.insert(hash(line.invoice_no));
                self.customers.extend(line.customer_id);
            }
            LineKind::Cancel => self.totals.refund_mils -= line.amount_mils(),
            LineKind::Adjust | LineKind::Stock => {}
        }
    }

    /// Counts a record that is no line.
    pub(crate) fn add_error(&mut self) {
        self.totals.errors += 1;
    }

    /// The totals of what was added.
    pub(crate) fn totals(&self) -> Totals {
        Totals { orders: self.invoices.len() as u64, customers: self.customers.len() as u64, ..self.totals }
    }
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use chrono::NaiveDateTime;

    use super::*;

    #[test]
    fn each_kind_counts_where_it_belongs() {
        let line = |invoice_no, quantity, unit_price_mils, customer_id| InvoiceLine {
            invoice_no,
            stock_code: "10007",
            description: "",
            quantity,
            time: NaiveDateTime::default(),
            unit_price_mils,
            customer_id,
            country: "Spain",
        };
        let mut tally = Tally::default();
        tally.add(&line("700001", 6, 2_550, Some(1)));
        tally.add(&line("700001", 1, 1, Some(1)));
        tally.add(&line("700002", 2, 1_000, None));
        tally.add(&line("C700003", -6, 2_550, Some(2)));
        tally.add(&line("A700004", 1, -9_000, None));
        tally.add(&line("700005", -3, 0, None));
        tally.add_error();
        let totals = Totals { gross_mils: 17_301, refund_mils: 15_300, orders: 2, customers: 1, lines: 6, errors: 1 };
        assert_eq!(tally.totals(), totals);
    }
}
