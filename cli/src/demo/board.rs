//! What the demo's subscription has shown so far: the contents of the views, kept by applying transitions.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Date32Type, Int64Type, TimestampMicrosecondType};
use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeDelta};
use headwater_views::control::ViewChanges;

use super::tally::Totals;

/// The views that are shown, in the order of the subscription.
pub(crate) const VIEWS: [&str; 4] = ["totals", "country_kpis", "daily_kpis", "rfm_base"];

/// A row of `country_kpis`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Country {
    pub(crate) name: String,
    pub(crate) gross_mils: i64,
    pub(crate) orders: i64,
    pub(crate) customers: i64,
}

/// A row of `daily_kpis`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Day {
    pub(crate) date: NaiveDate,
    pub(crate) gross_mils: i64,
    pub(crate) refund_mils: i64,
    pub(crate) orders: i64,
    pub(crate) new_customers: i64,
    pub(crate) returning_customers: i64,
}

/// A row of `rfm_base`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Customer {
    pub(crate) id: i64,
    pub(crate) last_sale: NaiveDateTime,
    pub(crate) frequency: i64,
    pub(crate) monetary_mils: i64,
}

/// The contents of the views.
#[derive(Default)]
pub(crate) struct Board {
    totals: Totals,
    countries: BTreeMap<String, Country>,
    days: BTreeMap<NaiveDate, Day>,
    customers: BTreeMap<i64, Customer>,
    /// Parts of a transition whose last part has not come.
    parts: Vec<ViewChanges>,
}

impl Board {
    /// Takes (a part of) a transition; whether it was complete and the contents changed.
    ///
    /// # Errors
    /// A view does not have the columns of the example.
    pub(crate) fn apply(&mut self, changes: &[ViewChanges], more: bool) -> Result<bool> {
        self.parts.extend_from_slice(changes);
        if more {
            return Ok(false);
        }
        let parts = std::mem::take(&mut self.parts);
        // What goes goes first: a changed row comes as its old and its new form.
        for sign in [-1, 1] {
            for part in &parts {
                let rows = (0..part.rows.num_rows()).filter(|row| part.diffs[*row].signum() == sign);
                self.change(part.view, &part.rows, rows, sign > 0)
                    .with_context(|| format!("the view {} is not the example's", VIEWS[part.view]))?;
            }
        }
        Ok(!parts.is_empty())
    }

    /// The totals; the errors are not among the views.
    pub(crate) fn totals(&self) -> Totals {
        self.totals
    }

    /// How many countries, days and customers there are.
    pub(crate) fn counts(&self) -> [usize; 3] {
        [self.countries.len(), self.days.len(), self.customers.len()]
    }

    /// The countries with the greatest gross.
    pub(crate) fn top_countries(&self, count: usize) -> Vec<&Country> {
        top(self.countries.values(), count, |country| country.gross_mils)
    }

    /// The latest days, latest first.
    pub(crate) fn latest_days(&self, count: usize) -> Vec<&Day> {
        self.days.values().rev().take(count).collect()
    }

    /// The customers who spent most.
    pub(crate) fn top_customers(&self, count: usize) -> Vec<&Customer> {
        top(self.customers.values(), count, |customer| customer.monetary_mils)
    }

    fn change(
        &mut self,
        view: usize,
        batch: &RecordBatch,
        rows: impl Iterator<Item = usize>,
        comes: bool,
    ) -> Result<()> {
        let columns = Columns(batch);
        for row in rows {
            match view {
                0 if comes => self.totals = columns.totals(row)?,
                0 => {}
                1 => {
                    let country = columns.country(row)?;
                    put(&mut self.countries, country.name.clone(), country, comes);
                }
                2 => {
                    let day = columns.day(row)?;
                    put(&mut self.days, day.date, day, comes);
                }
                _ => {
                    let customer = columns.customer(row)?;
                    put(&mut self.customers, customer.id, customer, comes);
                }
            }
        }
        Ok(())
    }
}

fn put<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: V, comes: bool) {
    if comes {
        map.insert(key, value);
    } else {
        map.remove(&key);
    }
}

fn top<'a, T>(all: impl Iterator<Item = &'a T>, count: usize, by: impl Fn(&T) -> i64) -> Vec<&'a T> {
    let mut all: Vec<&T> = all.collect();
    all.sort_by_key(|value| std::cmp::Reverse(by(value)));
    all.truncate(count);
    all
}

/// Reads the columns of the example's views by name.
struct Columns<'a>(&'a RecordBatch);

impl Columns<'_> {
    fn column(&self, name: &str) -> Result<&dyn Array> {
        Ok(self.0.column_by_name(name).with_context(|| format!("there is no column {name}"))?.as_ref())
    }

    fn int(&self, name: &str, row: usize) -> Result<i64> {
        let column = self.column(name)?.as_primitive_opt::<Int64Type>();
        Ok(column.with_context(|| format!("{name} is no BIGINT"))?.value(row))
    }

    fn count(&self, name: &str, row: usize) -> Result<u64> {
        Ok(u64::try_from(self.int(name, row)?)?)
    }

    fn totals(&self, row: usize) -> Result<Totals> {
        Ok(Totals {
            gross_mils: self.int("gross_mils", row)?,
            refund_mils: self.int("refund_mils", row)?,
            orders: self.count("orders", row)?,
            customers: self.count("customers", row)?,
            lines: self.count("lines", row)?,
            errors: 0,
        })
    }

    fn country(&self, row: usize) -> Result<Country> {
        let name = self.column("country")?.as_string_opt::<i32>().context("country is no TEXT")?.value(row).to_owned();
        Ok(Country {
            name,
            gross_mils: self.int("gross_mils", row)?,
            orders: self.int("orders", row)?,
            customers: self.int("customers", row)?,
        })
    }

    fn day(&self, row: usize) -> Result<Day> {
        let days = self.column("period_start")?.as_primitive_opt::<Date32Type>().context("period_start is no DATE")?;
        let date = NaiveDate::default() + TimeDelta::days(i64::from(days.value(row)));
        Ok(Day {
            date,
            gross_mils: self.int("gross_mils", row)?,
            refund_mils: self.int("refund_mils", row)?,
            orders: self.int("orders", row)?,
            new_customers: self.int("new_customers", row)?,
            returning_customers: self.int("returning_customers", row)?,
        })
    }

    fn customer(&self, row: usize) -> Result<Customer> {
        let times = self.column("last_sale_ts")?.as_primitive_opt::<TimestampMicrosecondType>();
        let micros = times.context("last_sale_ts is no TIMESTAMPTZ")?.value(row);
        Ok(Customer {
            id: self.int("customer_id", row)?,
            last_sale: DateTime::from_timestamp_micros(micros).context("a time out of range")?.naive_utc(),
            frequency: self.int("frequency", row)?,
            monetary_mils: self.int("monetary_mils", row)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};

    use super::*;

    fn countries(rows: &[(&str, i64)], diffs: &[i64]) -> ViewChanges {
        let gross: Int64Array = rows.iter().map(|row| Some(row.1)).collect();
        let names: StringArray = rows.iter().map(|row| Some(row.0)).collect();
        let batch = RecordBatch::try_from_iter([
            ("country", Arc::new(names) as Arc<dyn Array>),
            ("gross_mils", Arc::new(gross.clone())),
            ("orders", Arc::new(gross.clone())),
            ("customers", Arc::new(gross)),
        ]);
        ViewChanges { view: 1, rows: batch.unwrap(), diffs: diffs.into() }
    }

    #[test]
    fn a_transition_is_applied_when_its_last_part_has_come() {
        let mut board = Board::default();
        assert!(board.apply(&[countries(&[("Spain", 3), ("Italy", 5)], &[1, 1])], false).unwrap());
        assert!(!board.apply(&[countries(&[("Spain", 9)], &[1])], true).unwrap());
        assert_eq!(board.top_countries(1)[0].name, "Italy");
        assert!(board.apply(&[countries(&[("Italy", 5), ("Spain", 3)], &[-1, -1])], false).unwrap());
        let top = board.top_countries(9);
        assert_eq!(top.len(), 1);
        assert_eq!((top[0].name.as_str(), top[0].gross_mils), ("Spain", 9));
        assert!(!board.apply(&[], false).unwrap());
    }
}
