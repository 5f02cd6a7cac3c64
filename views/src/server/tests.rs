//! Whole servers in this process: files in, SQL over the control handle, answers and subscriptions out, restarts.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use headwater_connectors::clock::SystemClock;
use headwater_dataflow::repr::Timestamp;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::control::{
    Action, ControlError, ObjectInfo, ObjectState, QueryAnswer, Script, StatementOutcome, SubscribeOptions,
    SubscriptionEvent,
};

const DEADLINE: Duration = Duration::from_secs(60);

fn config(dir: &Path, workers: usize) -> ServerConfig {
    ServerConfig {
        data_dir: dir.join("data"),
        base_dir: dir.to_owned(),
        listen: ([127, 0, 0, 1], 0).into(),
        http_listen: Some(([127, 0, 0, 1], 0).into()),
        workers,
        history_ms: 60_000,
        tick_max_ms: 20,
        tick_rows_max: 500,
        idle_tick_ms: 100,
        read_wait: Duration::from_secs(20),
        clock: Arc::new(SystemClock),
    }
}

async fn start(dir: &Path, workers: usize) -> Server {
    Server::start(config(dir, workers)).await.unwrap()
}

/// Lines `first..end` of the sample: an id, one of seven countries, an amount.
fn lines(first: u64, end: u64) -> String {
    let mut text = String::new();
    for id in first..end {
        writeln!(text, "{id},c{},{}.{:02}", id % 7, id * 31 % 900, id % 100).unwrap();
    }
    text
}

fn write_lines(dir: &Path, name: &str, end: u64) {
    std::fs::write(dir.join(name), format!("id,country,amount\n{}", lines(0, end))).unwrap();
}

fn append(dir: &Path, name: &str, text: &str) {
    std::fs::OpenOptions::new().append(true).open(dir.join(name)).unwrap().write_all(text.as_bytes()).unwrap();
}

const SOURCE: &str = "CREATE SOURCE lines (id BIGINT NOT NULL, country TEXT, amount DECIMAL(12,2)) \
    FROM FILE (PATH 'lines.csv', FOLLOW true) FORMAT CSV;";
const VIEWS: &str = "CREATE MATERIALIZED VIEW by_country AS \
    SELECT country, sum(amount) AS total, count(*) AS lines FROM lines GROUP BY country;\n\
    CREATE VIEW large AS SELECT country, total FROM by_country WHERE total > 100;\n\
    CREATE MATERIALIZED VIEW grand AS SELECT sum(total) AS total, sum(lines) AS lines FROM by_country;";

fn script(text: &str) -> Vec<Script> {
    vec![Script { origin: "test.sql".to_owned(), text: text.to_owned() }]
}

async fn deploy(server: &Server, text: &str) -> Result<Vec<StatementOutcome>, ControlError> {
    server.control().deploy(script(text), false).await
}

/// Waits until all named objects (all, if none are named) are serving.
async fn serving(server: &Server, names: &[&str]) -> Vec<ObjectInfo> {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    let mut reports = server.control().watch(names).await.unwrap();
    let mut last = Vec::new();
    let all = async {
        while let Some(report) = reports.recv().await {
            last = report;
        }
    };
    tokio::time::timeout(DEADLINE, all).await.unwrap_or_else(|_| panic!("not serving in time"));
    assert!(last.iter().all(|info| info.state == ObjectState::Serving), "{last:?}");
    last
}

async fn query(server: &Server, sql: &str) -> QueryAnswer {
    server.control().query(sql, None).await.unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// The rows as sorted texts.
fn rows(batches: &[RecordBatch]) -> Vec<String> {
    let mut rows: Vec<String> = batches.iter().flat_map(texts).collect();
    rows.sort();
    rows
}

fn texts(batch: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let columns: Vec<ArrayFormatter<'_>> =
        batch.columns().iter().map(|column| ArrayFormatter::try_new(column.as_ref(), &options).unwrap()).collect();
    (0..batch.num_rows())
        .map(|row| columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join("|"))
        .collect()
}

/// What the sample's first `end` lines add up to.
fn expected_by_country(end: u64) -> Vec<String> {
    let mut sums: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
    for id in 0..end {
        let sum = sums.entry(id % 7).or_default();
        *sum = (sum.0 + id * 31 % 900 * 100 + id % 100, sum.1 + 1);
    }
    let row =
        |(country, (cents, lines)): (u64, (u64, u64))| format!("c{country}|{}.{:02}|{lines}", cents / 100, cents % 100);
    sums.into_iter().map(row).collect()
}

/// Waits until a query gives `expected`.
async fn eventually(server: &Server, sql: &str, expected: &[String]) {
    let started = Instant::now();
    loop {
        let answer = rows(&query(server, sql).await.batches);
        if answer == expected {
            return;
        }
        assert!(started.elapsed() < DEADLINE, "{sql}: {answer:?}, not {expected:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_brings_back_what_was_there() {
    let dir = TempDir::new().unwrap();
    write_lines(dir.path(), "lines.csv", 3_000);
    for workers in [1, 2] {
        let server = start(dir.path(), workers).await;
        deploy(&server, &format!("{SOURCE}\n{VIEWS}")).await.unwrap();
        let before = serving(&server, &[]).await;
        assert_eq!(rows(&query(&server, "SELECT * FROM by_country").await.batches), expected_by_country(3_000));
        assert_eq!(rows(&query(&server, "SELECT lines FROM grand").await.batches), ["3000"]);
        let kept = query(&server, "SELECT * FROM by_country").await;
        server.shutdown().await;

        let server = start(dir.path(), workers).await;
        let after = serving(&server, &[]).await;
        let names =
            |infos: &[ObjectInfo]| infos.iter().map(|info| (info.object, info.name.clone())).collect::<Vec<_>>();
        assert_eq!(names(&before), names(&after));
        let again = server.control().query("SELECT * FROM by_country", Some(kept.at)).await.unwrap();
        assert_eq!(rows(&again.batches), rows(&kept.batches), "the time before the restart is still readable");
        assert_eq!(rows(&query(&server, "SELECT count(*) FROM lines").await.batches), ["3000"], "nothing twice");
        assert_eq!(rows(&query(&server, "SELECT * FROM by_country").await.batches), expected_by_country(3_000));
        let status = server.control().status().await.unwrap();
        assert!(status.healthy && status.recovery_ms.is_some(), "{status:?}");
        server.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_subscriber_applies_is_what_a_query_answers_at_every_mark() {
    let dir = TempDir::new().unwrap();
    write_lines(dir.path(), "lines.csv", 500);
    let server = start(dir.path(), 2).await;
    deploy(&server, &format!("{SOURCE}\n{VIEWS}")).await.unwrap();
    let views = vec!["by_country".to_owned(), "grand".to_owned()];
    let options = SubscribeOptions { views: views.clone(), progress: true, ..SubscribeOptions::default() };
    let mut events = server.control().subscribe(options).await.unwrap();
    let mut contents: Vec<BTreeMap<String, i64>> = vec![BTreeMap::new(); 2];
    let (mut last, mut written, mut marks, mut parts): (Timestamp, u64, u32, Vec<_>) = (0, 500, 0, Vec::new());
    while written < 4_000 || contents[1].keys().all(|row| !row.ends_with("|4000")) {
        let event = tokio::time::timeout(DEADLINE, events.recv()).await.unwrap().unwrap();
        match event {
            SubscriptionEvent::Started { schemas, .. } => assert_eq!(schemas.len(), 2),
            SubscriptionEvent::Transition { from, to, more, changes, .. } => {
                assert_eq!(from, last);
                parts.extend(changes);
                if more {
                    continue;
                }
                for change in parts.drain(..) {
                    for (row, diff) in texts(&change.rows).into_iter().zip(change.diffs.iter()) {
                        let count = contents[change.view].entry(row).or_default();
                        *count += diff;
                    }
                    contents[change.view].retain(|_, count| *count != 0);
                }
                last = to;
            }
            SubscriptionEvent::Progress { upper, .. } => last = upper - 1,
            SubscriptionEvent::Closing { reason } => panic!("{reason}"),
        }
        if last == 0 {
            continue;
        }
        for (view, contents) in views.iter().zip(&contents) {
            let answer = server.control().query(&format!("SELECT * FROM {view}"), Some(last)).await.unwrap();
            assert!(contents.values().all(|count| *count == 1));
            assert_eq!(rows(&answer.batches), contents.keys().cloned().collect::<Vec<_>>(), "{view} at {last}");
        }
        let sum = server
            .control()
            .query("SELECT sum(lines) = max(g.n) FROM by_country, (SELECT lines AS n FROM grand) AS g", Some(last))
            .await
            .unwrap();
        assert_eq!(rows(&sum.batches), ["true"]);
        marks += 1;
        if written < 4_000 {
            append(dir.path(), "lines.csv", &lines(written, written + 250));
            written += 250;
        }
    }
    assert!(marks > 10);
    server.shutdown().await;
    let mut closing = None;
    while let Some(event) = events.recv().await {
        if let SubscriptionEvent::Closing { reason } = event {
            closing = Some(reason);
        }
    }
    assert_eq!(closing.as_deref(), Some("the server is stopping"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cascade_drops_dependents_first_and_leaves_no_dataflow() {
    let dir = TempDir::new().unwrap();
    write_lines(dir.path(), "lines.csv", 100);
    let server = start(dir.path(), 2).await;
    for round in 0..5 {
        deploy(&server, &format!("{SOURCE}\n{VIEWS}")).await.unwrap();
        if round % 2 == 0 {
            serving(&server, &[]).await;
        }
        let control = server.control();
        let refused = control.drop_object("by_country", false, false).await.unwrap_err();
        assert_eq!(refused.to_string(), "cannot drop \"by_country\": large, grand depend on it");
        let dropped = control.drop_object("lines", true, false).await.unwrap();
        assert_eq!(dropped, ["grand", "large", "by_country", "lines"]);
        assert!(control.list().await.unwrap().is_empty());
    }
    let started = Instant::now();
    while server.installed_dataflows() > 0 {
        assert!(started.elapsed() < DEADLINE, "{} dataflows are left", server.installed_dataflows());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(server.control().drop_object("lines", true, true).await.unwrap(), Vec::<String>::new());
    let missing = server.control().drop_object("lines", true, false).await.unwrap_err();
    assert!(matches!(missing, ControlError::NotFound { .. }), "{missing}");
    server.shutdown().await;
    // Ids are not used again, also after a restart.
    let server = start(dir.path(), 1).await;
    deploy(&server, SOURCE).await.unwrap();
    assert_eq!(server.control().get("lines").await.unwrap().object.0, 21);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_changes_nothing() {
    let dir = TempDir::new().unwrap();
    write_lines(dir.path(), "lines.csv", 100);
    let server = start(dir.path(), 1).await;
    let control = server.control();
    let refused = |text: &str| {
        let (control, text) = (control.clone(), text.to_owned());
        async move { control.deploy(script(&text), false).await.unwrap_err() }
    };
    let error = refused(&format!("{SOURCE}\n{VIEWS}\nCREATE MATERIALIZED VIEW x AS SELECT nothing FROM lines;")).await;
    let ControlError::Sql { origin, error } = &error else { panic!("{error}") };
    assert_eq!(origin, "test.sql");
    assert_eq!(error.position.map(|position| position.line), Some(5), "{error}");
    assert!(control.list().await.unwrap().is_empty());

    let error = refused("CREATE SOURCE s (a TEXT) FROM FILE (PATH 'missing.csv') FORMAT CSV").await;
    assert!(error.to_string().contains("missing.csv"), "{error}");
    assert!(control.list().await.unwrap().is_empty());

    let validated = control.deploy(script(&format!("{SOURCE}\n{VIEWS}")), true).await.unwrap();
    assert!(validated.iter().all(|outcome| outcome.action == Action::Created));
    assert!(control.list().await.unwrap().is_empty());

    deploy(&server, &format!("{SOURCE}\n{VIEWS}")).await.unwrap();
    let again = deploy(&server, &format!("{SOURCE}\n{VIEWS}")).await.unwrap();
    assert!(again.iter().all(|outcome| outcome.action == Action::Unchanged), "{again:?}");
    let error = refused("CREATE MATERIALIZED VIEW grand AS SELECT 1 AS one").await;
    assert!(error.to_string().contains("exists with another definition"), "{error}");
    let error = refused("DROP VIEW grand").await;
    assert!(error.to_string().contains("is a materialized view, not a view"), "{error}");
    let error = refused("DROP SOURCE lines").await;
    assert!(error.to_string().contains("cannot drop source \"lines\""), "{error}");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_script_answers_in_order() {
    let dir = TempDir::new().unwrap();
    write_lines(dir.path(), "lines.csv", 700);
    let server = start(dir.path(), 1).await;
    deploy(&server, SOURCE).await.unwrap();
    serving(&server, &["lines"]).await;
    let text = "CREATE MATERIALIZED VIEW n AS SELECT count(*) AS n FROM lines; SELECT n FROM n; SHOW SOURCES; \
        EXPLAIN n; SHOW CREATE n; DROP MATERIALIZED VIEW n; SHOW MATERIALIZED VIEWS; SELECT 1 + 1 AS two;";
    let outcomes = deploy(&server, text).await.unwrap();
    let answers: Vec<Vec<String>> = outcomes
        .iter()
        .map(|outcome| outcome.rows.as_ref().map(|answer| rows(&answer.1)).unwrap_or_default())
        .collect();
    assert_eq!(answers[1], ["700"]);
    assert!(answers[2][0].starts_with("lines|source|serving|700|0|"), "{answers:?}");
    assert!(!answers[3].is_empty());
    assert_eq!(answers[4], ["CREATE MATERIALIZED VIEW n AS SELECT count(*) AS n FROM lines"]);
    assert_eq!(outcomes[5].action, Action::Dropped);
    assert!(answers[6].is_empty());
    assert_eq!(answers[7], ["2"]);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn times_outside_of_history_are_refused_with_the_limit() {
    let dir = TempDir::new().unwrap();
    write_lines(dir.path(), "lines.csv", 100);
    let server = start(dir.path(), 1).await;
    deploy(&server, &format!("{SOURCE}\n{VIEWS}")).await.unwrap();
    serving(&server, &[]).await;
    let control = server.control();
    let info = control.get("grand").await.unwrap();
    let error = control.query("SELECT * FROM grand", Some(info.since - 1)).await.unwrap_err();
    assert!(matches!(error, ControlError::OutOfRange { side: "oldest", .. }), "{error}");
    let error = control.query("SELECT * FROM grand", Some(info.upper + 1_000_000)).await.unwrap_err();
    assert!(
        matches!(error, ControlError::OutOfRange { side: "newest", limit, .. } if limit >= info.upper - 1),
        "{error}"
    );
    let error = control.query("SELECT * FROM nothing", None).await.unwrap_err();
    assert!(matches!(error, ControlError::Sql { .. }), "{error}");
    let error =
        control.subscribe(SubscribeOptions { views: vec!["lines".into()], ..Default::default() }).await.unwrap_err();
    assert!(error.to_string().contains("cannot be subscribed to"), "{error}");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_records_are_rows_of_the_errors_relation() {
    let dir = TempDir::new().unwrap();
    write_lines(dir.path(), "lines.csv", 50);
    append(dir.path(), "lines.csv", "x,c1,2.00\n50,c0,many\n");
    let server = start(dir.path(), 2).await;
    let ratio = "CREATE MATERIALIZED VIEW inverse AS SELECT id, 100 / id AS part FROM lines;";
    deploy(&server, &format!("{SOURCE}\n{VIEWS}\n{ratio}")).await.unwrap();
    serving(&server, &[]).await;
    assert_eq!(server.control().get("lines").await.unwrap().errors, 2);
    assert_eq!(rows(&query(&server, "SELECT count(*) FROM \"lines$errors\"").await.batches), ["2"]);
    assert_eq!(rows(&query(&server, "SELECT count(*) FROM inverse").await.batches), ["49"]);
    let shown = deploy(&server, "SHOW ERRORS FOR inverse").await.unwrap();
    assert_eq!(rows(&shown[0].rows.as_ref().unwrap().1).len(), 1);
    let started = Instant::now();
    while server.control().get("inverse").await.unwrap().errors != 1 {
        assert!(started.elapsed() < DEADLINE, "the errors of inverse are counted");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let options = SubscribeOptions { views: vec!["inverse$errors".to_owned()], ..SubscribeOptions::default() };
    let mut events = server.control().subscribe(options).await.unwrap();
    let mut found = 0;
    while found == 0 {
        match tokio::time::timeout(DEADLINE, events.recv()).await.unwrap().unwrap() {
            SubscriptionEvent::Transition { changes, .. } => found = changes.iter().map(|c| c.rows.num_rows()).sum(),
            SubscriptionEvent::Started { .. } | SubscriptionEvent::Progress { .. } => {}
            SubscriptionEvent::Closing { reason } => panic!("{reason}"),
        }
    }
    assert_eq!(found, 1);
    append(dir.path(), "lines.csv", "0,c1,1.00\n51,c2,1.00\n");
    eventually(&server, "SELECT count(*) FROM \"inverse$errors\"", &["2".to_owned()]).await;
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_data_directory_serves_one_server() {
    let dir = TempDir::new().unwrap();
    let server = start(dir.path(), 1).await;
    let error = Server::start(config(dir.path(), 1)).await.map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("in use"), "{error}");
    server.shutdown().await;
    let server = start(dir.path(), 1).await;
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_and_metrics_are_shown() {
    let dir = TempDir::new().unwrap();
    write_lines(dir.path(), "lines.csv", 100);
    let server = start(dir.path(), 1).await;
    deploy(&server, &format!("{SOURCE}\n{VIEWS}")).await.unwrap();
    serving(&server, &[]).await;
    assert!(get(&server, "/healthz").await.starts_with("HTTP/1.1 200"));
    let started = Instant::now();
    loop {
        let (ready, metrics) = (get(&server, "/readyz").await, get(&server, "/metrics").await);
        let all = [
            "headwater_view_freshness_seconds{view=\"grand\"}",
            "headwater_source_records_total{source=\"lines\"} 100",
            "headwater_log_appended_bytes_total",
            "headwater_process_cpu_seconds_total",
            "headwater_dataflows 2",
        ];
        if ready.starts_with("HTTP/1.1 200") && all.iter().all(|metric| metrics.contains(metric)) {
            break;
        }
        assert!(started.elapsed() < DEADLINE, "{ready}\n{metrics}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    server.shutdown().await;
}

async fn get(server: &Server, path: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(server.http_addr().unwrap()).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}
