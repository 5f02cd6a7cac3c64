//! Arithmetic that fails instead of wrapping: DataFusion's result types, checked results.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, IntervalMonthDayNanoArray, PrimitiveArray};
use arrow::compute::kernels::numeric;
use arrow::datatypes::{
    ArrowPrimitiveType, DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, Field, FieldRef, Float32Type, Float64Type,
    IntervalMonthDayNanoType,
};
use arrow::error::ArrowError;
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::type_coercion::binary::BinaryTypeCoercer;
use datafusion::logical_expr::{
    ColumnarValue, Expr, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::physical_expr_common::datum::apply;

use super::semantics::call;
use super::types::INTERVAL;

/// `+`, `-`, `*`, `/` and `%` on numbers. An overflow and a division by zero are errors, whatever the type; a float
/// result is canonical.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Arithmetic {
    op: Operator,
    name: &'static str,
    signature: Signature,
}

static OPERATORS: LazyLock<[Arc<ScalarUDF>; 5]> = LazyLock::new(|| {
    [
        (Operator::Plus, "checked_add"),
        (Operator::Minus, "checked_subtract"),
        (Operator::Multiply, "checked_multiply"),
        (Operator::Divide, "checked_divide"),
        (Operator::Modulo, "checked_remainder"),
    ]
    .map(|(op, name)| {
        Arc::new(ScalarUDF::from(Arithmetic { op, name, signature: Signature::any(2, Volatility::Immutable) }))
    })
});

/// The operator that `function` stands for, if it is one of ours.
pub(crate) fn operator_of(function: &ScalarUDF) -> Option<Operator> {
    function.inner().downcast_ref::<Arithmetic>().map(|arithmetic| arithmetic.op)
}

impl Arithmetic {
    /// `left op right` for one of the five operators.
    pub(super) fn call(op: Operator, left: Expr, right: Expr) -> Expr {
        let index = match op {
            Operator::Plus => 0,
            Operator::Minus => 1,
            Operator::Multiply => 2,
            Operator::Divide => 3,
            _ => 4,
        };
        call(Arc::clone(&OPERATORS[index]), vec![left, right])
    }

    fn evaluate(&self, left: &ColumnarValue, right: &ColumnarValue) -> Result<ColumnarValue> {
        match self.op {
            Operator::Plus => apply(left, right, numeric::add),
            Operator::Minus => apply(left, right, numeric::sub),
            Operator::Multiply => apply(left, right, numeric::mul),
            Operator::Divide => apply(left, right, numeric::div),
            _ => apply(left, right, numeric::rem),
        }
    }
}

impl ScalarUDFImpl for Arithmetic {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        let [left, right] = arg_types else { return plan_err!("{} needs two arguments", self.op) };
        let result = BinaryTypeCoercer::new(left, &self.op, right).get_result_type()?;
        if let (DataType::Decimal128(_, s1), DataType::Decimal128(_, s2), Operator::Multiply) = (left, right, self.op)
            && i16::from(*s1) + i16::from(*s2) > 38
        {
            return plan_err!(
                "{left} * {right} has more than 38 digits after the point: cast one side to fewer digits first"
            );
        }
        Ok(result)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let types: Vec<DataType> = args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(self.name, self.return_type(&types)?, nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [left, right] = args.args.as_slice() else { return exec_err!("{} needs two arguments", self.op) };
        if left.data_type().is_floating() && matches!(self.op, Operator::Divide | Operator::Modulo) {
            refuse_zero(left, right)?;
        }
        let result = self.evaluate(left, right)?;
        match result.data_type() {
            DataType::Float32 | DataType::Float64 => canonical(result),
            // Fewer digits cannot overflow: the result type has room for every result.
            DataType::Decimal128(DECIMAL128_MAX_PRECISION, _) => {
                check_digits(&result)?;
                Ok(result)
            }
            _ => Ok(result),
        }
    }
}

/// An error if some number is divided by zero. NULL divided by zero is NULL.
fn refuse_zero(left: &ColumnarValue, right: &ColumnarValue) -> Result<()> {
    let is_zero = |array: &dyn Array, row: usize| match array.data_type() {
        DataType::Float32 => array.as_primitive::<Float32Type>().value(row) == 0.0,
        _ => array.as_primitive::<Float64Type>().value(row) == 0.0,
    };
    if let ColumnarValue::Scalar(divisor) = right {
        let divisor = divisor.to_array()?;
        if divisor.is_null(0) || !is_zero(divisor.as_ref(), 0) {
            return Ok(());
        }
    }
    let arrays = ColumnarValue::values_to_arrays(&[left.clone(), right.clone()])?;
    let (left, right) = (&arrays[0], &arrays[1]);
    if (0..right.len()).any(|row| left.is_valid(row) && right.is_valid(row) && is_zero(right.as_ref(), row)) {
        return Err(ArrowError::DivideByZero.into());
    }
    Ok(())
}

/// An error if some number has more than 38 digits.
fn check_digits(result: &ColumnarValue) -> Result<()> {
    let array: ArrayRef = match result {
        ColumnarValue::Array(array) => Arc::clone(array),
        ColumnarValue::Scalar(scalar) => scalar.to_array()?,
    };
    let decimals: &Decimal128Array = array.as_primitive::<Decimal128Type>();
    Ok(decimals.validate_decimal_precision(DECIMAL128_MAX_PRECISION)?)
}

/// A float without −0 and with one NaN only, so that equal values have equal bytes.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Canonical {
    signature: Signature,
}

static CANONICAL: LazyLock<Arc<ScalarUDF>> =
    LazyLock::new(|| Arc::new(ScalarUDF::from(Canonical { signature: Signature::any(1, Volatility::Immutable) })));

impl Canonical {
    pub(super) fn call(expr: Expr) -> Expr {
        call(Arc::clone(&CANONICAL), vec![expr])
    }
}

impl ScalarUDFImpl for Canonical {
    fn name(&self) -> &str {
        "canonical_float"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        match arg_types {
            [float] if float.is_floating() => Ok(float.clone()),
            _ => plan_err!("canonical_float needs one float"),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        same_field(self.name(), &args, |types| self.return_type(types))
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.pop() {
            Some(value) => canonical(value),
            None => exec_err!("canonical_float needs one float"),
        }
    }
}

fn canonical(value: ColumnarValue) -> Result<ColumnarValue> {
    Ok(match value {
        ColumnarValue::Array(array) => ColumnarValue::Array(match array.data_type() {
            DataType::Float32 => {
                map(array.as_primitive::<Float32Type>(), |x| if x.is_nan() { f32::NAN } else { x + 0.0 })
            }
            DataType::Float64 => {
                map(array.as_primitive::<Float64Type>(), |x| if x.is_nan() { f64::NAN } else { x + 0.0 })
            }
            _ => array,
        }),
        ColumnarValue::Scalar(ScalarValue::Float32(Some(x))) => {
            ColumnarValue::Scalar(ScalarValue::Float32(Some(if x.is_nan() { f32::NAN } else { x + 0.0 })))
        }
        ColumnarValue::Scalar(ScalarValue::Float64(Some(x))) => {
            ColumnarValue::Scalar(ScalarValue::Float64(Some(if x.is_nan() { f64::NAN } else { x + 0.0 })))
        }
        scalar @ ColumnarValue::Scalar(_) => scalar,
    })
}

fn map<T: ArrowPrimitiveType>(array: &PrimitiveArray<T>, change: impl Fn(T::Native) -> T::Native) -> ArrayRef {
    Arc::new(array.unary::<_, T>(change))
}

/// How long an interval is, in nanoseconds, with months of 30 days and days of 24 hours: what intervals are compared by.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct IntervalLength {
    signature: Signature,
}

static INTERVAL_LENGTH: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
    Arc::new(ScalarUDF::from(IntervalLength { signature: Signature::exact(vec![INTERVAL], Volatility::Immutable) }))
});

impl IntervalLength {
    pub(super) fn call(expr: Expr) -> Expr {
        call(Arc::clone(&INTERVAL_LENGTH), vec![expr])
    }
}

impl ScalarUDFImpl for IntervalLength {
    fn name(&self) -> &str {
        "interval_length"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Decimal128(38, 0))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        same_field(self.name(), &args, |types| self.return_type(types))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let intervals: &IntervalMonthDayNanoArray = arrays[0].as_primitive::<IntervalMonthDayNanoType>();
        let day = 86_400_000_000_000_i128;
        let lengths: Decimal128Array = intervals.unary(|interval| {
            (i128::from(interval.months) * 30 + i128::from(interval.days)) * day + i128::from(interval.nanoseconds)
        });
        Ok(ColumnarValue::Array(Arc::new(lengths.with_precision_and_scale(38, 0)?)))
    }
}

/// A field that is nullable if some argument is.
fn same_field(
    name: &str,
    args: &ReturnFieldArgs<'_>,
    return_type: impl Fn(&[DataType]) -> Result<DataType>,
) -> Result<FieldRef> {
    let types: Vec<DataType> = args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
    let nullable = args.arg_fields.iter().any(|field| field.is_nullable());
    Ok(Arc::new(Field::new(name, return_type(&types)?, nullable)))
}
