//! Bounds of RANGE frames: measures moved by an offset.
//!
//! A measure is the integer code of the order's one key, negated where the greatest comes first; so what PRECEDES is always
//! smaller. NULLs have the least or the greatest measure, and no offset leads away from them.

use arrow::datatypes::DataType;
use chrono::{DateTime, Months};

use super::kind::float_of;
use crate::plan::{FrameOffset, OrderBy};
use crate::render::reduce::values::float_code;

const MICROS_A_DAY: i64 = 86_400_000_000;
/// Months differ in length by at most so many days: what moving back by months may miss.
const MONTHS_DIFFER_DAYS: i128 = 3;

/// How measures of one operator are moved.
#[derive(Clone, Debug)]
pub(super) struct Measure {
    descending: bool,
    data_type: DataType,
}

impl Measure {
    pub(super) fn new(order: &[OrderBy]) -> Measure {
        let key = order.first();
        Measure {
            descending: key.is_some_and(|key| key.descending),
            data_type: key.map_or(DataType::Null, |key| key.expr.data_type.clone()),
        }
    }

    /// The measure that is `offset` away from `measure`; beyond all measures, the last one.
    pub(super) fn moved(&self, measure: i128, offset: &FrameOffset) -> i128 {
        if measure == i128::MIN || measure == i128::MAX {
            return measure;
        }
        let direction = if self.descending { -1 } else { 1 };
        match offset {
            FrameOffset::Current => measure,
            FrameOffset::Count(count) => measure.saturating_add(*count),
            FrameOffset::Float(by) => {
                let value = float_of(measure * direction) + by * direction as f64;
                float_code(value) * direction
            }
            FrameOffset::Calendar { months, micros } => {
                let months = *months * i32::try_from(direction).expect("1 or -1");
                let micros = i128::from(*micros) * direction;
                self.on_calendar(measure * direction, months, micros) * direction
            }
        }
    }

    /// Measures between which lies every measure that `offset` moves to `measure`: (least, greatest).
    pub(super) fn moved_here(&self, measure: i128, offset: &FrameOffset) -> (i128, i128) {
        let back = match offset {
            FrameOffset::Current => FrameOffset::Current,
            FrameOffset::Count(count) => FrameOffset::Count(-count),
            FrameOffset::Float(by) => FrameOffset::Float(-by),
            FrameOffset::Calendar { months, micros } => FrameOffset::Calendar { months: -months, micros: -micros },
        };
        let moved = self.moved(measure, &back);
        let slack = match offset {
            FrameOffset::Calendar { .. } if self.in_days() => MONTHS_DIFFER_DAYS,
            FrameOffset::Calendar { .. } => MONTHS_DIFFER_DAYS * i128::from(MICROS_A_DAY),
            // Sums of floats are rounded.
            FrameOffset::Float(_) => 4,
            FrameOffset::Current | FrameOffset::Count(_) => 0,
        };
        (moved.saturating_sub(slack), moved.saturating_add(slack))
    }

    fn in_days(&self) -> bool {
        self.data_type == DataType::Date32
    }

    /// A date (in days) or a time (in microseconds) some months and microseconds later.
    fn on_calendar(&self, code: i128, months: i32, micros: i128) -> i128 {
        let scale = if self.in_days() { i128::from(MICROS_A_DAY) } else { 1 };
        let moved = i64::try_from(code * scale).ok().and_then(DateTime::from_timestamp_micros).and_then(|time| {
            let by = Months::new(months.unsigned_abs());
            if months < 0 { time.checked_sub_months(by) } else { time.checked_add_months(by) }
        });
        match moved {
            Some(time) => (i128::from(time.timestamp_micros()) + micros).div_euclid(scale),
            // Outside of the calendar a month has thirty days.
            None => code.saturating_add((i128::from(months) * 30 * i128::from(MICROS_A_DAY) + micros) / scale),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn days(descending: bool) -> Measure {
        Measure { descending, data_type: DataType::Date32 }
    }

    /// The code of a date.
    fn date(text: &str) -> i128 {
        let midnight = format!("{text}T00:00:00Z").parse::<DateTime<chrono::Utc>>().expect("a date");
        i128::from(midnight.timestamp_micros() / MICROS_A_DAY)
    }

    #[test]
    fn months_follow_the_calendar_in_both_directions() {
        let month = FrameOffset::Calendar { months: -1, micros: 0 };
        assert_eq!(days(false).moved(date("2011-03-31"), &month), date("2011-02-28"));
        // Greatest first: what precedes is later.
        assert_eq!(days(true).moved(-date("2011-01-31"), &month), -date("2011-02-28"));
        let (least, greatest) = days(false).moved_here(date("2011-02-28"), &month);
        for before in ["2011-03-28", "2011-03-29", "2011-03-30", "2011-03-31"] {
            assert!(least <= date(before) && date(before) <= greatest, "{before}");
        }
    }

    #[test]
    fn nothing_leads_away_from_null() {
        let offset = FrameOffset::Count(7);
        assert_eq!(days(false).moved(i128::MAX, &offset), i128::MAX);
        assert_eq!(days(false).moved(i128::MIN, &offset), i128::MIN);
        assert_eq!(days(false).moved(5, &offset), 12);
    }
}
