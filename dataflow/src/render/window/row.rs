//! The bytes of a row in an order: what sorts it, the row itself, and the arguments of the functions.
//!
//! `key` is the order's keys and then what else there is of the row, so that `memcmp` sorts and ties never depend on arrival;
//! columns that are in the order's keys, or divide the partitions, are not written again. `payload` is
//! the length of the order's keys (4 bytes), then the arguments: those with an integer code first, 17 bytes each (one says
//! whether there is a value), then those of bytes, each behind its length, then what functions that are computed anew keep
//! of a row, likewise.

use arrow::array::{Array, ArrayRef, BooleanArray};
use arrow::compute::SortOptions;
use arrow::datatypes::DataType;

use crate::expr::{Recomputed, ScalarExpr, as_filter};
use crate::plan::{AggregateFunc, FrameOffset, FrameUnits, OrderBy, WindowCall, WindowFunction};
use crate::render::reduce::values::{ByteValues, ValueKind, codes, from_codes};
use crate::repr::{EncodedRows, Row, RowCodec};

/// Bytes of an argument with an integer code.
const CODE_BYTES: usize = 17;
/// Bytes before the arguments.
const HEAD_BYTES: usize = 4;
/// The length of an argument that is NULL.
const NO_BYTES: u32 = u32::MAX;
/// Bytes of a key that ranges are measured on.
pub(super) const MEASURE_BYTES: usize = 16;

/// An argument, as it stands in the payload and as it leaves as an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// NULL.
    Null,
    /// The integer code of a value.
    Code(i128),
    /// The bytes of a value without a code.
    Bytes(Row),
    /// A value that its type cannot hold.
    OutOfRange,
    /// What a function that is computed anew has answered: see [`Recomputed::decode`].
    Answer(Row),
}

/// Which argument: by its place among those of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// With an integer code.
    Code(usize),
    /// Bytes.
    Bytes(usize),
}

/// How rows of one operator are written.
#[derive(Clone, Debug, Default)]
pub(super) struct RowLayout {
    /// The arguments: those with codes, those of bytes, then the columns of what is kept.
    pub(super) args: Vec<ScalarExpr>,
    /// How many have codes, and how many are bytes.
    code_args: usize,
    byte_args: usize,
    kept: Vec<Kept>,
}

/// What a function that is computed anew keeps of a row.
#[derive(Clone, Debug)]
struct Kept {
    function: Recomputed,
    columns: Vec<ScalarExpr>,
    filter: Option<ScalarExpr>,
}

impl Kept {
    fn is(&self, function: &Recomputed, columns: &[ScalarExpr], filter: Option<&ScalarExpr>) -> bool {
        let same = |(a, b): (&ScalarExpr, &ScalarExpr)| a.expr.eq(&b.expr);
        self.function == *function
            && self.columns.len() == columns.len()
            && self.columns.iter().zip(columns).all(same)
            && self.filter.iter().zip(filter).all(same)
            && self.filter.is_some() == filter.is_some()
    }
}

impl RowLayout {
    /// The layout for the arguments of `functions`; equal ones are kept once.
    pub(super) fn new(functions: &[WindowFunction]) -> RowLayout {
        let (mut with_codes, mut with_bytes): (Vec<ScalarExpr>, Vec<ScalarExpr>) = Default::default();
        let mut kept: Vec<Kept> = Vec::new();
        for function in functions {
            if let WindowCall::Aggregate(AggregateFunc::Recomputed(recomputed)) = &function.call {
                if !kept.iter().any(|known| known.is(recomputed, &function.args, function.filter.as_ref())) {
                    let (columns, filter) = (function.args.clone(), function.filter.clone());
                    kept.push(Kept { function: recomputed.clone(), columns, filter });
                }
                continue;
            }
            for arg in &function.args {
                let list = if ValueKind::of(&arg.data_type).is_code() { &mut with_codes } else { &mut with_bytes };
                if !list.iter().any(|known| known.expr.eq(&arg.expr)) {
                    list.push(arg.clone());
                }
            }
        }
        let (code_args, byte_args) = (with_codes.len(), with_bytes.len());
        let mut args = with_codes;
        args.extend(with_bytes);
        kept.iter().for_each(|kept| args.extend(kept.columns.iter().chain(&kept.filter).cloned()));
        RowLayout { args, code_args, byte_args, kept }
    }

    /// Where `arg` stands. Panics if the layout was not made for it.
    pub(super) fn slot(&self, arg: &ScalarExpr) -> Slot {
        let args = &self.args[..self.code_args + self.byte_args];
        let index = args.iter().position(|known| known.expr.eq(&arg.expr)).expect("the layout has every argument");
        if index < self.code_args { Slot::Code(index) } else { Slot::Bytes(index - self.code_args) }
    }

    /// Where what `function`, which is `recomputed`, keeps of a row stands among the bytes. Panics if the layout was not made
    /// for it.
    pub(super) fn kept_place(&self, function: &WindowFunction, recomputed: &Recomputed) -> usize {
        let is = |kept: &Kept| kept.is(recomputed, &function.args, function.filter.as_ref());
        self.byte_args + self.kept.iter().position(is).expect("the layout has every function")
    }

    /// The argument in `slot` of a row.
    pub(super) fn value(&self, payload: &[u8], slot: Slot) -> Value {
        match slot {
            Slot::Code(index) => code(payload, index).map_or(Value::Null, Value::Code),
            Slot::Bytes(index) => self.bytes(payload, index).map_or(Value::Null, |bytes| Value::Bytes(Row::new(bytes))),
        }
    }

    /// What stands in place `index` of those of bytes, if there is something.
    pub(super) fn bytes<'a>(&self, payload: &'a [u8], index: usize) -> Option<&'a [u8]> {
        let mut rest = &payload[HEAD_BYTES + self.code_args * CODE_BYTES..];
        for _ in 0..index {
            rest = split_bytes(rest).1;
        }
        split_bytes(rest).0
    }
}

/// The code in place `index`.
#[inline]
pub(super) fn code(payload: &[u8], index: usize) -> Option<i128> {
    let at = HEAD_BYTES + index * CODE_BYTES;
    let bytes: &[u8; CODE_BYTES] = payload[at..at + CODE_BYTES].try_into().expect("as many bytes as asked for");
    let code: [u8; 16] = bytes[1..].try_into().expect("as many bytes as asked for");
    (bytes[0] != 0).then(|| i128::from_le_bytes(code))
}

fn split_bytes(rest: &[u8]) -> (Option<&[u8]>, &[u8]) {
    let (length, rest) = rest.split_at(4);
    let length = u32::from_le_bytes(length.try_into().expect("four bytes"));
    if length == NO_BYTES {
        return (None, rest);
    }
    let (bytes, rest) = rest.split_at(length as usize);
    (Some(bytes), rest)
}

/// How many bytes of the key are the order's keys: rows that agree in them are peers.
#[inline]
pub(super) fn order_len(payload: &[u8]) -> usize {
    u32::from_le_bytes(payload[..HEAD_BYTES].try_into().expect("four bytes")) as usize
}

/// Whether some frame is measured on the values of the order's one key.
pub(super) fn measured(functions: &[WindowFunction]) -> bool {
    functions.iter().any(|function| {
        let bounds = [function.frame.start, function.frame.end];
        function.frame.units == FrameUnits::Range
            && bounds.iter().flatten().any(|bound| !matches!(bound, FrameOffset::Current))
    })
}

/// Encodes the order's keys of a chunk.
pub(super) enum OrderCodec {
    /// As arrow-row does, each key in its direction.
    Rows(RowCodec),
    /// The one key as a number, so that bounds of ranges can be computed.
    Measure { descending: bool, nulls_first: bool },
}

/// A chunk's encoded keys.
pub(super) enum OrderKeys {
    Rows(EncodedRows),
    Measures(Vec<[u8; MEASURE_BYTES]>),
}

impl OrderCodec {
    /// Panics if a key's type cannot be ordered: lowering refuses such.
    pub(super) fn new(order: &[OrderBy], measured: bool) -> OrderCodec {
        if measured && let [key] = order {
            return OrderCodec::Measure { descending: key.descending, nulls_first: key.nulls_first };
        }
        let options = |key: &OrderBy| SortOptions { descending: key.descending, nulls_first: key.nulls_first };
        let fields = order.iter().map(|key| (key.expr.data_type.clone(), options(key)));
        OrderCodec::Rows(RowCodec::ordered(fields).unwrap_or_else(|error| panic!("{error}")))
    }

    pub(super) fn encode(&self, columns: &[ArrayRef]) -> OrderKeys {
        match self {
            OrderCodec::Rows(codec) => OrderKeys::Rows(codec.encode(columns).expect("keys have their planned types")),
            OrderCodec::Measure { descending, nulls_first } => {
                let column = &columns[0];
                let null = if *nulls_first { i128::MIN } else { i128::MAX };
                let codes = codes(column);
                let measures = codes.iter().enumerate().map(|(row, code)| {
                    measure_bytes(match (column.is_null(row), descending) {
                        (true, _) => null,
                        (false, true) => -code,
                        (false, false) => *code,
                    })
                });
                OrderKeys::Measures(measures.collect())
            }
        }
    }
}

impl OrderCodec {
    /// The columns of `order` that can be had back from its keys, and of those that cannot, `None`.
    pub(super) fn columns(&self, order: &[OrderBy]) -> Vec<Option<usize>> {
        let exact = |data_type: &DataType| match self {
            OrderCodec::Rows(_) => true,
            // The number of a float is that of all its zeros and NaNs.
            OrderCodec::Measure { .. } => !data_type.is_floating(),
        };
        order.iter().map(|key| key.expr.column().filter(|_| exact(&key.expr.data_type))).collect()
    }

    /// The keys' columns again. `types` are theirs.
    pub(super) fn decode<'a>(&self, keys: impl Iterator<Item = &'a [u8]>, types: &[DataType]) -> Vec<ArrayRef> {
        match self {
            OrderCodec::Rows(codec) => codec.decode(keys).expect("keys decode"),
            OrderCodec::Measure { descending, .. } => {
                let code = |key| match measure_of(key) {
                    i128::MIN | i128::MAX => None,
                    measure => Some(if *descending { -measure } else { measure }),
                };
                vec![from_codes(&keys.map(code).collect::<Vec<_>>(), &types[0])]
            }
        }
    }
}

impl OrderKeys {
    /// The length of a key, about.
    pub(super) fn usual_len(&self) -> usize {
        match self {
            OrderKeys::Rows(rows) => rows.usual_len(),
            OrderKeys::Measures(_) => MEASURE_BYTES,
        }
    }

    pub(super) fn get(&self, row: usize) -> &[u8] {
        match self {
            OrderKeys::Rows(rows) => rows.get(row),
            OrderKeys::Measures(measures) => &measures[row],
        }
    }
}

/// A measure as bytes that sort like it.
pub(super) fn measure_bytes(measure: i128) -> [u8; MEASURE_BYTES] {
    (measure ^ i128::MIN).to_be_bytes()
}

/// The measure that a key begins with.
pub(super) fn measure_of(key: &[u8]) -> i128 {
    i128::from_be_bytes(key[..MEASURE_BYTES].try_into().expect("a measured key")) ^ i128::MIN
}

/// A chunk's arguments on their way into rows.
pub(super) struct Arguments {
    codes: Vec<(ArrayRef, Vec<i128>)>,
    bytes: Vec<(Absent, ByteValues)>,
}

/// Where there is no value.
enum Absent {
    /// At the NULLs of a column.
    Nulls(ArrayRef),
    /// Where this is not true; everywhere is one if it is `None`.
    Unless(Option<BooleanArray>),
}

impl Absent {
    fn at(&self, row: usize) -> bool {
        match self {
            Absent::Nulls(column) => column.is_null(row),
            Absent::Unless(seen) => seen.as_ref().is_some_and(|seen| !seen.value(row)),
        }
    }
}

impl Arguments {
    /// `columns` are the layout's arguments.
    pub(super) fn new(layout: &RowLayout, columns: &[ArrayRef]) -> Arguments {
        let (with_codes, rest) = columns.split_at(layout.code_args);
        let (with_bytes, mut rest) = rest.split_at(layout.byte_args);
        let codes = with_codes.iter().map(|column| (column.clone(), codes(column).into_owned())).collect();
        let mut bytes: Vec<(Absent, ByteValues)> =
            with_bytes.iter().map(|column| (Absent::Nulls(column.clone()), ByteValues::new(column))).collect();
        for Kept { function, columns, filter } in &layout.kept {
            let (own, others) = rest.split_at(columns.len());
            let (seen, others) = others.split_at(usize::from(filter.is_some()));
            bytes.push((Absent::Unless(seen.first().map(as_filter)), ByteValues::Rows(function.encode(own))));
            rest = others;
        }
        Arguments { codes, bytes }
    }

    /// Writes a row into `out`: the length of its key (4 bytes), its key, its payload.
    pub(super) fn write(&self, order: &[u8], row: &[u8], index: usize, out: &mut Vec<u8>) {
        let length = |bytes: usize| u32::try_from(bytes).expect("a row stays far below 4 GiB").to_le_bytes();
        out.clear();
        out.extend_from_slice(&length(order.len() + row.len()));
        out.extend_from_slice(order);
        out.extend_from_slice(row);
        out.extend_from_slice(&length(order.len()));
        for (column, codes) in &self.codes {
            let valid = !column.is_null(index);
            out.push(u8::from(valid));
            // What stands at a NULL is arbitrary, and equal rows have equal bytes.
            out.extend_from_slice(&(if valid { codes[index] } else { 0 }).to_le_bytes());
        }
        for (absent, values) in &self.bytes {
            if absent.at(index) {
                out.extend_from_slice(&NO_BYTES.to_le_bytes());
            } else {
                let bytes = values.get(index);
                out.extend_from_slice(&length(bytes.len()));
                out.extend_from_slice(bytes);
            }
        }
    }
}

/// The length of a written row whose key takes `key` bytes, if its arguments of bytes are empty.
pub(super) fn written_len(key: usize, layout: &RowLayout) -> usize {
    HEAD_BYTES + key + HEAD_BYTES + layout.code_args * CODE_BYTES + (layout.byte_args + layout.kept.len()) * 4
}

/// The length of the key of a written row, and what stands behind that length.
pub(super) fn split_written(bytes: &[u8]) -> (usize, &[u8]) {
    let (length, rest) = bytes.split_at(HEAD_BYTES);
    (u32::from_le_bytes(length.try_into().expect("four bytes")) as usize, rest)
}

/// The type in which an answer of a function is held.
pub(super) fn holds_codes(data_type: &DataType) -> bool {
    ValueKind::of(data_type).is_code()
}
