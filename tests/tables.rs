//! Tables: rows that statements bring are there when they are acknowledged, whole, and for ever; views over them follow.

mod faults;
mod views;

use std::io::Write;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use headwater_proto::client::{Client, ClientError};
use headwater_proto::v1::execute_response::Message;
use headwater_proto::v1::{Encoding, ErrorReason, ExecuteRequest, StatementText};

use crate::harness::{Headwater, Home, Outcome, WAIT_MAX, outcome, run, wait_for};

/// Runs a script as a file.
fn sql(server: &Headwater, home: &Home, text: &str) -> Result<Outcome> {
    let path = home.file("script.sql", text)?;
    server.cli([std::ffi::OsStr::new("sql"), "-f".as_ref(), path.as_os_str()])
}

/// Runs a script that must end well; what it printed.
fn sql_ok(server: &Headwater, home: &Home, text: &str) -> Result<String> {
    let outcome = sql(server, home, text)?;
    ensure!(outcome.code == 0, "{outcome:?}");
    Ok(outcome.stdout)
}

/// Carries statements out in one call; the tags of those that were acknowledged, and why it ended.
async fn execute(client: &Client, statements: &[String]) -> (Vec<String>, Result<(), ClientError>) {
    let text = |text: &String| StatementText { text: text.clone(), ..StatementText::default() };
    let texts = statements.iter().map(text).collect();
    let request = ExecuteRequest { origin: "<test>".to_owned(), texts, encoding: Encoding::Rows.into() };
    let mut tags = Vec::new();
    let mut messages = match client.execute(request).await {
        Ok(messages) => messages,
        Err(error) => return (tags, Err(error)),
    };
    loop {
        match messages.next().await {
            Ok(Some(message)) => {
                if let Some(Message::Done(done)) = message.message {
                    tags.push(done.tag);
                }
            }
            Ok(None) => return (tags, Ok(())),
            Err(error) => return (tags, Err(error)),
        }
    }
}

/// Carries one statement out, which must end well.
async fn execute_ok(client: &Client, statement: &str) -> Result<String> {
    let (mut tags, end) = execute(client, &[statement.to_owned()]).await;
    end.with_context(|| statement.to_owned())?;
    tags.pop().context("no tag")
}

#[test]
fn every_statement_prints_its_tag_or_its_rows() {
    run(|home| {
        let server = Headwater::start(home, 2)?;
        let script = "
            CREATE TABLE w (feature TEXT PRIMARY KEY, weight DOUBLE DEFAULT 0.5, at DATE); -- rows; follow
            INSERT INTO w VALUES ('a;b', 0.8, '2026-01-01'), ('b', 1, NULL);
            INSERT INTO w (feature) VALUES ('c'), ('d');
            INSERT INTO w SELECT feature || '2', weight + 1, DATE '2026-03-04' FROM w WHERE feature = 'b';
            CREATE MATERIALIZED VIEW s AS SELECT count(*) AS n, sum(weight) AS sum FROM w;
            SELECT * FROM s;
            UPDATE w SET weight = weight * 2, at = DEFAULT WHERE feature IN ('a;b', 'c');
            DELETE FROM w WHERE weight > 0.9 AND feature <> 'a;b';
            COPY w (feature, weight) FROM STDIN;
x\t1.5
y\\tz\t\\N
\\.
            COPY w FROM STDIN WITH (FORMAT csv, HEADER true);
feature,weight,at
\"q \"\"1\"\"\n;\",2.25,2026-02-02
\"\",,
\\.
            INSERT INTO w VALUES ('x', 9) ON CONFLICT DO NOTHING;
            INSERT INTO w VALUES ('x', 9), ('new', 3) ON CONFLICT (feature)
              DO UPDATE SET weight = w.weight + excluded.weight;
            SELECT feature, weight, at FROM w ORDER BY 1;
            UPDATE w SET feature = feature || '!' WHERE false;
            DELETE FROM w;
            SELECT n FROM s;
            DROP TABLE w CASCADE;
            CREATE TABLE IF NOT EXISTS w (a INT);
            CREATE TABLE IF NOT EXISTS w (b INT);
            SHOW TABLES;
        ";
        let printed = sql_ok(&server, home, script)?;
        let wanted = "CREATE TABLE\nINSERT 0 2\nINSERT 0 2\nINSERT 0 1\nCREATE MATERIALIZED VIEW\nn  sum\n------\n5  4.8\n\
                      (1 row)\nUPDATE 2\nDELETE 3\nCOPY 2\nCOPY 2\nINSERT 0 0\nINSERT 0 2\n";
        ensure!(printed.starts_with(wanted), "{printed}");
        let rows: Vec<&str> = printed.lines().filter(|line| line.contains("NULL") || line.contains("2026")).collect();
        let rows: Vec<String> = rows.iter().map(|row| row.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        let wanted = [
            "NULL NULL",
            "a;b 1.6 NULL",
            "d 0.5 NULL",
            "new 3 NULL",
            "q \"1\"\\n; 2.25 2026-02-02",
            "x 10.5 NULL",
            "y\\tz NULL NULL",
        ];
        ensure!(rows == wanted, "{rows:?}\n{printed}");
        ensure!(
            printed.contains(
                "(7 rows)\nUPDATE 0\nDELETE 7\nn\n-\n0\n(1 row)\nDROP TABLE\nCREATE TABLE\nUNCHANGED TABLE\n"
            ),
            "{printed}"
        );
        ensure!(printed.contains("\nw     table  "), "{printed}");
        Ok(())
    });
}

/// Statements that are refused, over the table `t` with one row and the view `m`, and what is said.
const REFUSED: [(&str, &[&str]); 25] = [
    ("INSERT INTO t VALUES (1, 2)", &["duplicate key value violates unique constraint \"t_pkey\"", "(k)=(1)"]),
    ("INSERT INTO t VALUES (2, 2), (2, 3)", &["duplicate key", "(k)=(2)"]),
    ("UPDATE t SET k = 7; INSERT INTO t VALUES (7, 1)", &["duplicate key", "(k)=(7)", ":2:21"]),
    ("INSERT INTO t VALUES (2, NULL)", &["null value in column \"v\" of relation \"t\" violates not-null"]),
    ("INSERT INTO t (v) VALUES (2)", &["null value in column \"k\""]),
    ("UPDATE t SET v = NULL", &["null value in column \"v\""]),
    ("INSERT INTO t VALUES (2, 99999)", &["\"99999\" is out of range for type SMALLINT", "column \"v\""]),
    ("INSERT INTO t VALUES ('x', 1)", &["invalid input syntax for type INTEGER: \"x\""]),
    ("INSERT INTO t VALUES (1, 2, 3, NULL, 5)", &["more expressions than target columns"]),
    ("INSERT INTO t (k, v) VALUES (1)", &["more target columns than expressions"]),
    ("INSERT INTO t VALUES (3, 1), (4)", &["VALUES lists must all be the same length"]),
    ("INSERT INTO t (k, nope) VALUES (1, 2)", &["column \"nope\" of relation \"t\" does not exist", ":2:19"]),
    ("INSERT INTO t (k, k) VALUES (1, 2)", &["\"k\" specified more than once", ":2:19"]),
    ("INSERT INTO nope VALUES (1)", &["relation \"nope\" does not exist", ":2:13"]),
    ("INSERT INTO m VALUES (1)", &["\"m\"", "materialized view", ":2:13"]),
    (
        "INSERT INTO t SELECT k, v, at FROM t",
        &["column \"d\" is of type NUMERIC(6, 2) but expression is of type TIMESTAMPTZ"],
    ),
    ("UPDATE t SET v = nope", &["nope", ":2:18"]),
    ("UPDATE t SET v = 1 / 0", &["Divide by zero"]),
    ("DELETE FROM t WHERE\n nope = 1", &["nope", ":3:2"]),
    ("DELETE FROM t RETURNING k", &["RETURNING", "hint"]),
    ("UPDATE t SET v = 1 FROM m", &["UPDATE … FROM", "hint"]),
    ("TRUNCATE t", &["TRUNCATE", "DELETE FROM"]),
    ("CREATE TABLE u (a INT UNIQUE)", &["UNIQUE on a table", ":2:23"]),
    ("CREATE TABLE u (a INT DEFAULT now())", &["default of column \"a\"", "literal"]),
    ("COPY t (k, v) FROM STDIN WITH (FORMAT csv);\n5,1\n6,x\n\\.", &["SMALLINT: \"x\"", "in line 2 of the data"]),
];

#[test]
fn a_statement_that_fails_says_where_and_ends_the_script() {
    run(|home| {
        let server = Headwater::start(home, 1)?;
        sql_ok(
            &server,
            home,
            "CREATE TABLE t (k INT PRIMARY KEY, v SMALLINT NOT NULL, d DECIMAL(6, 2), at TIMESTAMPTZ);
            INSERT INTO t VALUES (1, 1, 1, NULL); CREATE MATERIALIZED VIEW m AS SELECT k FROM t",
        )?;
        for (statement, words) in REFUSED {
            // Behind data there is no semicolon.
            let end = if statement.ends_with("\\.") { "" } else { ";" };
            let script = format!("SELECT 41 + 1 AS before;\n{statement}{end}\nINSERT INTO t VALUES (99, 9);");
            let failed = sql(&server, home, &script)?;
            ensure!(failed.code == 1 && failed.stdout.contains("42"), "{statement}: {failed:?}");
            let placed = failed.stderr.contains("--> ") && failed.stderr.contains("script.sql:");
            ensure!(placed && words.iter().all(|word| failed.stderr.contains(word)), "{statement}: {}", failed.stderr);
            sql_ok(&server, home, "UPDATE t SET k = 1 WHERE k = 7")?;
            let rows = server.query("SELECT k, v FROM t")?;
            ensure!(rows.rows == [["1", "1"]], "{statement} left {rows:?}");
        }
        // The others go on if that is asked for.
        let path = home.file(
            "go_on.sql",
            "INSERT INTO t VALUES (1, 1); INSERT INTO t VALUES (50, 1); nonsense; DELETE FROM t WHERE k = 50",
        )?;
        let on = server.cli([
            std::ffi::OsStr::new("sql"),
            "--on-error=continue".as_ref(),
            "-f".as_ref(),
            path.as_os_str(),
        ])?;
        ensure!(
            on.code == 1 && on.stdout == "INSERT 0 1\nDELETE 1\n" && on.stderr.matches("error:").count() == 2,
            "{on:?}"
        );
        // Over gRPC with the codes of the other refusals.
        let (tags, end) = server.runtime.block_on(execute(
            &server.client,
            &["INSERT INTO t VALUES (60, 1)".to_owned(), "INSERT INTO t VALUES (60, 1)".to_owned()],
        ));
        let Err(ClientError::Refused(refusal)) = end else { anyhow::bail!("{end:?}") };
        let reason = refusal.detail.clone().unwrap_or_default().reason();
        ensure!(tags == ["INSERT 0 1"] && reason == ErrorReason::SqlInvalid, "{tags:?} {refusal:?}");
        Ok(())
    });
}

#[test]
fn thousands_of_statements_in_one_call_take_seconds() {
    run(|home| {
        const ROWS: usize = 5_000;
        let server = Headwater::start(home, 2)?;
        let mut script = "CREATE TABLE t (id BIGINT PRIMARY KEY, v INT, name TEXT);
            CREATE MATERIALIZED VIEW s AS SELECT count(*) AS n, sum(v) AS sum FROM t;\n"
            .to_owned();
        (0..ROWS).for_each(|id| script.push_str(&format!("INSERT INTO t VALUES ({id}, {}, 'row {id}');\n", id % 7)));
        script.push_str("SELECT n, sum FROM s;\n");
        let begun = Instant::now();
        let printed = sql_ok(&server, home, &script)?;
        let took = begun.elapsed();
        eprintln!("{ROWS} INSERTs of one row, each a tick: {:.1} s", took.as_secs_f64());
        ensure!(took.as_secs() < 60, "{took:?}");
        ensure!(printed.matches("INSERT 0 1\n").count() == ROWS, "not every statement was acknowledged");
        let sum: usize = (0..ROWS).map(|id| id % 7).sum();
        ensure!(printed.contains(&format!("{ROWS}  {sum}")), "{}", &printed[printed.len() - 100..]);
        // Each was a tick of its own.
        ensure!(server.metric("headwater_ticks_total")? >= ROWS as f64, "ticks were put together");
        Ok(())
    });
}

#[test]
fn a_shell_through_a_pipe_knows_commands_and_data() {
    run(|home| {
        let server = Headwater::start(home, 1)?;
        let mut command = server.command(["sql"])?;
        let mut shell = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let typed = "CREATE TABLE t (a INT NOT NULL, b TEXT);\n\\d t\nCOPY t FROM STDIN;\n1\tx;\n2\t'\n\\.\n\\dt\nSELECT count(*)\n  AS n FROM t;\\q\nnonsense;\n";
        shell.stdin.take().context("no input")?.write_all(typed.as_bytes())?;
        let output = shell.wait_with_output()?;
        let printed = String::from_utf8(output.stdout)?;
        ensure!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
        for piece in ["CREATE TABLE\n", "a       INT   NOT NULL\n", "COPY 2\n", "t     table  ", "n\n-\n2\n(1 row)\n"] {
            ensure!(printed.contains(piece), "{piece:?} is missing in\n{printed}");
        }
        // Texts as arguments, and other forms of the answer.
        let json =
            server.cli_ok(["sql", "-o", "json", "-c", "INSERT INTO t VALUES (3, 'z'); SELECT * FROM t WHERE a = 3"])?;
        ensure!(json == "{\"a\":3,\"b\":\"z\"}\n", "{json}");
        let wrong = outcome(&mut server.command(["sql", "-c", "SELECT 1;\n  \\nope"])?)?;
        ensure!(wrong.code == 1 && wrong.stderr.contains("there is no command \\nope"), "{wrong:?}");
        Ok(())
    });
}

#[test]
fn a_table_is_listed_described_explained_and_dropped() {
    run(|home| {
        let server = Headwater::start(home, 2)?;
        sql_ok(
            &server,
            home,
            "CREATE TABLE t (a INT PRIMARY KEY, b TEXT); INSERT INTO t VALUES (1, 'x'), (2, 'y');
            CREATE VIEW v AS SELECT a FROM t; CREATE MATERIALIZED VIEW m AS SELECT count(*) AS n FROM v",
        )?;
        wait_for("a table that serves", WAIT_MAX, || {
            let listed = server.cli_ok(["list", "-o", "csv"])?;
            Ok(listed.lines().any(|line| line.starts_with("t,table,serving,2,0")).then_some(()))
        })?;
        let told: serde_json::Value = serde_json::from_str(&server.cli_ok(["describe", "t", "-o", "json"])?)?;
        ensure!(told["kind"] == "table" && told["columns"][0]["nullable"] == false, "{told}");
        let plan = server.cli_ok(["explain", "m"])?;
        ensure!(plan.contains("Get t (shared import, with retractions)"), "{plan}");
        wait_for("a healthy server", WAIT_MAX, || Ok((server.cli(["status"])?.code == 0).then_some(())))?;
        wait_for("the metrics of the table", WAIT_MAX, || {
            let metrics = server.http_get("/metrics")?;
            Ok(metrics.contains("headwater_table_rows_written_total{table=\"t\"} 2").then_some(()))
        })?;
        let refused = sql(&server, home, "DROP TABLE t")?;
        ensure!(refused.stderr.contains("m") && refused.stderr.contains("CASCADE"), "{refused:?}");
        let refused = sql(&server, home, "DROP VIEW t")?;
        ensure!(refused.stderr.contains("\"t\" is a table"), "{refused:?}");
        sql_ok(&server, home, "DROP TABLE t CASCADE; DROP TABLE IF EXISTS t")?;
        wait_for("no dataflow and no log", WAIT_MAX, || {
            let logs = std::fs::read_dir(home.data().join("log"))?.count();
            Ok((server.metric("headwater_dataflows")? == 0.0 && logs == 0).then_some(()))
        })?;
        // What comes under the name begins anew.
        let printed = sql_ok(
            &server,
            home,
            "CREATE TABLE t (a INT); INSERT INTO t VALUES (1), (1); SELECT count(*) AS n FROM t",
        )?;
        ensure!(printed.ends_with("n\n-\n2\n(1 row)\n"), "{printed}");
        Ok(())
    });
}

#[test]
fn a_deployment_creates_a_table_with_its_first_rows_and_nothing_more() {
    run(|home| {
        let mut server = Headwater::start(home, 2)?;
        let deploy = |server: &Headwater, text: &str| -> Result<Outcome> {
            let path = home.file("deployed.sql", text)?;
            server.cli([std::ffi::OsStr::new("deploy"), "-o".as_ref(), "csv".as_ref(), path.as_os_str()])
        };
        let text = "CREATE TABLE w (k TEXT PRIMARY KEY, x DOUBLE);
            INSERT INTO w VALUES ('a', 1), ('b', 2);
            INSERT INTO w (k) VALUES ('c');
            CREATE MATERIALIZED VIEW s AS SELECT count(*) AS n, sum(x) AS sum FROM w;";
        let first = deploy(&server, text)?;
        ensure!(first.code == 0 && first.stdout.matches("inserted,table,w").count() == 2, "{first:?}");
        let sums = server.query("SELECT n, CAST(sum AS INT) AS sum FROM s")?;
        ensure!(sums.rows == [["3", "3"]], "{sums:?}");
        sql_ok(
            &server,
            home,
            "UPDATE w SET x = 10 WHERE k = 'c'; DELETE FROM w WHERE k = 'a'; INSERT INTO w VALUES ('a', 5)",
        )?;
        let again = deploy(&server, text)?;
        ensure!(again.code == 0 && again.stdout.matches("unchanged").count() == 4, "{again:?}");
        server.replace_by_kill(home, 1)?;
        let sums = server.query("SELECT n, CAST(sum AS INT) AS sum FROM s")?;
        ensure!(sums.rows == [["3", "17"]], "{sums:?}");
        let refused: [(&str, &str, &str); 6] = [
            ("INSERT INTO w VALUES ('z', 1)", "INSERT in a deployment", "headwater sql"),
            ("DELETE FROM w", "DELETE in a deployment", "headwater sql"),
            ("CREATE TABLE u (a INT);\nSELECT 1;\nINSERT INTO u VALUES (1)", "INSERT in a deployment", ":3:13"),
            ("CREATE TABLE u (a INT);\nINSERT INTO u SELECT 1", "INSERT in a deployment", ":2:13"),
            ("CREATE TABLE u (a INT PRIMARY KEY);\nINSERT INTO u VALUES (1), (1)", "duplicate key", ":2:13"),
            ("CREATE TABLE u (a INT NOT NULL);\nINSERT INTO u VALUES (NULL)", "null value in column \"a\"", ":2:13"),
        ];
        for (text, message, other) in refused {
            let refused = deploy(&server, text)?;
            ensure!(refused.code == 1 && refused.stderr.contains(message), "{text}: {refused:?}");
            ensure!(refused.stderr.contains(other), "{text}: {refused:?}");
        }
        let listed = server.cli_ok(["list", "-o", "csv"])?;
        ensure!(listed.lines().count() == 3, "something was created: {listed}");
        Ok(())
    });
}
