//! The published data, where it is at hand.

use super::*;

/// The folder of the real data, or `None` and a loud line.
fn data_dir() -> Option<PathBuf> {
    let named = std::env::var_os("HEADWATER_TEST_DATA").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|dir| dir.join("shared/data"));
    let found = named.into_iter().chain(beside).find(|dir| dir.join("online-retail").is_dir());
    if found.is_none() {
        eprintln!("SKIPPED: the real data is neither in ../shared/data nor where HEADWATER_TEST_DATA points");
    }
    found
}

fn lines_columns() -> Vec<Field> {
    vec![
        Field::new("seq", DataType::Int64, false),
        Field::new("invoice_no", DataType::Utf8, false),
        Field::new("stock_code", DataType::Utf8, false),
        Field::new("description", DataType::Utf8, true),
        Field::new("quantity", DataType::Int32, false),
        Field::new("ts", timestamptz(), false),
        Field::new("unit_price_mils", DataType::Int64, false),
        Field::new("customer_id", DataType::Int64, true),
        Field::new("country", DataType::Utf8, false),
    ]
}

/// Reads `name` from `dir` to its end; returns the batches and prints what a row costs.
fn read_all(dir: &Path, name: &str, format: Format, fields: Vec<Field>) -> (Vec<RecordBatch>, Duration) {
    let mut fixture = Fixture::new(name, format, fields);
    fixture.description.name = name.to_owned();
    let mut source = open(&fixture.description, dir, &SourcePosition::default()).unwrap();
    let (mut batches, started) = (Vec::new(), Instant::now());
    loop {
        let polled = source.poll(10_000).unwrap();
        assert_eq!(polled.errors.num_rows(), 0, "{:?}", show(&polled.errors));
        batches.push(polled.rows);
        if polled.state == PollState::Ended {
            break;
        }
    }
    let took = started.elapsed();
    let progress = source.progress();
    assert_eq!(Some(progress.bytes_read), progress.bytes_total);
    eprintln!(
        "{name}: {} rows, {:.3} µs/row",
        progress.records,
        took.as_secs_f64() * 1e6 / f64::from(u32::try_from(progress.records).unwrap())
    );
    (batches, took)
}

fn sum(batches: &[RecordBatch], column: usize) -> i64 {
    use arrow::array::AsArray;
    use arrow::datatypes::Int64Type;
    batches.iter().flat_map(|batch| batch.column(column).as_primitive::<Int64Type>().iter().flatten()).sum()
}

#[test]
fn the_retailer_s_lines_decode_without_an_error() {
    let Some(data) = data_dir() else { return };
    let csv = Format::Csv { delimiter: b',' };
    let dir = data.join("online-retail");
    let (batches, _) = read_all(&dir, "lines.csv.zst", csv, lines_columns());
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 541_909);
    assert_eq!(sum(&batches, 0), 541_908 * 541_909 / 2);

    // The same bytes plain: what decoding alone costs.
    let plain = tempfile::tempdir().unwrap();
    let file = fs::File::open(dir.join("lines.csv.zst")).unwrap();
    fs::write(plain.path().join("lines.csv"), zstd::decode_all(file).unwrap()).unwrap();
    let (again, _) = read_all(plain.path(), "lines.csv", csv, lines_columns());
    assert_eq!(batches, again);
}

#[test]
fn the_published_file_holds_the_same_money() {
    let Some(data) = data_dir() else { return };
    let fields = vec![
        Field::new("quantity", DataType::Int64, false),
        Field::new("unitprice", DataType::Decimal128(12, 3), false),
        Field::new("customerid", DataType::Int64, true),
        Field::new("invoicedate", timestamptz(), false),
        Field::new("description", DataType::Utf8, true),
    ];
    let csv = Format::Csv { delimiter: b',' };
    let (batches, _) = read_all(&data.join("online-retail"), "online_retail.csv.zst", csv, fields);
    use arrow::array::AsArray;
    use arrow::datatypes::{Decimal128Type, Int64Type};
    let total: i128 = batches
        .iter()
        .flat_map(|batch| {
            let quantities = batch.column(0).as_primitive::<Int64Type>().values();
            let prices = batch.column(1).as_primitive::<Decimal128Type>().values();
            quantities.iter().zip(prices).map(|(quantity, price)| i128::from(*quantity) * price)
        })
        .sum();
    assert_eq!(total, 9_747_747_934);
}

#[test]
fn the_events_decode_without_an_error() {
    let Some(data) = data_dir() else { return };
    let value = DataType::Struct(
        vec![
            Field::new("event_id", DataType::Utf8, false),
            Field::new("type", DataType::Utf8, false),
            Field::new("customer_id", DataType::Int64, true),
            Field::new("amount_mils", DataType::Int64, true),
        ]
        .into(),
    );
    let fields = vec![
        Field::new("offset", DataType::Int64, false),
        Field::new("topic", DataType::Utf8, false),
        Field::new("key", DataType::Utf8, true),
        Field::new("ts", timestamptz(), false),
        Field::new("value", value, false),
    ];
    let (batches, _) = read_all(&data.join("online-retail"), "events.jsonl.zst", Format::Json, fields);
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 758_892);
    assert_eq!(sum(&batches, 0), 758_891 * 758_892 / 2);
}
