//! Types of SQL, and what the generator knows about the values of an expression, so that it can tell which operations
//! cannot fail.

use std::sync::Arc;

use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};

use super::syntax::Kind;

/// A type of a column or of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SqlType {
    Boolean,
    SmallInt,
    Int,
    BigInt,
    Decimal(u8, i8),
    Double,
    Text,
    Date,
    Timestamp,
    Interval,
}

impl SqlType {
    /// The type of a column in Arrow.
    pub(crate) fn arrow(self) -> DataType {
        match self {
            SqlType::Boolean => DataType::Boolean,
            SqlType::SmallInt => DataType::Int16,
            SqlType::Int => DataType::Int32,
            SqlType::BigInt => DataType::Int64,
            SqlType::Decimal(precision, scale) => DataType::Decimal128(precision, scale),
            SqlType::Double => DataType::Float64,
            SqlType::Text => DataType::Utf8,
            SqlType::Date => DataType::Date32,
            SqlType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from("+00:00"))),
            SqlType::Interval => DataType::Interval(IntervalUnit::MonthDayNano),
        }
    }

    /// The name in SQL.
    pub(crate) fn name(self) -> String {
        match self {
            SqlType::Boolean => "BOOLEAN".to_owned(),
            SqlType::SmallInt => "SMALLINT".to_owned(),
            SqlType::Int => "INT".to_owned(),
            SqlType::BigInt => "BIGINT".to_owned(),
            SqlType::Decimal(precision, scale) => format!("DECIMAL({precision},{scale})"),
            SqlType::Double => "DOUBLE".to_owned(),
            SqlType::Text => "TEXT".to_owned(),
            SqlType::Date => "DATE".to_owned(),
            SqlType::Timestamp => "TIMESTAMPTZ".to_owned(),
            SqlType::Interval => "INTERVAL".to_owned(),
        }
    }

    /// What can stand for a value of the type when a text is made smaller.
    pub(crate) fn kind(self) -> Kind {
        match self {
            SqlType::Boolean => Kind::Boolean,
            SqlType::Text => Kind::Text,
            SqlType::Date => Kind::Date,
            SqlType::Timestamp => Kind::Timestamp,
            SqlType::Interval => Kind::Interval,
            _ => Kind::Number,
        }
    }

    /// SMALLINT, INT or BIGINT.
    pub(crate) fn is_int(self) -> bool {
        matches!(self, SqlType::SmallInt | SqlType::Int | SqlType::BigInt)
    }

    /// The least and the greatest value: of integers themselves, of decimals without their scale.
    pub(crate) fn limits(self) -> Option<(i128, i128)> {
        match self {
            SqlType::SmallInt => Some((i16::MIN.into(), i16::MAX.into())),
            SqlType::Int => Some((i32::MIN.into(), i32::MAX.into())),
            SqlType::BigInt => Some((i64::MIN.into(), i64::MAX.into())),
            SqlType::Decimal(precision, _) => {
                let limit = 10i128.pow(precision.into()) - 1;
                Some((-limit, limit))
            }
            _ => None,
        }
    }

    /// Whether `range` fits the type.
    pub(crate) fn holds(self, range: (i128, i128)) -> bool {
        self.limits().is_some_and(|(low, high)| low <= range.0 && range.1 <= high)
    }

    /// The wider of two integer types.
    pub(crate) fn wider(self, other: SqlType) -> SqlType {
        match (self, other) {
            (SqlType::BigInt, _) | (_, SqlType::BigInt) => SqlType::BigInt,
            (SqlType::Int, _) | (_, SqlType::Int) => SqlType::Int,
            _ => SqlType::SmallInt,
        }
    }
}

/// Bits of a double that is a multiple of 2^-fraction below 2^whole: sums of such values are exact in every order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exact {
    pub(crate) whole: u32,
    pub(crate) fraction: u32,
}

impl Exact {
    /// Nothing, if too few bits are left to add up all rows of a test.
    pub(crate) fn new(whole: u32, fraction: u32) -> Option<Exact> {
        (whole + fraction <= 36).then_some(Exact { whole, fraction })
    }
}

/// What is known about an expression's values.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Facts {
    /// Between which values integers and decimals (without their scale) lie.
    pub(crate) range: Option<(i128, i128)>,
    /// Doubles whose sums do not depend on the order; NaN and the infinities may be among them.
    pub(crate) exact: Option<Exact>,
    /// Doubles are finite and below 2^60, times lie between 1900 and 2100.
    pub(crate) tame: bool,
    /// How likely two values are equal; for the sizes of joins.
    pub(crate) repeat: f64,
}

impl Facts {
    /// What is known when nothing is known.
    pub(crate) fn unknown() -> Facts {
        Facts { repeat: 0.3, ..Facts::default() }
    }

    /// Values of both.
    pub(crate) fn either(self, other: Facts) -> Facts {
        let range = self.range.zip(other.range).map(|(a, b)| (a.0.min(b.0), a.1.max(b.1)));
        let exact =
            self.exact.zip(other.exact).and_then(|(a, b)| Exact::new(a.whole.max(b.whole), a.fraction.max(b.fraction)));
        Facts { range, exact, tame: self.tame && other.tame, repeat: self.repeat.max(other.repeat) }
    }
}

/// A column that an expression can name.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    /// The name, qualified where it is used.
    pub(crate) name: String,
    pub(crate) sql_type: SqlType,
    pub(crate) facts: Facts,
    /// Literals of some values it takes, so that comparisons hit.
    pub(crate) samples: Vec<String>,
}
