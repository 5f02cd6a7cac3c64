//! Text to dates, times and intervals.

use arrow::compute::kernels::cast_utils::{IntervalParseConfig, IntervalUnit, parse_interval_month_day_nano_config};
use arrow::datatypes::IntervalMonthDayNano;

use super::value::BadValue;

/// Days since 1970-01-01 of `YYYY-MM-DD`.
pub(super) fn parse_date(text: &str) -> Result<i32, BadValue> {
    match date(text.as_bytes()) {
        Some((days, [])) => days.ok_or(BadValue::Range),
        _ => Err(BadValue::Syntax),
    }
}

/// Microseconds since 1970-01-01T00:00:00Z of `YYYY-MM-DD`, a `T` or a space, `HH:MM[:SS[.f]]` and `Z`, `±HH[[:]MM]` or
/// nothing, which means UTC. A date alone is its midnight. Digits beyond the microsecond are cut off.
pub(super) fn parse_timestamp(text: &str) -> Result<i64, BadValue> {
    let (days, rest) = date(text.as_bytes()).ok_or(BadValue::Syntax)?;
    let (time, offset_us) = match rest {
        [] => (Some(0), 0),
        [b'T' | b't' | b' ', rest @ ..] => {
            let (time, rest) = time_of_day(rest).ok_or(BadValue::Syntax)?;
            (time, offset(rest)?)
        }
        _ => return Err(BadValue::Syntax),
    };
    let (days, time) = (days.ok_or(BadValue::Range)?, time.ok_or(BadValue::Range)?);
    Ok(i64::from(days) * DAY_US + time - offset_us)
}

/// An interval in words (`1 year 2 days`, `90 min`), with or without a time (`1 day 03:04:05.5`), or after ISO 8601
/// (`P1Y2DT3H4M5S`). A number without a unit counts seconds, as in Postgres.
pub(super) fn parse_interval(text: &str) -> Result<IntervalMonthDayNano, BadValue> {
    if let Some(interval) = iso_interval(text) {
        return interval;
    }
    let (words, time) = match text.rsplit_once(' ') {
        Some((words, time)) if time.contains(':') => (words, Some(time)),
        None if text.contains(':') => ("", Some(text)),
        _ => (text, None),
    };
    let nanos = time.map(clock_nanos).transpose()?.unwrap_or_default();
    if words.is_empty() {
        // The parser below takes nothing for an interval of nothing.
        return if time.is_some() { Ok(IntervalMonthDayNano::new(0, 0, nanos)) } else { Err(BadValue::Syntax) };
    }
    let config = IntervalParseConfig::new(IntervalUnit::Second);
    let interval = parse_interval_month_day_nano_config(words, config).map_err(|_| BadValue::Syntax)?;
    let nanos = interval.nanoseconds.checked_add(nanos).ok_or(BadValue::Range)?;
    Ok(IntervalMonthDayNano::new(interval.months, interval.days, nanos))
}

/// Nanoseconds of `[-]H…:MM[:SS[.f]]`.
fn clock_nanos(text: &str) -> Result<i64, BadValue> {
    let (sign, text) = split_sign(text);
    let (hours, rest) = text.split_once(':').ok_or(BadValue::Syntax)?;
    let (minutes, seconds) = rest.split_once(':').unwrap_or((rest, "0"));
    let (hours, minutes) = (whole(hours)?, whole(minutes)?);
    let seconds = seconds_nanos(seconds)?;
    if minutes > 59 || seconds >= 60 * SECOND_NANOS {
        return Err(BadValue::Range);
    }
    let hours = hours.checked_mul(3_600 * SECOND_NANOS).ok_or(BadValue::Range)?;
    Ok(sign * hours.checked_add(minutes * 60 * SECOND_NANOS + seconds).ok_or(BadValue::Range)?)
}

/// `[-]P[nY][nM][nW][nD][T[nH][nM][n[.f]S]]`, each number with a sign of its own if it wants; `None` if it is no such thing
/// from its first letter on.
fn iso_interval(text: &str) -> Option<Result<IntervalMonthDayNano, BadValue>> {
    let (sign, rest) = split_sign(text);
    Some(iso_parts(sign, rest.strip_prefix('P')?))
}

fn iso_parts(sign: i64, mut rest: &str) -> Result<IntervalMonthDayNano, BadValue> {
    let (mut months, mut days, mut nanos) = (0_i64, 0_i64, 0_i64);
    // Units in the order in which they may stand; each at most once.
    let (mut allowed, mut in_time) = ("YMWD", false);
    if rest.is_empty() || rest.ends_with('T') {
        return Err(BadValue::Syntax);
    }
    while !rest.is_empty() {
        if let Some(time) = rest.strip_prefix('T').filter(|_| !in_time) {
            (rest, allowed, in_time) = (time, "HMS", true);
        }
        let at = rest.find(|letter: char| letter.is_ascii_alphabetic()).ok_or(BadValue::Syntax)?;
        let (number, unit) = (&rest[..at], &rest[at..=at]);
        let order = allowed.find(unit).ok_or(BadValue::Syntax)?;
        (allowed, rest) = (&allowed[order + 1..], &rest[at + 1..]);
        let (number_sign, number) = split_sign(number);
        let (sum, each) = match (in_time, unit) {
            (false, "Y") => (&mut months, 12),
            (false, "M") => (&mut months, 1),
            (false, "W") => (&mut days, 7),
            (false, _) => (&mut days, 1),
            (true, "H") => (&mut nanos, 3_600 * SECOND_NANOS),
            (true, "M") => (&mut nanos, 60 * SECOND_NANOS),
            (true, _) => (&mut nanos, 1),
        };
        let number = if in_time && unit == "S" { seconds_nanos(number)? } else { whole(number)? };
        let part = number.checked_mul(each * sign * number_sign);
        *sum = part.and_then(|part| sum.checked_add(part)).ok_or(BadValue::Range)?;
    }
    let narrow = |value: i64| i32::try_from(value).map_err(|_| BadValue::Range);
    Ok(IntervalMonthDayNano::new(narrow(months)?, narrow(days)?, nanos))
}

fn split_sign(text: &str) -> (i64, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    }
}

/// Digits and nothing else.
fn whole(text: &str) -> Result<i64, BadValue> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(BadValue::Syntax);
    }
    text.parse().map_err(|_| BadValue::Range)
}

/// Nanoseconds of seconds with at most nine decimals.
fn seconds_nanos(text: &str) -> Result<i64, BadValue> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if fraction.len() > 9 {
        return Err(BadValue::Decimals);
    }
    let width = u32::try_from(fraction.len()).expect("it is at most 9");
    let fraction = whole(fraction)? * 10_i64.pow(9 - width);
    whole(seconds)?.checked_mul(SECOND_NANOS).and_then(|nanos| nanos.checked_add(fraction)).ok_or(BadValue::Range)
}

const SECOND_NANOS: i64 = 1_000_000_000;
const SECOND_US: i64 = 1_000_000;
const MINUTE_US: i64 = 60 * SECOND_US;
const HOUR_US: i64 = 60 * MINUTE_US;
const DAY_US: i64 = 24 * HOUR_US;

fn two_digits(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let [tens, ones, rest @ ..] = bytes else { return None };
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    (tens <= 9 && ones <= 9).then_some((u32::from(tens) * 10 + u32::from(ones), rest))
}

/// The day and what follows it; no day if the digits name none, such as February 30.
fn date(bytes: &[u8]) -> Option<(Option<i32>, &[u8])> {
    let (century, rest) = two_digits(bytes)?;
    let (year, rest) = two_digits(rest)?;
    let (month, rest) = two_digits(rest.strip_prefix(b"-")?)?;
    let (day, rest) = two_digits(rest.strip_prefix(b"-")?)?;
    Some((days_from_civil(century * 100 + year, month, day), rest))
}

/// Days since 1970-01-01 in the Gregorian calendar, continued backwards to year 0.
fn days_from_civil(year: u32, month: u32, day: u32) -> Option<i32> {
    const DAYS: [u32; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let index = usize::try_from(month.checked_sub(1)?).ok()?;
    let days = DAYS.get(index)? + u32::from(leap && month == 2);
    if day == 0 || day > days {
        return None;
    }
    // Years are counted from March, so that the leap day is the last of its year, and shifted by one era of 400 years,
    // so that January of year 0 is not negative.
    let year = year + 400 - u32::from(month <= 2);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + day_of_year;
    const EPOCH: i32 = 719_468 + 146_097;
    i32::try_from(days).ok().map(|days| days - EPOCH)
}

/// The time of day in microseconds and what follows it; no time if the digits name none, such as 25:00.
fn time_of_day(bytes: &[u8]) -> Option<(Option<i64>, &[u8])> {
    let (hour, rest) = two_digits(bytes)?;
    let (minute, rest) = two_digits(rest.strip_prefix(b":")?)?;
    let (second, rest) = match rest {
        [b':', rest @ ..] => two_digits(rest)?,
        _ => (0, rest),
    };
    let (fraction, rest) = match rest {
        [b'.' | b',', rest @ ..] => fraction_us(rest)?,
        _ => (0, rest),
    };
    let valid = hour < 24 && minute < 60 && second < 60;
    let time = i64::from(hour) * HOUR_US + i64::from(minute) * MINUTE_US + i64::from(second) * SECOND_US + fraction;
    Some((valid.then_some(time), rest))
}

fn fraction_us(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        return None;
    }
    let value =
        (0..6).fold(0, |value, index| value * 10 + if index < digits { i64::from(bytes[index] - b'0') } else { 0 });
    Some((value, &bytes[digits..]))
}

/// The distance from UTC in microseconds, positive east of Greenwich.
fn offset(bytes: &[u8]) -> Result<i64, BadValue> {
    let bytes = bytes.strip_prefix(b" ").unwrap_or(bytes);
    let (sign, rest) = match bytes {
        [] | b"Z" | b"z" | b"UTC" | b"utc" => return Ok(0),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return Err(BadValue::Syntax),
    };
    let (hours, rest) = two_digits(rest).ok_or(BadValue::Syntax)?;
    let (minutes, rest) = match rest {
        [] => (0, rest),
        _ => two_digits(rest.strip_prefix(b":").unwrap_or(rest)).ok_or(BadValue::Syntax)?,
    };
    if !rest.is_empty() {
        return Err(BadValue::Syntax);
    }
    if hours > 23 || minutes > 59 {
        return Err(BadValue::Range);
    }
    Ok(sign * (i64::from(hours) * HOUR_US + i64::from(minutes) * MINUTE_US))
}

#[cfg(test)]
mod tests {
    use super::BadValue::{Decimals, Range, Syntax};
    use super::*;
    use chrono::{DateTime, Days, NaiveDate};

    #[test]
    fn every_day_of_the_calendar() {
        let mut day = NaiveDate::from_ymd_opt(0, 1, 1).unwrap();
        let epoch = NaiveDate::from_ymd_opt(1970, 1, 1).unwrap();
        while day < NaiveDate::from_ymd_opt(10_000, 1, 1).unwrap() {
            let expected = i32::try_from((day - epoch).num_days()).unwrap();
            assert_eq!(parse_date(&day.format("%Y-%m-%d").to_string()), Ok(expected), "{day}");
            day = day + Days::new(17);
        }
        assert_eq!(parse_date("1970-01-01"), Ok(0));
        assert_eq!(parse_date("9999-12-31"), Ok(2_932_896));
    }

    #[test]
    fn dates_that_are_none() {
        for (text, expected) in [
            ("2011-02-29", Range),
            ("2012-02-30", Range),
            ("1900-02-29", Range),
            ("2011-13-01", Range),
            ("2011-00-01", Range),
            ("2011-01-00", Range),
            ("2011-1-1", Syntax),
            ("2011-01-01 ", Syntax),
            ("2011-01-01T00:00:00Z", Syntax),
            ("20110101", Syntax),
            ("01/02/2011", Syntax),
            ("", Syntax),
        ] {
            assert_eq!(parse_date(text), Err(expected), "{text}");
        }
        assert!(parse_date("2000-02-29").is_ok());
    }

    #[test]
    fn timestamps_in_every_accepted_form() {
        for (text, expected) in [
            ("2011-12-09T12:50:00Z", "2011-12-09T12:50:00Z"),
            ("2011-12-09t12:50:00z", "2011-12-09T12:50:00Z"),
            ("2011-12-09 12:50", "2011-12-09T12:50:00Z"),
            ("2011-12-09 12:50:01", "2011-12-09T12:50:01Z"),
            ("2011-12-09 12:50:01.5", "2011-12-09T12:50:01.5Z"),
            ("2011-12-09 12:50:01,25", "2011-12-09T12:50:01.25Z"),
            ("2011-12-09T12:50:01.123456", "2011-12-09T12:50:01.123456Z"),
            ("2011-12-09T12:50:01.123456999Z", "2011-12-09T12:50:01.123456Z"),
            ("2011-12-09T12:50:00+01:30", "2011-12-09T11:20:00Z"),
            ("2011-12-09 12:50:00-0800", "2011-12-09T20:50:00Z"),
            ("2011-12-09 12:50:00+02", "2011-12-09T10:50:00Z"),
            ("2011-12-09 12:50+02", "2011-12-09T10:50:00Z"),
            ("2011-12-09 12:50:00 +02:00", "2011-12-09T10:50:00Z"),
            ("2011-12-09 12:50:00 UTC", "2011-12-09T12:50:00Z"),
            ("2011-12-09", "2011-12-09T00:00:00Z"),
            ("1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999Z"),
            ("0000-01-01T00:00:00Z", "0000-01-01T00:00:00Z"),
        ] {
            let expected = DateTime::parse_from_rfc3339(expected).unwrap().timestamp_micros();
            assert_eq!(parse_timestamp(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn timestamps_that_are_none() {
        for (text, expected) in [
            ("2011-12-09T24:00:00Z", Range),
            ("2011-12-09T12:60:00Z", Range),
            ("2011-12-09T12:00:60Z", Range),
            ("2011-02-30T12:00:00Z", Range),
            ("2011-12-09T12:00:00+24:00", Range),
            ("2011-12-09T12:00:00+2", Syntax),
            ("2011-12-09T12:00:00+02:0", Syntax),
            ("2011-12-09T12:00:00 Europe/Zurich", Syntax),
            ("2011-12-09T12", Syntax),
            ("2011-12-09T", Syntax),
            ("2011-12-09T12:50:", Syntax),
            ("2011-12-09T12:50:00.", Syntax),
            ("2011-12-09T12:50:00ZZ", Syntax),
            ("1323435000", Syntax),
            ("09.12.2011 12:50", Syntax),
            ("", Syntax),
        ] {
            assert_eq!(parse_timestamp(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn intervals() {
        let hour = 3_600_000_000_000;
        for (text, expected) in [
            ("1 year 2 months 3 days", Ok((14, 3, 0))),
            ("90 min", Ok((0, 0, hour * 3 / 2))),
            ("1 day 04:05:06.5", Ok((0, 1, 14_706_500_000_000))),
            ("-04:00", Ok((0, 0, -4 * hour))),
            ("100:00:00", Ok((0, 0, 100 * hour))),
            ("-1 days", Ok((0, -1, 0))),
            ("5", Ok((0, 0, 5_000_000_000))),
            ("P1Y2M3DT4H", Ok((14, 3, 4 * hour))),
            ("P2W", Ok((0, 14, 0))),
            ("PT1M0.25S", Ok((0, 0, 60_250_000_000))),
            ("-P1DT-1H", Ok((0, -1, hour))),
            ("P", Err(Syntax)),
            ("PT", Err(Syntax)),
            ("P1", Err(Syntax)),
            ("P1DT", Err(Syntax)),
            ("P1H", Err(Syntax)),
            ("P1D1D", Err(Syntax)),
            ("PT1S1M", Err(Syntax)),
            ("P1.5D", Err(Syntax)),
            ("PT0.1234567891S", Err(Decimals)),
            ("P9999999999M", Err(Range)),
            ("04:61", Err(Range)),
            ("soon", Err(Syntax)),
            ("1 fortnight", Err(Syntax)),
            ("", Err(Syntax)),
        ] {
            let expected = expected.map(|(months, days, nanos)| IntervalMonthDayNano::new(months, days, nanos));
            assert_eq!(parse_interval(text), expected, "{text}");
        }
    }
}
