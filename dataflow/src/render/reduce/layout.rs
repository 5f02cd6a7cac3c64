//! How the accumulators of a group lie side by side.

use arrow::datatypes::{DataType, SchemaRef};

use super::slots::{CodeForm, Merge, SumForm};
use super::values::{ValueKind, range};
use crate::exact::Moment;
use crate::expr::{Recomputed, ScalarExpr};
use crate::plan::{Aggregate, AggregateFunc, BestGroups, BitFunc};
use crate::quantile::Quantile;

/// The slot that counts a group's rows: a group exists while it is above zero, never by its sums.
pub(super) const ROWS: usize = 0;

/// What a group-by keeps per group, and how it is fed. Accumulators are slots of 64 bits; what does not fit some slots
/// (sets, multisets, exact float sums) stands beside the table, and its answer is copied into slots when a time ends.
#[derive(Clone)]
pub(super) struct Layout {
    /// Keys, arguments and filters, to be evaluated over the input; empty when the input's columns are the keys.
    pub(super) exprs: Vec<ScalarExpr>,
    /// How many of the expressions (or columns) are keys.
    pub(super) keys: usize,
    /// The types of the keys.
    pub(super) key_types: Vec<DataType>,
    /// The aggregates in the order of the output's columns.
    pub(super) aggregates: Vec<Slots>,
    /// Slots per group.
    pub(super) slots: usize,
    /// How contributions to a group add up.
    pub(super) merges: Vec<Merge>,
    /// The output's columns: keys, then aggregates.
    pub(super) schema: SchemaRef,
    /// Whether the row count itself is part of the answer.
    pub(super) rows_visible: bool,
    /// Which groups can be of use above, if not all.
    pub(super) best: Option<BestGroups>,
}

/// One aggregate's slots and where its argument comes from.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    /// What is computed.
    pub(super) kind: Kind,
    /// The first slot.
    pub(super) slot: usize,
    /// The slot that counts the values that took part. Where that is every row it is [`ROWS`], else it follows the others.
    pub(super) count: usize,
    /// How codes lie in slots.
    pub(super) codes: CodeForm,
    /// How an exact sum lies in slots.
    pub(super) sums: SumForm,
    /// Indices of the arguments among the evaluated columns behind the keys.
    pub(super) args: Vec<usize>,
    /// Index of the filter likewise.
    pub(super) filter: Option<usize>,
    /// The name of the output column, for errors.
    pub(super) name: String,
    /// The type of the answer.
    pub(super) data_type: DataType,
    /// Whether a sum is over the different values only: these stand beside the slots.
    pub(super) distinct: bool,
    /// The least and the greatest answer of an exact sum or mean.
    pub(super) range: (i128, i128),
}

/// The kinds of accumulators. Most count the values that took part: without any, SUM, AVG, MIN, MAX are NULL.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    /// COUNT(*) without a filter: the group's row count.
    Rows,
    /// Only the count of values.
    Count,
    /// Slot: number of different values. Beside: a counted set.
    CountDistinct(ValueKind),
    /// Slots: the sum, exact for any number of values; count.
    SumExact,
    /// Likewise. The mean of decimals, with the scale factor between sum and answer.
    AvgDecimal { factor: i128 },
    /// Slots: bits of the rounded sum, count. Beside: an exact sum.
    SumFloat,
    /// Like [`Kind::SumFloat`]; the answer is divided by the count.
    AvgFloat,
    /// Slots: code of the best, count. The input never retracts, so the best is enough.
    BestOfGrowing { value: ValueKind, least: bool },
    /// Slots: code of the best, count. Beside: a multiset. Of values without codes the slot is a number that changes with
    /// the best.
    Best { value: ValueKind, least: bool },
    /// Slots: the bits, as a number; count. Beside: how many values have each bit.
    Bits(BitFunc),
    /// Slots: 1 if there is an answer; its bits; count. Beside: exact sums.
    Moment(Moment),
    /// Slots: of values with codes, 1 if there is an answer, and its code; of others, a number that changes with the answer,
    /// 0 while there is none, and nothing. Beside: the values in order, once for all that ask about the same ones.
    Quantile { quantile: Quantile, value: ValueKind, kept: KeptValues, place: QuantilePlace },
    /// Slot: about how many different values. The input never retracts. Beside: an estimate.
    EstimateDistinct,
    /// Slot: changes with the answer, 0 while that is the answer over nothing. Beside: the rows and the answer.
    Recomputed(Recomputed),
}

/// What is kept of the values that a quantile asks about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum KeptValues {
    /// All, in order.
    All,
    /// Each different one once, in order.
    Different,
    /// An estimate. The input never retracts.
    Estimate,
}

/// Where the values are that a quantile asks about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct QuantilePlace {
    /// The aggregate that keeps them, by its place among the aggregates.
    pub(super) kept_by: usize,
    /// How many others ask about the same values before this one.
    pub(super) nth: usize,
}

impl QuantilePlace {
    /// Whether the aggregate in that place keeps the values itself.
    pub(super) fn is_kept_here(&self) -> bool {
        self.nth == 0
    }
}

impl Slots {
    /// Whether rows whose argument is NULL take no part.
    pub(super) fn skips_null(&self) -> bool {
        !matches!(self.kind, Kind::Recomputed(_))
    }
}

impl Kind {
    /// How many slots there are besides the count of values.
    fn slots(&self, codes: CodeForm, sums: SumForm) -> usize {
        match self {
            Kind::Rows | Kind::Count => 0,
            Kind::CountDistinct(_) | Kind::EstimateDistinct | Kind::Recomputed(_) => 1,
            Kind::SumFloat | Kind::AvgFloat | Kind::Bits(_) => 1,
            Kind::BestOfGrowing { .. } | Kind::Best { .. } => codes.slots(),
            Kind::Moment(_) => 2,
            Kind::Quantile { .. } => 1 + codes.slots(),
            Kind::SumExact | Kind::AvgDecimal { .. } => sums.slots(),
        }
    }

    /// Whether the values that take part are counted.
    fn counts(&self) -> bool {
        match self {
            Kind::Rows | Kind::CountDistinct(_) | Kind::EstimateDistinct | Kind::Quantile { .. } => false,
            Kind::Recomputed(_) => false,
            Kind::Count | Kind::SumExact | Kind::AvgDecimal { .. } | Kind::SumFloat | Kind::AvgFloat => true,
            Kind::BestOfGrowing { .. } | Kind::Best { .. } | Kind::Bits(_) | Kind::Moment(_) => true,
        }
    }
}

impl Slots {
    /// Whether the answer can change with the row count alone.
    fn shows_rows(&self, is_global: bool) -> bool {
        let depends = matches!(self.kind, Kind::Count | Kind::AvgDecimal { .. } | Kind::AvgFloat);
        // The group without keys is there without rows too, and then the count tells NULL from 0.
        self.kind.counts() && self.count == ROWS && (depends || is_global)
    }

    /// How contributions to the first slots add up; what stands beside the slots adds up there.
    fn merges(&self) -> impl Iterator<Item = Merge> {
        let slot = self.slot;
        let (greatest, sums) = match self.kind {
            Kind::BestOfGrowing { .. } if self.codes == CodeForm::Wide => (Some(Merge::GreatestWide(slot)), 0),
            Kind::BestOfGrowing { .. } => (Some(Merge::Greatest(slot)), 0),
            Kind::SumExact | Kind::AvgDecimal { .. } => (None, self.sums.slots()),
            _ => (None, 0),
        };
        let count = (self.kind.counts() && self.count != ROWS).then_some(Merge::Count(self.count));
        greatest.into_iter().chain((slot..slot + sums).step_by(2).map(Merge::Sum)).chain(count)
    }
}

impl Layout {
    /// The layout of a group-by over the columns `input`, its expressions ready to be evaluated. `schema` are the columns of
    /// the output.
    ///
    /// Panics on an aggregate that [`Aggregate::check`] refuses: lowering asks it.
    pub(super) fn new(
        keys: &[ScalarExpr],
        aggregates: &[Aggregate],
        append_only: bool,
        (input, schema): (&SchemaRef, &SchemaRef),
    ) -> Layout {
        let mut layout = Layout {
            exprs: keys.to_vec(),
            keys: keys.len(),
            key_types: keys.iter().map(|key| key.data_type.clone()).collect(),
            aggregates: Vec::new(),
            slots: ROWS + 1,
            merges: vec![Merge::Count(ROWS)],
            schema: schema.clone(),
            rows_visible: false,
            best: None,
        };
        for aggregate in aggregates {
            let kind = kind_of(aggregate, append_only);
            let argument = aggregate.args.first().map_or(&aggregate.data_type, |argument| &argument.data_type);
            let mut slots = Slots {
                slot: layout.slots,
                count: ROWS,
                codes: CodeForm::of(argument),
                sums: SumForm::of(argument),
                args: aggregate.args.iter().map(|arg| layout.column(arg)).collect(),
                filter: aggregate.filter.as_ref().map(|filter| layout.column(filter)),
                name: aggregate.name.clone(),
                data_type: aggregate.data_type.clone(),
                distinct: aggregate.distinct && matches!(aggregate.func, AggregateFunc::Sum | AggregateFunc::Avg),
                range: match kind {
                    Kind::SumExact | Kind::AvgDecimal { .. } => range(&aggregate.data_type),
                    _ => (i128::MIN, i128::MAX),
                },
                kind,
            };
            layout.place_quantile(&mut slots);
            layout.slots += slots.kind.slots(slots.codes, slots.sums);
            if slots.kind.counts() && !takes_every_row(aggregate, &slots, input) {
                slots.count = layout.slots;
                layout.slots += 1;
            }
            layout.rows_visible |= slots.kind == Kind::Rows || slots.shows_rows(keys.is_empty());
            layout.merges.extend(slots.merges());
            layout.aggregates.push(slots);
        }
        layout.exprs.iter_mut().for_each(|expr| *expr = expr.prepared(input));
        layout
    }

    /// Finds out whether an aggregate before this one keeps the values that this one, which comes next, asks about.
    fn place_quantile(&self, slots: &mut Slots) {
        let (Kind::Quantile { kept, place, .. }, args, filter) = (&mut slots.kind, &slots.args, slots.filter) else {
            return;
        };
        let same = |other: &&(usize, &Slots)| {
            let shared = matches!(&other.1.kind, Kind::Quantile { kept: known, .. } if known == kept);
            shared && other.1.args == *args && other.1.filter == filter
        };
        let before: Vec<(usize, &Slots)> = self.aggregates.iter().enumerate().collect();
        let mut before = before.iter().filter(same);
        let kept_by = before.next().map_or(self.aggregates.len(), |(index, _)| *index);
        let nth = before.count() + usize::from(kept_by < self.aggregates.len());
        *place = QuantilePlace { kept_by, nth };
    }

    /// The quantiles that ask about the values that aggregate `index` keeps, each with its first slot.
    pub(super) fn quantiles_of(&self, index: usize) -> Vec<(usize, Quantile)> {
        let asks = |slots: &Slots| match &slots.kind {
            Kind::Quantile { quantile, place, .. } if place.kept_by == index => Some((slots.slot, *quantile)),
            _ => None,
        };
        self.aggregates.iter().filter_map(asks).collect()
    }

    /// The layout of DISTINCT: all columns are keys.
    pub(super) fn distinct(schema: &SchemaRef) -> Layout {
        let key_types: Vec<DataType> = schema.fields().iter().map(|field| field.data_type().clone()).collect();
        Layout {
            exprs: Vec::new(),
            keys: key_types.len(),
            key_types,
            aggregates: Vec::new(),
            slots: ROWS + 1,
            merges: vec![Merge::Count(ROWS)],
            schema: schema.clone(),
            rows_visible: false,
            best: None,
        }
    }

    /// The layout of what a join makes of partial answers of `below`: the same aggregates over other keys.
    pub(super) fn above_join(below: &Layout, key_types: Vec<DataType>, schema: &SchemaRef) -> Layout {
        Layout { exprs: Vec::new(), keys: key_types.len(), key_types, schema: schema.clone(), ..below.clone() }
    }

    /// The place of an argument or filter among the evaluated columns; the same expression is evaluated once.
    fn column(&mut self, expr: &ScalarExpr) -> usize {
        let known = self.exprs[self.keys..].iter().position(|known| known.expr.eq(&expr.expr));
        known.unwrap_or_else(|| {
            self.exprs.push(expr.clone());
            self.exprs.len() - 1 - self.keys
        })
    }

    /// Whether the answers of two states of a group differ.
    #[inline]
    pub(super) fn differ(&self, old: &[i64], new: &[i64]) -> bool {
        let first = if self.rows_visible { ROWS } else { ROWS + 1 };
        old[first..] != new[first..]
    }

    /// The slots of a group without rows.
    pub(super) fn empty(&self) -> Vec<i64> {
        let mut slots = vec![0; self.slots];
        self.merges.iter().for_each(|merge| merge.begin(&mut slots));
        slots
    }
}

/// Whether every row takes part: without a filter, a column that is never NULL.
fn takes_every_row(aggregate: &Aggregate, slots: &Slots, input: &SchemaRef) -> bool {
    let certain = |argument: &ScalarExpr| argument.column().is_some_and(|column| !input.field(column).is_nullable());
    // Of different values only the first copies take part.
    aggregate.filter.is_none() && aggregate.args.iter().all(certain) && !slots.distinct
}

fn kind_of(aggregate: &Aggregate, append_only: bool) -> Kind {
    let argument = aggregate.args.first().map(|arg| &arg.data_type);
    match (&aggregate.func, argument) {
        (AggregateFunc::Bits(func), _) => Kind::Bits(*func),
        (AggregateFunc::Moment(moment), _) => Kind::Moment(*moment),
        (AggregateFunc::Quantile(quantile), Some(data_type)) => Kind::Quantile {
            quantile: *quantile,
            value: ValueKind::of(data_type),
            kept: if aggregate.distinct { KeptValues::Different } else { KeptValues::All },
            place: QuantilePlace { kept_by: 0, nth: 0 },
        },
        (AggregateFunc::ApproxQuantile(quantile), Some(data_type)) => Kind::Quantile {
            quantile: *quantile,
            value: ValueKind::of(data_type),
            kept: if append_only { KeptValues::Estimate } else { KeptValues::All },
            place: QuantilePlace { kept_by: 0, nth: 0 },
        },
        (AggregateFunc::ApproxDistinct, Some(_)) if append_only => Kind::EstimateDistinct,
        (AggregateFunc::ApproxDistinct, Some(data_type)) => Kind::CountDistinct(ValueKind::of(data_type)),
        (AggregateFunc::Recomputed(function), _) => Kind::Recomputed(function.clone()),
        (AggregateFunc::Count, None) if aggregate.filter.is_none() => Kind::Rows,
        (AggregateFunc::Count, Some(data_type)) if aggregate.distinct => Kind::CountDistinct(ValueKind::of(data_type)),
        (AggregateFunc::Count, _) => Kind::Count,
        (AggregateFunc::Sum, _) if aggregate.data_type.is_floating() => Kind::SumFloat,
        (AggregateFunc::Sum, _) => Kind::SumExact,
        (AggregateFunc::Avg, _) if aggregate.data_type.is_floating() => Kind::AvgFloat,
        (AggregateFunc::Avg, Some(DataType::Decimal128(_, scale))) => {
            let DataType::Decimal128(_, target) = aggregate.data_type else {
                panic!("the mean of decimals is planned as a decimal")
            };
            let shift = u32::try_from(target - scale).expect("the mean has at least the scale of its argument");
            Kind::AvgDecimal { factor: 10i128.pow(shift) }
        }
        (AggregateFunc::Min | AggregateFunc::Max, Some(data_type)) => {
            let (value, least) = (ValueKind::of(data_type), aggregate.func == AggregateFunc::Min);
            if append_only && value.is_code() {
                Kind::BestOfGrowing { value, least }
            } else {
                Kind::Best { value, least }
            }
        }
        (func, argument) => panic!("{func:?} over {argument:?} is refused by lowering"),
    }
}
