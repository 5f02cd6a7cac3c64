//! `date_trunc` of times in UTC by arithmetic.
//!
//! DataFusion truncates to hours and days through the calendar as soon as a type names a time zone, and all our times name
//! UTC: 60 ns a row. In UTC an hour and a day have one length each, so the name of the zone is taken off while DataFusion's
//! function runs.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::datatypes::{DataType, FieldRef, TimestampMicrosecondType};
use datafusion::common::Result;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::functions::datetime::date_trunc;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

use super::types::timestamptz;

/// Before this, in microseconds, truncating to a year could leave the type: DataFusion's calendar path refuses such times
/// by name.
const EARLIEST: i64 = i64::MIN + 366 * 86_400_000_000;

/// Puts our wrapper around `date_trunc` in its place.
pub(super) fn register(state: &mut SessionState) -> Result<()> {
    state.register_udf(Arc::new(ScalarUDF::from(DateTrunc { inner: date_trunc() })))?;
    Ok(())
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct DateTrunc {
    inner: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for DateTrunc {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arg_types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        self.inner.output_ordering(inputs)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let bare = match args.args.get(1) {
            Some(ColumnarValue::Array(times)) => without_zone(times),
            _ => None,
        };
        let Some(bare) = bare else { return self.inner.invoke_with_args(args) };
        let field = |field: &FieldRef| Arc::new(field.as_ref().clone().with_data_type(bare.data_type().clone()));
        args.arg_fields[1] = field(&args.arg_fields[1]);
        args.return_field = field(&args.return_field);
        args.args[1] = ColumnarValue::Array(bare);
        let ColumnarValue::Array(truncated) = self.inner.invoke_with_args(args)? else {
            return datafusion::common::internal_err!("date_trunc of an array is an array");
        };
        let truncated: PrimitiveArray<TimestampMicrosecondType> = truncated.as_primitive().clone();
        Ok(ColumnarValue::Array(Arc::new(truncated.with_data_type(timestamptz()))))
    }
}

/// Times of our type without the zone, if all of them can be truncated.
fn without_zone(times: &ArrayRef) -> Option<ArrayRef> {
    if *times.data_type() != timestamptz() {
        return None;
    }
    let times = times.as_primitive::<TimestampMicrosecondType>();
    let truncatable = times.values().iter().fold(true, |all, time| all & (*time >= EARLIEST));
    truncatable.then(|| Arc::new(times.clone().with_timezone_opt(None::<&str>)) as ArrayRef)
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Field;
    use datafusion::common::ScalarValue;
    use datafusion::common::config::ConfigOptions;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn truncated(function: &ScalarUDF, unit: &str, times: &ArrayRef) -> Result<ArrayRef> {
        let unit_field = Arc::new(Field::new("unit", DataType::Utf8, false));
        let times_field = Arc::new(Field::new("at", times.data_type().clone(), true));
        let args = ScalarFunctionArgs {
            args: vec![ColumnarValue::Scalar(ScalarValue::from(unit)), ColumnarValue::Array(Arc::clone(times))],
            arg_fields: vec![unit_field, Arc::clone(&times_field)],
            number_rows: times.len(),
            return_field: times_field,
            config_options: Arc::new(ConfigOptions::default()),
        };
        function.invoke_with_args(args)?.into_array(times.len())
    }

    #[test]
    fn equals_the_calendar_for_every_unit() {
        let ours = ScalarUDF::from(DateTrunc { inner: date_trunc() });
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let times = (0..2_000).map(|index| match index % 10 {
            0 => None,
            // The calendar path counts nanoseconds and ends in the year 2262.
            1 => Some(random.random_range(-9_000_000_000_000_000..9_000_000_000_000_000i64)),
            _ => Some(random.random_range(-4_000_000_000_000_000..4_000_000_000_000_000i64)),
        });
        let times: PrimitiveArray<TimestampMicrosecondType> = times.collect();
        let times: ArrayRef = Arc::new(times.with_data_type(timestamptz()));
        for unit in
            ["year", "quarter", "month", "week", "day", "hour", "MINUTE", "second", "millisecond", "microsecond"]
        {
            let (ours, theirs) = (truncated(&ours, unit, &times), truncated(&date_trunc(), unit, &times));
            assert_eq!(&ours.expect("ours"), &theirs.expect("theirs"), "{unit}");
        }
    }

    #[test]
    fn the_ends_of_time_are_refused_as_before() {
        let ours = ScalarUDF::from(DateTrunc { inner: date_trunc() });
        for time in [i64::MIN, EARLIEST - 1] {
            let times = PrimitiveArray::<TimestampMicrosecondType>::from(vec![time]);
            let times: ArrayRef = Arc::new(times.with_data_type(timestamptz()));
            let (ours, theirs) = (truncated(&ours, "hour", &times), truncated(&date_trunc(), "hour", &times));
            assert_eq!(ours.map_err(|e| e.to_string()), theirs.map_err(|e| e.to_string()));
        }
    }
}
