//! The values of each group in order, with counts below every subtree: a changed value costs one descent, and so does each
//! of the two values that a median or percentile lies between. All that ask about the same values share one tree. Where
//! values never go and about a percentile is enough, there is an estimate instead.

use arrow::datatypes::DataType;

use super::super::super::answer::Pick;
use super::super::super::layout::{KeptValues, Kind, Layout};
use super::super::super::slots::CodeForm;
use super::super::super::values::ValueKind;
use crate::estimate::QuantileEstimate;
use crate::quantile::Quantile;
use crate::repr::Row;
use crate::state::{Chunked, CountedSet, Ordered, Weightless, sampled};

/// How values are written, so that `memcmp` orders them.
enum Form {
    /// Codes of 64 or of 128 bits, as big-endian numbers without a sign.
    Codes(CodeForm),
    /// The bytes are in order.
    Bytes,
}

impl Form {
    fn of(value: &ValueKind, data_type: &DataType) -> Form {
        if value.is_code() { Form::Codes(CodeForm::of(data_type)) } else { Form::Bytes }
    }

    fn write(&self, code: i128) -> Row {
        match self {
            Form::Codes(CodeForm::Wide) | Form::Bytes => Row::new(&(code ^ i128::MIN).to_be_bytes()),
            Form::Codes(form) => Row::new(&(form.narrow(code) ^ i64::MIN).to_be_bytes()),
        }
    }

    fn read(&self, bytes: &[u8]) -> i128 {
        const WRITTEN: &str = "a key has the length it was written with";
        match self {
            Form::Codes(CodeForm::Wide) | Form::Bytes => {
                i128::from_be_bytes(bytes.try_into().expect(WRITTEN)) ^ i128::MIN
            }
            Form::Codes(form) => form.read(&[i64::from_be_bytes(bytes.try_into().expect(WRITTEN)) ^ i64::MIN]),
        }
    }

    /// Puts an answer into its slots.
    fn answer(&self, slots: &mut [i64], code: Option<i128>) {
        slots[0] = i64::from(code.is_some());
        match (self, code) {
            (Form::Codes(form), Some(code)) => form.write(&mut slots[1..], code),
            (Form::Codes(form), None) => slots[1..=form.slots()].fill(0),
            (Form::Bytes, _) => unreachable!("bytes are answered beside the slots"),
        }
    }
}

/// Answers of values without codes: now by group, and before the open time by touched group.
#[derive(Default)]
struct Answers {
    now: Chunked<Vec<Option<Row>>>,
    old: Vec<Vec<Option<Row>>>,
}

pub(in super::super) struct Quantiles {
    /// Each with the first of its slots.
    asked: Vec<(usize, Quantile)>,
    data_type: DataType,
    form: Form,
    groups: Chunked<Ordered<0>>,
    /// Instead of all values.
    estimates: Option<Chunked<QuantileEstimate>>,
    /// Where each different value counts once: how often it is there.
    distinct: Option<CountedSet<u128>>,
    /// What the open time has taken away and not yet added.
    owed: Vec<(u32, Row, i64)>,
    answers: Answers,
}

impl Quantiles {
    pub(super) fn new(layout: &Layout, index: usize) -> Quantiles {
        let aggregate = &layout.aggregates[index];
        let Kind::Quantile { value, kept, .. } = &aggregate.kind else { panic!("{} is no quantile", aggregate.name) };
        Quantiles {
            asked: layout.quantiles_of(index),
            form: Form::of(value, &aggregate.data_type),
            data_type: aggregate.data_type.clone(),
            groups: Chunked::default(),
            estimates: (*kept == KeptValues::Estimate).then(Chunked::default),
            distinct: (*kept == KeptValues::Different).then(CountedSet::default),
            owed: Vec::new(),
            answers: Answers::default(),
        }
    }

    pub(super) fn grow_to(&mut self, groups: usize) {
        match &mut self.estimates {
            Some(estimates) => estimates.grow_to(groups, QuantileEstimate::default),
            None => self.groups.grow_to(groups, Ordered::default),
        }
        if matches!(self.form, Form::Bytes) {
            self.answers.now.grow_to(groups, || vec![None; self.asked.len()]);
        }
    }

    pub(super) fn note_old(&mut self, group: u32) {
        if matches!(self.form, Form::Bytes) {
            self.answers.old.push(self.answers.now[group].clone());
        }
    }

    pub(super) fn forget_old(&mut self) {
        self.answers.old.clear();
    }

    /// Adds `diff` copies of a value that has a code.
    pub(super) fn add_code(&mut self, group: u32, code: i128, diff: i64) {
        if let Some(estimates) = &mut self.estimates {
            return estimates[group].add(code as u64, diff);
        }
        let mut diff = diff;
        if let Some(counts) = &mut self.distinct {
            let (old, new) = counts.add(group, code as u128, diff);
            // Counts below zero stand for an incomplete time; only entries above zero are values.
            diff = i64::from(new > 0) - i64::from(old > 0);
        }
        if diff != 0 {
            self.add(group, self.form.write(code), diff);
        }
    }

    /// Adds `diff` copies of a value without a code.
    pub(super) fn add_bytes(&mut self, group: u32, bytes: &[u8], diff: i64) {
        self.add(group, Row::new(bytes), diff);
    }

    fn add(&mut self, group: u32, value: Row, diff: i64) {
        // Of one time a value may go before it comes.
        if !self.groups[group].try_add(value.bytes(), value.bytes().len(), diff, &Weightless) {
            self.owed.push((group, value, diff));
        }
    }

    /// Answers a touched group anew.
    pub(super) fn refresh(&mut self, group: u32, slots: &mut [i64]) {
        if let Some(estimates) = &self.estimates {
            for (slot, quantile) in &self.asked {
                self.form.answer(&mut slots[*slot..], estimates[group].code(quantile, &self.data_type));
            }
            return;
        }
        for (group, value, diff) in self.owed.drain(..) {
            self.groups[group].add(value.bytes(), value.bytes().len(), diff, &Weightless);
        }
        let values = &self.groups[group];
        let at = |place: i64| values.get(&values.select(place)).expect("a place of a quantile has a value").key();
        for (nth, (slot, quantile)) in self.asked.iter().enumerate() {
            if matches!(self.form, Form::Bytes) {
                let answer = (!values.is_empty()).then(|| at(quantile.places(values.rows()).first));
                let known = &mut self.answers.now[group][nth];
                if known.as_ref().map(Row::bytes) != answer {
                    slots[*slot] = if answer.is_some() { slots[*slot] + 1 } else { 0 };
                    *known = answer.map(Row::new);
                }
                continue;
            }
            let code = quantile.answer(values.rows(), &self.data_type, |place| self.form.read(at(place)));
            self.form.answer(&mut slots[*slot..], code);
        }
    }

    /// The answer that is to be emitted, of a value without a code.
    pub(super) fn answer(&self, nth: usize, pick: &Pick) -> Option<&[u8]> {
        let answers = if pick.old { &self.answers.old[pick.touched] } else { &self.answers.now[pick.group] };
        answers[nth].as_ref().map(Row::bytes)
    }

    pub(super) fn bytes_held(&self, groups: usize) -> usize {
        let values = match &self.estimates {
            Some(estimates) => estimates.bytes() + sampled(groups, |group| estimates[group].bytes()),
            None => self.groups.bytes() + sampled(groups, |group| self.groups[group].bytes_held()),
        };
        values + self.answers.now.bytes() + self.distinct.as_ref().map_or(0, CountedSet::bytes)
    }

    pub(super) fn reset(&mut self, group: u32) {
        match &mut self.estimates {
            Some(estimates) => estimates[group] = QuantileEstimate::default(),
            None => self.groups[group] = Ordered::default(),
        }
        if matches!(self.form, Form::Bytes) {
            self.answers.now[group].fill(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::seq::SliceRandom;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::quantile::QuantileFunc;

    const GROUPS: u32 = 3;
    /// Of an answer: whether there is one, and a code of any form.
    const SLOTS: usize = 3;
    const FRACTIONS: [f64; 5] = [0.0, 0.1, 0.5, 0.77, 1.0];

    fn asked(func: QuantileFunc) -> Vec<(usize, Quantile)> {
        let both = FRACTIONS.iter().flat_map(|fraction| [false, true].map(|descending| (*fraction, descending)));
        let all = both.map(|(fraction, descending)| Quantile::new(func, fraction, descending).unwrap());
        all.enumerate().map(|(nth, quantile)| (SLOTS * nth, quantile)).collect()
    }

    fn quantiles(form: Form, data_type: DataType, func: QuantileFunc, distinct: bool) -> Quantiles {
        let mut quantiles = Quantiles {
            asked: asked(func),
            data_type,
            form,
            groups: Chunked::default(),
            estimates: None,
            distinct: distinct.then(CountedSet::default),
            owed: Vec::new(),
            answers: Answers::default(),
        };
        quantiles.grow_to(GROUPS as usize);
        quantiles
    }

    type Plain = BTreeMap<i128, i64>;

    /// One time: values come and go in any order, some of them both.
    fn changes(random: &mut ChaCha8Rng, plain: &mut [Plain], domain: i128, deletes: f64) -> Vec<(u32, i128, i64)> {
        let mut changes = Vec::new();
        for _ in 0..random.random_range(0..400) {
            let group = random.random_range(0..GROUPS);
            let values = &mut plain[group as usize];
            let existing = values.range(random.random_range(0..domain)..).next().map(|(value, count)| (*value, *count));
            let (value, diff) = match existing {
                Some((value, count)) if random.random_bool(deletes) => (value, -random.random_range(1..=count)),
                _ => (random.random_range(0..domain), random.random_range(1..3)),
            };
            *values.entry(value).or_insert(0) += diff;
            values.retain(|_, count| *count != 0);
            changes.push((group, value, diff));
        }
        changes.shuffle(random);
        changes
    }

    fn values(plain: &Plain, distinct: bool) -> Vec<i128> {
        let copies = |count: i64| if distinct { 1 } else { usize::try_from(count).unwrap() };
        plain.iter().flat_map(|(value, count)| std::iter::repeat_n(*value, copies(*count))).collect()
    }

    #[test]
    fn answers_equal_those_over_sorted_values_under_random_changes() {
        for seed in 0..40 {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let domain = [4, 300, 20_000, 1 << 60][seed as usize % 4];
            let distinct = seed % 3 == 0;
            let (form, func) = match seed % 5 {
                0 => (CodeForm::Unsigned, QuantileFunc::Continuous),
                1 => (CodeForm::Signed, QuantileFunc::Discrete),
                _ => (CodeForm::Wide, QuantileFunc::Median),
            };
            let data_type = if seed % 5 == 0 { DataType::Float64 } else { DataType::Decimal128(38, 0) };
            let mut tested = quantiles(Form::Codes(form), data_type.clone(), func, distinct);
            let mut plain = vec![Plain::new(); GROUPS as usize];
            for round in 0..20 {
                for (group, value, diff) in changes(&mut random, &mut plain, domain, [0.1, 0.95, 0.6][round % 3]) {
                    tested.add_code(group, value, diff);
                }
                for group in 0..GROUPS {
                    let mut slots = vec![0; SLOTS * tested.asked.len()];
                    tested.refresh(group, &mut slots);
                    let values = values(&plain[group as usize], distinct);
                    for (slot, quantile) in &tested.asked {
                        let answer = (!values.is_empty()).then(|| {
                            let places = quantile.places(values.len() as i64);
                            let value = |place: i64| values[usize::try_from(place).unwrap()];
                            quantile.between(&places, value(places.first), value(places.second), &data_type)
                        });
                        let slots = &slots[*slot..slot + SLOTS];
                        assert_eq!((slots[0] != 0).then(|| form.read(&slots[1..])), answer, "seed {seed}");
                    }
                }
            }
            assert!(tested.bytes_held(GROUPS as usize) > 0);
        }
    }

    #[test]
    fn slots_of_values_without_codes_change_with_the_answer() {
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let mut tested = quantiles(Form::Bytes, DataType::Utf8, QuantileFunc::Discrete, false);
        let mut plain = vec![Plain::new(); GROUPS as usize];
        let mut slots = vec![vec![0; SLOTS * tested.asked.len()]; GROUPS as usize];
        for round in 0..60 {
            for (group, value, diff) in changes(&mut random, &mut plain, 50, [0.2, 1.0, 0.7][round % 3]) {
                tested.add_bytes(group, format!("{value:04}, which is long for a text").as_bytes(), diff);
            }
            (0..GROUPS).for_each(|group| tested.note_old(group));
            for group in 0..GROUPS {
                let slots = &mut slots[group as usize];
                let before = slots.clone();
                tested.refresh(group, slots);
                let values = values(&plain[group as usize], false);
                for (nth, (slot, quantile)) in tested.asked.iter().enumerate() {
                    let pick = |old| Pick { group, touched: group as usize, old, diff: 1 };
                    let (old, now) = (tested.answer(nth, &pick(true)), tested.answer(nth, &pick(false)));
                    let place = (!values.is_empty()).then(|| quantile.places(values.len() as i64).first);
                    let wanted = place.map(|place| values[usize::try_from(place).unwrap()]);
                    let wanted = wanted.map(|value| format!("{value:04}, which is long for a text"));
                    assert_eq!(now, wanted.as_deref().map(str::as_bytes));
                    assert_eq!((old != now, now.is_some()), (before[*slot] != slots[*slot], slots[*slot] != 0));
                }
            }
            tested.forget_old();
        }
    }

    #[test]
    fn written_codes_are_in_order_and_come_back() {
        let narrow = Form::of(&ValueKind::Narrow, &DataType::Int64);
        let float = Form::of(&ValueKind::Narrow, &DataType::Float64);
        let wide = Form::of(&ValueKind::Wide, &DataType::Decimal128(38, 0));
        let codes = |least: i128, greatest: i128| [least, least + 1, least.midpoint(greatest), greatest - 1, greatest];
        for (form, codes) in [
            (narrow, codes(i64::MIN.into(), i64::MAX.into())),
            (float, codes(0, u64::MAX.into())),
            (wide, codes(i128::MIN, i128::MAX)),
        ] {
            assert!(codes.iter().map(|code| form.write(*code)).is_sorted());
            codes.iter().for_each(|code| assert_eq!(form.read(form.write(*code).bytes()), *code));
        }
    }
}
