//! The transactions of commerce-bench as record batches.

use std::sync::{Arc, LazyLock};

use arrow::array::{
    ArrayRef, Decimal128Builder, Int32Builder, Int64Array, Int64Builder, RecordBatch, StringArray, StringBuilder,
    TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use super::commerce::{CUSTOMERS, Generator, PRODUCTS, category};

static TRANSACTIONS: LazyLock<SchemaRef> = LazyLock::new(|| {
    let timestamp = DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from("+00:00")));
    Arc::new(Schema::new(vec![
        Field::new("transaction_id", DataType::Int64, false),
        Field::new("order_id", DataType::Int64, false),
        Field::new("customer_id", DataType::Int64, false),
        Field::new("product_id", DataType::Int64, false),
        Field::new("category", DataType::Utf8, false),
        Field::new("quantity", DataType::Int32, false),
        Field::new("amount", DataType::Decimal128(12, 2), false),
        Field::new("country", DataType::Utf8, false),
        Field::new("channel", DataType::Utf8, false),
        Field::new("card_id", DataType::Int64, false),
        Field::new("device_id", DataType::Int64, false),
        Field::new("event_time", timestamp, false),
    ]))
});

static PRODUCTS_SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("product_id", DataType::Int64, false),
        Field::new("category", DataType::Utf8, false),
    ]))
});

/// The columns of a transaction.
pub(crate) fn transactions_schema() -> SchemaRef {
    Arc::clone(&TRANSACTIONS)
}

/// The columns of a product.
pub(crate) fn products_schema() -> SchemaRef {
    Arc::clone(&PRODUCTS_SCHEMA)
}

/// All products.
pub(crate) fn products() -> RecordBatch {
    let ids = 0..PRODUCTS as i64;
    let categories = StringArray::from_iter_values(ids.clone().map(category));
    let ids = Int64Array::from_iter_values(ids);
    RecordBatch::try_new(products_schema(), vec![Arc::new(ids), Arc::new(categories)])
        .expect("the columns match the schema")
}

/// Who buys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Customers {
    /// By Zipf: the hottest has a tenth of all rows.
    Skewed,
    /// Every one of the million after so many orders, in an order that looks like none.
    Uniform,
}

/// The next `rows` transactions.
pub(crate) fn batch(generator: &mut Generator, customers: Customers, rows: usize) -> RecordBatch {
    let int = || Int64Builder::with_capacity(rows);
    let (mut transaction, mut order, mut customer, mut product) = (int(), int(), int(), int());
    let (mut card, mut device) = (int(), int());
    let text = || StringBuilder::with_capacity(rows, rows * 6);
    let (mut categories, mut country, mut channel) = (text(), text(), text());
    let mut quantity = Int32Builder::with_capacity(rows);
    let mut amount = Decimal128Builder::with_capacity(rows).with_data_type(DataType::Decimal128(12, 2));
    let mut time = TimestampMicrosecondBuilder::with_capacity(rows).with_timezone("+00:00");
    for _ in 0..rows {
        let next = generator.transaction();
        transaction.append_value(next.transaction_id);
        order.append_value(next.order_id);
        customer.append_value(match customers {
            Customers::Skewed => next.customer_id,
            Customers::Uniform => (next.order_id * 7_919 + 13) % CUSTOMERS as i64,
        });
        product.append_value(next.product_id);
        categories.append_value(category(next.product_id));
        quantity.append_value(next.quantity);
        amount.append_value(i128::from(next.amount));
        country.append_value(next.country);
        channel.append_value(next.channel);
        card.append_value(next.card_id);
        device.append_value(next.device_id);
        time.append_value(next.event_time);
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(transaction.finish()),
        Arc::new(order.finish()),
        Arc::new(customer.finish()),
        Arc::new(product.finish()),
        Arc::new(categories.finish()),
        Arc::new(quantity.finish()),
        Arc::new(amount.finish()),
        Arc::new(country.finish()),
        Arc::new(channel.finish()),
        Arc::new(card.finish()),
        Arc::new(device.finish()),
        Arc::new(time.finish()),
    ];
    RecordBatch::try_new(transactions_schema(), columns).expect("the columns match the schema")
}
