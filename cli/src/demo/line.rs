//! One line of an invoice in the columns of the published Online Retail file, and its text.

use std::fmt::{self, Display, Write};

use chrono::{Datelike, NaiveDateTime, Timelike};

/// The columns of the file.
pub(crate) const HEADER: &str = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country";

/// The format of the column `InvoiceDate`.
pub(crate) const TIME_FORMAT: &str = "%Y-%m-%d %H:%M:%S";

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InvoiceLine<'a> {
    pub(crate) invoice_no: &'a str,
    pub(crate) stock_code: &'a str,
    pub(crate) description: &'a str,
    pub(crate) quantity: i32,
    pub(crate) time: NaiveDateTime,
    pub(crate) unit_price_mils: i64,
    pub(crate) customer_id: Option<u32>,
    pub(crate) country: &'a str,
}

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LineKind {
    /// Something was sold.
    Sale,
    /// A sale was taken back.
    Cancel,
    /// The books were adjusted.
    Adjust,
    /// Stock moved without money.
    Stock,
}

impl InvoiceLine<'_> {
    /// What the line is.
    pub(crate) fn kind(&self) -> LineKind {
        match self.invoice_no.as_bytes().first() {
            Some(b'C') => LineKind::Cancel,
            Some(b'A') => LineKind::Adjust,
            _ if self.quantity > 0 && self.unit_price_mils > 0 => LineKind::Sale,
            _ => LineKind::Stock,
        }
    }

    /// What it comes to, signed.
    pub(crate) fn amount_mils(&self) -> i64 {
        i64::from(self.quantity) * self.unit_price_mils
    }

    /// Appends the line as CSV, with its line break.
    pub(crate) fn write_csv(&self, text: &mut String) {
        text.push_str(self.invoice_no);
        text.push(',');
        push_quoted(text, self.stock_code);
        text.push(',');
        push_quoted(text, self.description);
        write!(text, ",{},", self.quantity).expect("writing to a string does not fail");
        push_time(text, self.time);
        write!(text, ",{},", Pounds(self.unit_price_mils)).expect("writing to a string does not fail");
        if let Some(id) = self.customer_id {
            write!(text, "{id}.0").expect("writing to a string does not fail");
        }
        text.push(',');
        push_quoted(text, self.country);
        text.push('\n');
    }
}

/// Appends a field, between quotation marks if it must be.
fn push_quoted(text: &mut String, field: &str) {
    if field.contains([',', '"', '\n', '\r']) {
        text.push('"');
        text.push_str(&field.replace('"', "\"\""));
        text.push('"');
    } else {
        text.push_str(field);
    }
}

/// Appends a time in [`TIME_FORMAT`], without reading that format again for each line.
fn push_time(text: &mut String, time: NaiveDateTime) {
    let year = time.year().unsigned_abs();
    let parts = [year / 100, year % 100, time.month(), time.day(), time.hour(), time.minute(), time.second()];
    for (part, before) in parts.into_iter().zip(["", "", "-", "-", " ", ":", ":"]) {
        text.push_str(before);
        text.extend([part / 10, part % 10].map(|digit| char::from(b'0' + digit as u8)));
    }
}

/// Mils as a plain decimal of pounds: `2.55`, `27.0`, `-0.001`.
pub(crate) struct Pounds(pub(crate) i64);

impl Display for Pounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mils, sign) = (self.0.unsigned_abs(), if self.0 < 0 { "-" } else { "" });
        let (whole, fraction) = (mils / 1000, mils % 1000);
        match (fraction % 100, fraction % 10) {
            (0, _) => write!(f, "{sign}{whole}.{}", fraction / 100),
            (_, 0) => write!(f, "{sign}{whole}.{:02}", fraction / 10),
            _ => write!(f, "{sign}{whole}.{fraction:03}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pounds_are_plain_decimals() {
        for (mils, text) in [(0, "0.0"), (1, "0.001"), (2_550, "2.55"), (-27_500, "-27.5"), (18_000, "18.0")] {
            assert_eq!(Pounds(mils).to_string(), text);
        }
    }

    #[test]
    fn fields_with_commas_and_quotes_are_quoted() {
        let mut text = String::new();
        let time = NaiveDateTime::parse_from_str("2024-12-02 08:26:00", TIME_FORMAT).unwrap();
        let line = InvoiceLine {
            invoice_no: "C700001",
            stock_code: "10007A",
            description: "TRIVET 12\" , SLATE",
            quantity: -6,
            time,
            unit_price_mils: 2_550,
            customer_id: None,
            country: "Spain",
        };
        line.write_csv(&mut text);
        assert_eq!(text, "C700001,10007A,\"TRIVET 12\"\" , SLATE\",-6,2024-12-02 08:26:00,2.55,,Spain\n");
        text.clear();
        InvoiceLine { customer_id: Some(20_001), description: "", ..line }.write_csv(&mut text);
        assert_eq!(text, "C700001,10007A,,-6,2024-12-02 08:26:00,2.55,20001.0,Spain\n");
    }
}
