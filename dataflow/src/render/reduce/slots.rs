//! How integers lie in the slots of a group, which have 64 bits: what may need more takes two or four.

use arrow::datatypes::DataType;

use super::values::ValueKind;

/// The number of 128 bits in two slots, the lower half first.
#[inline]
pub(super) fn wide(slots: &[i64]) -> i128 {
    i128::from(slots[1]) << 64 | i128::from(slots[0].cast_unsigned())
}

/// Puts a number of 128 bits into two slots.
#[inline]
pub(super) fn put_wide(slots: &mut [i64], number: i128) {
    (slots[0], slots[1]) = (number as i64, (number >> 64) as i64);
}

/// Adds to a number of 128 bits in two slots.
#[inline]
fn add_wide(slots: &mut [i64], number: i128) {
    put_wide(slots, wide(slots) + number);
}

/// How a code of [`ValueKind::is_code`] lies in slots.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum CodeForm {
    /// In one slot as it is.
    Signed,
    /// In one slot, moved so that codes of 64 bits from 0 on keep their order.
    Unsigned,
    /// In two slots.
    Wide,
}

/// By how much codes from 0 on are moved.
const MOVED: i128 = 1 << 63;

impl CodeForm {
    /// The form of the codes of a type; of others any.
    pub(super) fn of(data_type: &DataType) -> CodeForm {
        match ValueKind::of(data_type) {
            // What has no sign has codes from 0 on, and so have floats.
            ValueKind::Narrow if data_type.is_unsigned_integer() || data_type.is_floating() => CodeForm::Unsigned,
            ValueKind::Wide => CodeForm::Wide,
            _ => CodeForm::Signed,
        }
    }

    /// How many slots a code takes.
    pub(super) fn slots(self) -> usize {
        if self == CodeForm::Wide { 2 } else { 1 }
    }

    #[inline]
    pub(super) fn read(self, slots: &[i64]) -> i128 {
        match self {
            CodeForm::Signed => i128::from(slots[0]),
            CodeForm::Unsigned => i128::from(slots[0]) + MOVED,
            CodeForm::Wide => wide(slots),
        }
    }

    /// The code of an extreme, which lies there so that the greatest is the best: turned if that is the least.
    #[inline]
    pub(super) fn read_best(self, slots: &[i64], least: bool) -> i128 {
        match self {
            _ if !least => self.read(slots),
            CodeForm::Wide => !wide(slots),
            _ => self.read(&[!slots[0]]),
        }
    }

    #[inline]
    pub(super) fn write(self, slots: &mut [i64], code: i128) {
        match self {
            CodeForm::Wide => put_wide(slots, code),
            _ => slots[0] = self.narrow(code),
        }
    }

    /// A code in one slot.
    #[inline]
    pub(super) fn narrow(self, code: i128) -> i64 {
        if self == CodeForm::Unsigned { (code - MOVED) as i64 } else { code as i64 }
    }
}

/// How an exact sum lies in slots.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum SumForm {
    /// Of numbers of at most 64 bits: one number in two slots, which no number of rows can overflow.
    Narrow,
    /// Of numbers of 128 bits: low, high, each in two slots. The sum is high · 2^64 + low.
    Wide,
}

/// Digits of decimals of which the greatest is below 2^64.
const NARROW_DIGITS: u8 = 19;

impl SumForm {
    /// The form of sums over numbers of a type.
    pub(super) fn of(data_type: &DataType) -> SumForm {
        match data_type {
            DataType::Decimal128(digits, _) if *digits > NARROW_DIGITS => SumForm::Wide,
            _ => SumForm::Narrow,
        }
    }

    /// How many slots a sum takes.
    pub(super) fn slots(self) -> usize {
        match self {
            SumForm::Narrow => 2,
            SumForm::Wide => 4,
        }
    }

    /// Adds `times` times `number`.
    #[inline]
    pub(super) fn add(self, slots: &mut [i64], number: i128, times: i64) {
        let times = i128::from(times);
        match self {
            SumForm::Narrow => add_wide(slots, number * times),
            SumForm::Wide => {
                // Two's complement halves: number = (number >> 64) · 2^64 + (number mod 2^64).
                let (low, high) = (number & i128::from(u64::MAX), number >> 64);
                add_wide(&mut slots[..2], low * times);
                add_wide(&mut slots[2..], high * times);
            }
        }
    }

    /// The sum; `None` beyond 128 bits.
    #[inline]
    pub(super) fn total(self, slots: &[i64]) -> Option<i128> {
        match self {
            SumForm::Narrow => Some(wide(slots)),
            SumForm::Wide => {
                let (low, high) = (wide(&slots[..2]), wide(&slots[2..4]));
                high.checked_add(low >> 64)?.checked_mul(1 << 64)?.checked_add(low & i128::from(u64::MAX))
            }
        }
    }
}

/// What the slots of two contributions become together, slot by slot. The kinds of aggregates come down to these.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Merge {
    /// One slot that adds up.
    Count(usize),
    /// Two slots that add up as one number.
    Sum(usize),
    /// One slot, whose greatest value stays.
    Greatest(usize),
    /// Two slots, whose greatest number stays.
    GreatestWide(usize),
}

impl Merge {
    /// What a slot or two begin with.
    pub(super) fn begin(self, slots: &mut [i64]) {
        match self {
            Merge::Count(_) | Merge::Sum(_) => {}
            Merge::Greatest(at) => slots[at] = i64::MIN,
            Merge::GreatestWide(at) => put_wide(&mut slots[at..at + 2], i128::MIN),
        }
    }

    /// Adds a contribution.
    #[inline]
    pub(super) fn add(self, slots: &mut [i64], news: &[i64]) {
        match self {
            Merge::Count(at) => slots[at] += news[at],
            Merge::Sum(at) => add_wide(&mut slots[at..at + 2], wide(&news[at..at + 2])),
            Merge::Greatest(at) => slots[at] = slots[at].max(news[at]),
            Merge::GreatestWide(at) => {
                let slots = &mut slots[at..at + 2];
                put_wide(slots, wide(slots).max(wide(&news[at..at + 2])));
            }
        }
    }

    /// Adds `times` copies of a contribution, of an aggregate of which that makes sense.
    #[inline]
    pub(super) fn add_times(self, slots: &mut [i64], news: &[i64], times: i64) {
        match self {
            Merge::Count(at) => slots[at] += news[at] * times,
            Merge::Sum(at) => add_wide(&mut slots[at..at + 2], wide(&news[at..at + 2]) * i128::from(times)),
            Merge::Greatest(_) | Merge::GreatestWide(_) => unreachable!("extremes do not add up"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXTREMES: [i128; 6] = [i128::MIN, i128::MIN + 1, -1, 0, i128::MAX - 1, i128::MAX];

    #[test]
    fn codes_come_back_and_keep_their_order() {
        let signed = [i64::MIN, -1, 0, 1, i64::MAX].map(i128::from);
        let unsigned = [0, 1, i64::MAX as u64, 1 << 63, u64::MAX].map(i128::from);
        for (data_type, codes) in [
            (DataType::Int64, &signed[..]),
            (DataType::UInt64, &unsigned),
            (DataType::Float64, &unsigned),
            (DataType::Decimal128(38, 2), &EXTREMES),
        ] {
            let form = CodeForm::of(&data_type);
            let mut slots = [0; 2];
            for code in codes {
                form.write(&mut slots, *code);
                assert_eq!(form.read(&slots), *code, "{data_type}");
            }
            assert!(form == CodeForm::Wide || codes.iter().map(|code| form.narrow(*code)).is_sorted(), "{data_type}");
        }
    }

    #[test]
    fn sums_are_exact_beyond_what_they_answer() {
        let numbers = |least: i128, greatest: i128| [greatest, greatest, greatest, least, least, 7];
        for (data_type, numbers) in [
            (DataType::Int64, numbers(i64::MIN.into(), i64::MAX.into())),
            (DataType::UInt64, numbers(0, u64::MAX.into())),
            (DataType::Decimal128(38, 0), numbers(i128::MIN, i128::MAX)),
        ] {
            let form = SumForm::of(&data_type);
            let (mut slots, mut twice) = (vec![0; form.slots()], vec![0; form.slots()]);
            numbers.iter().for_each(|number| form.add(&mut slots, *number, 3));
            let merges = (0..form.slots()).step_by(2).map(Merge::Sum);
            merges.clone().for_each(|merge| merge.add_times(&mut twice, &slots, -2));
            merges.clone().for_each(|merge| merge.add(&mut twice, &slots));
            merges.for_each(|merge| merge.add(&mut twice, &slots));
            assert!(twice.iter().all(|slot| *slot == 0), "{data_type}");
            numbers.iter().skip(2).for_each(|number| form.add(&mut slots, *number, -3));
            assert_eq!(form.total(&slots), numbers[0].checked_mul(6), "{data_type}");
        }
    }
}
