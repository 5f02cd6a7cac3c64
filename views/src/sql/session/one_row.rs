//! The guard of a subquery that is used as a value: it may have one row.

use std::sync::{Arc, LazyLock};

use arrow::array::{AsArray, BooleanArray};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

/// `only_row(rows)`: whether there is one row; an error if there are several. Texts cannot name it.
pub(in crate::sql) static ONLY_ROW: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
    let signature = Signature::exact(vec![DataType::Int64], Volatility::Immutable);
    Arc::new(ScalarUDF::new_from_impl(OnlyRow { signature }))
});

#[derive(Debug, PartialEq, Eq, Hash)]
struct OnlyRow {
    signature: Signature,
}

impl ScalarUDFImpl for OnlyRow {
    fn name(&self) -> &str {
        "only_row"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let counts = arrays[0].as_primitive::<Int64Type>();
        if counts.iter().flatten().any(|count| count > 1) {
            return exec_err!("more than one row returned by a subquery used as an expression");
        }
        Ok(ColumnarValue::Array(Arc::new(counts.iter().map(|count| Some(count == Some(1))).collect::<BooleanArray>())))
    }
}
