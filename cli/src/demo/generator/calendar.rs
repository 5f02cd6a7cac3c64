//! The shop's year: which days it is open, how busy each is, and when during a day orders come in.

use chrono::{Datelike, NaiveDate, NaiveDateTime, TimeDelta, Weekday};
use rand::Rng;

use super::draw::Weighted;

/// The first day and the day after the last one: a year and a week, so that the second Christmas trade is in.
const FIRST_DAY: (i32, u32, u32) = (2024, 12, 1);
const DAYS: usize = 374;

/// How much busier than a quiet day the days of a month are, from January on.
const MONTH_WEIGHTS: [f64; 12] = [1.00, 1.00, 1.18, 1.18, 1.50, 1.28, 1.25, 1.14, 1.55, 1.72, 2.35, 1.75];

/// How lines are spread over Monday to Sunday: the shop is closed on Saturdays.
const WEEKDAY_WEIGHTS: [f64; 7] = [93.1, 99.5, 92.3, 101.0, 80.3, 0.0, 52.0];

/// Days on which the shop is closed besides: (month, first day, last day).
const CLOSED: [(u32, u32, u32); 6] = [(12, 24, 31), (1, 1, 3), (4, 18, 21), (5, 5, 5), (5, 26, 26), (8, 25, 25)];

/// How the revenue is spread over the hours from 6 to 20 o'clock.
const HOUR_WEIGHTS: [f64; 15] =
    [0.02, 31.0, 284.0, 990.0, 1447.0, 1240.0, 1444.0, 1266.0, 1171.0, 1353.0, 754.0, 462.0, 145.0, 51.0, 19.0];
const FIRST_HOUR: u32 = 6;

/// A minute, counted from the start of the first day.
pub(crate) type Minute = u32;

const DAY_MINUTES: u32 = 24 * 60;

/// Draws days and minutes.
pub(crate) struct Calendar {
    days: Weighted,
    hours: Weighted,
}

impl Calendar {
    /// The shop's only calendar.
    pub(crate) fn new() -> Calendar {
        let days = (0..DAYS).map(|day| {
            let date = first_day() + TimeDelta::days(day as i64);
            let weekday = WEEKDAY_WEIGHTS[date.weekday().num_days_from_monday() as usize];
            if closed(date) { 0.0 } else { weekday * MONTH_WEIGHTS[date.month0() as usize] }
        });
        Calendar { days: Weighted::new(days), hours: Weighted::new(HOUR_WEIGHTS) }
    }

    /// How many days there are; days are counted from 0.
    pub(crate) fn days(&self) -> usize {
        DAYS
    }

    /// A day on which the shop is open, from `earliest` on.
    pub(crate) fn draw_day(&self, earliest: usize, rng: &mut impl Rng) -> usize {
        self.days.draw_from(earliest.min(DAYS - 1), rng)
    }

    /// The day by whose end the share `share` (0 to 1) of a year's trade is done.
    pub(crate) fn day_at(&self, share: f64) -> usize {
        self.days.at(share)
    }

    /// A minute of trade on `day`.
    pub(crate) fn draw_minute(&self, day: usize, rng: &mut impl Rng) -> Minute {
        let hour = FIRST_HOUR + self.hours.draw(rng) as u32;
        day as u32 * DAY_MINUTES + hour * 60 + rng.random_range(0..60)
    }

    /// The first day from `day` on at which the shop is open, if there is one left.
    pub(crate) fn open_day(&self, day: usize) -> Option<usize> {
        (day..DAYS).find(|&day| !closed(first_day() + TimeDelta::days(day as i64)))
    }
}

/// The day on which a minute lies.
pub(crate) fn day_of(minute: Minute) -> usize {
    (minute / DAY_MINUTES) as usize
}

/// The time that a minute counts to.
pub(crate) fn time_of(minute: Minute) -> NaiveDateTime {
    first_day().and_time(chrono::NaiveTime::MIN) + TimeDelta::minutes(i64::from(minute))
}

fn first_day() -> NaiveDate {
    let (year, month, day) = FIRST_DAY;
    NaiveDate::from_ymd_opt(year, month, day).expect("the constant is a date")
}

fn closed(date: NaiveDate) -> bool {
    let holiday =
        |&(month, first, last): &(u32, u32, u32)| date.month() == month && (first..=last).contains(&date.day());
    date.weekday() == Weekday::Sat || CLOSED.iter().any(holiday)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn trade_is_on_open_days_and_within_hours() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let calendar = Calendar::new();
        for _ in 0..5_000 {
            let day = calendar.draw_day(0, &mut rng);
            let minute = calendar.draw_minute(day, &mut rng);
            let time = time_of(minute);
            assert_eq!(day_of(minute), day);
            assert_ne!(time.weekday(), Weekday::Sat);
            assert!((6..=20).contains(&chrono::Timelike::hour(&time)), "{time}");
            assert_eq!(calendar.open_day(day), Some(day));
        }
        assert!(calendar.draw_day(370, &mut rng) >= 370);
    }
}
