//! Lengths of time as people write them: `50ms`, `90s`, `5m`, `1h`.

use std::fmt;
use std::time::Duration;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const UNITS_MS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// A length of time of whole milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interval {
    millis: u64,
}

impl Interval {
    /// That many seconds.
    pub(crate) fn from_secs(seconds: u64) -> Interval {
        Interval { millis: seconds * 1_000 }
    }

    /// That many milliseconds.
    pub(crate) fn from_millis(millis: u64) -> Interval {
        Interval { millis }
    }

    /// In milliseconds.
    pub(crate) fn millis(self) -> u64 {
        self.millis
    }
}

impl From<Duration> for Interval {
    fn from(duration: Duration) -> Interval {
        Interval { millis: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX) }
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The greatest unit that says it in a whole number.
        let fits = |(_, unit): &&(&str, u64)| self.millis >= *unit && self.millis.is_multiple_of(*unit);
        let (name, unit) = UNITS_MS.iter().find(fits).unwrap_or(&("s", 1_000));
        write!(f, "{}{name}", self.millis / unit)
    }
}

/// A whole number and a unit.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("\"{text}\" is not a length of time: write a whole number and ms, s, m, h or d, as in 90s");
    let digits = text.find(|char: char| !char.is_ascii_digit()).ok_or_else(wrong)?;
    let count: u64 = text[..digits].parse().map_err(|_| wrong())?;
    let (_, unit) = UNITS_MS.iter().find(|(name, _)| *name == &text[digits..]).ok_or_else(wrong)?;
    count.checked_mul(*unit).map(Duration::from_millis).ok_or_else(wrong)
}

impl Serialize for Interval {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Interval {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Interval, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Interval;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a length of time such as \"90s\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Interval, E> {
                parse(text).map(Interval::from).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let table = [
            ("0s", 0),
            ("50ms", 50),
            ("1500ms", 1_500),
            ("90s", 90_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("2d", 172_800_000),
        ];
        for (text, millis) in table {
            assert_eq!(Interval::from(parse(text).unwrap()).millis(), millis);
            assert_eq!(Interval::from_millis(millis).to_string(), text);
        }
        assert_eq!(Interval::from(parse("60s").unwrap()).to_string(), "1m");
    }

    #[test]
    fn what_is_no_length_of_time_is_refused() {
        for text in ["", "s", "10", "1.5s", "-1s", "1 s", "1w", "99999999999999999999s", "99999999999999999d"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
