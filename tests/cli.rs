//! The command line: forms of output, exit codes, refusals with their place, signals, health.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};

use crate::data::workspace;
use crate::harness::{Headwater, Home, headwater, outcome, run};

const VALUES: &str = "\
id,text,amount,ratio,day,at,flag
1,plain,10.50,0.25,2011-12-09,2011-12-09T12:50:00Z,true
2,\"say \"\"hi\"\", twice\",-0.01,1e3,2012-02-29,2011-12-09T12:50:00.125Z,false
3,,,,,,
4,\"\",0.00,-0.0,1969-12-31,1969-12-31T23:59:59.999999Z,
";

const SOURCES: &str = "
    CREATE SOURCE vals (
      id BIGINT NOT NULL, text TEXT, amount DECIMAL(12, 2), ratio DOUBLE, day DATE, at TIMESTAMPTZ, flag BOOLEAN
    ) FROM FILE (PATH 'vals.csv') FORMAT CSV;
    CREATE VIEW named AS SELECT id, text FROM vals WHERE text IS NOT NULL;
    CREATE MATERIALIZED VIEW kept AS SELECT * FROM vals;
    CREATE MATERIALIZED VIEW by_flag AS SELECT flag, count(*) AS n, sum(amount) AS amount FROM vals GROUP BY flag;
";

fn with_values(home: &Home) -> Result<Headwater> {
    home.file("vals.csv", VALUES)?;
    let server = Headwater::start(home, 2)?;
    server.deploy(home, "vals.sql", SOURCES)?;
    Ok(server)
}

#[test]
fn every_form_of_output_is_exact() {
    run(|home| {
        let server = with_values(home)?;
        let csv = server.cli_ok(["query", "-o", "csv", "SELECT * FROM kept ORDER BY id"])?;
        let expected = "\
id,text,amount,ratio,day,at,flag
1,plain,10.50,0.25,2011-12-09,2011-12-09T12:50:00Z,true
2,\"say \"\"hi\"\", twice\",-0.01,1000,2012-02-29,2011-12-09T12:50:00.125Z,false
3,,,,,,
4,\"\",0.00,0,1969-12-31,1969-12-31T23:59:59.999999Z,
";
        ensure!(csv == expected, "{csv}");
        let json = server.cli_ok([
            "query",
            "-o",
            "json",
            "SELECT id, text, amount, at FROM kept WHERE id IN (2, 3) ORDER BY id",
        ])?;
        let lines: Vec<serde_json::Value> = json.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        ensure!(
            lines.len() == 2 && lines[0]["text"] == "say \"hi\", twice" && lines[0]["at"] == "2011-12-09T12:50:00.125Z",
            "{json}"
        );
        ensure!(lines[1]["text"].is_null() && lines[1]["amount"].is_null(), "{json}");
        let table = server.cli_ok(["query", "SELECT flag, n, amount FROM by_flag WHERE flag ORDER BY flag"])?;
        ensure!(table.contains("true") && table.contains("10.50") && table.contains("flag"), "{table}");
        Ok(())
    });
}

#[test]
fn the_same_text_changes_nothing_and_another_is_refused() {
    run(|home| {
        let server = with_values(home)?;
        let path = home.path().join("vals.sql");
        let again = server.cli_ok(["deploy".as_ref(), path.as_os_str()])?;
        ensure!(again.matches("unchanged").count() == 4, "{again}");
        let other = home.file(
            "other.sql",
            "CREATE MATERIALIZED VIEW by_flag AS SELECT flag, count(*) AS n FROM vals GROUP BY flag;",
        )?;
        let refused = server.cli(["deploy".as_ref(), other.as_os_str()])?;
        ensure!(refused.code == 1 && refused.stderr.contains("by_flag"), "{refused:?}");
        let checked = server.cli_ok(["deploy".as_ref(), "--dry-run".as_ref(), path.as_os_str()])?;
        ensure!(checked.contains("unchanged"), "{checked}");
        Ok(())
    });
}

#[test]
fn dropping_respects_dependents() {
    run(|home| {
        let server = with_values(home)?;
        let refused = server.cli(["drop", "vals"])?;
        ensure!(
            refused.code == 1 && refused.stderr.contains("by_flag") && refused.stderr.contains("kept"),
            "{refused:?}"
        );
        let dropped = server.cli_ok(["drop", "--cascade", "vals"])?;
        ensure!(["vals", "named", "kept", "by_flag"].iter().all(|name| dropped.contains(name)), "{dropped}");
        ensure!(server.cli_ok(["list", "-o", "csv"])?.lines().count() == 1, "something is left");
        ensure!(server.cli(["drop", "vals"])?.code == 1);
        ensure!(server.cli(["drop", "--if-exists", "vals"])?.code == 0);
        Ok(())
    });
}

#[test]
fn the_catalog_describes_itself() {
    run(|home| {
        let server = with_values(home)?;
        let list = server.cli_ok(["list", "-o", "csv"])?;
        ensure!(list.contains("vals,source,serving") && list.contains("kept,materialized view,serving"), "{list}");
        let described = server.cli_ok(["describe", "by_flag"])?;
        ensure!(described.contains("DECIMAL") && described.contains("vals"), "{described}");
        for target in ["by_flag", "SELECT flag FROM vals GROUP BY flag"] {
            let plan = server.cli_ok(["explain", target])?;
            ensure!(plan.to_lowercase().contains("vals"), "{plan}");
        }
        let status = server.cli_ok(["status"])?;
        ensure!(status.contains("serving"), "{status}");
        Ok(())
    });
}

#[test]
fn a_subscription_prints_snapshot_and_changes() {
    run(|home| {
        let server = with_values(home)?;
        let (at, _) = server.query_now("SELECT * FROM by_flag")?;
        let until = (at + 1).to_string();
        let text = server.cli_ok(["subscribe", "-o", "csv", "--until-progress", &until, "by_flag"])?;
        let mut lines = text.lines();
        ensure!(lines.next() == Some("time,diff,flag,n,amount"), "{text}");
        ensure!(lines.clone().count() == 3 && lines.all(|line| line.contains(",1,")), "{text}");
        Ok(())
    });
}

#[test]
fn exit_codes_tell_usage_from_refusal() {
    run(|home| {
        for args in
            [&["nonsense"][..], &["query"], &["deploy", "--no-such-flag", "x.sql"], &["serve", "--workers", "many"]]
        {
            let wrong = outcome(headwater()?.args(args))?;
            ensure!(wrong.code == 2, "{args:?}: {wrong:?}");
        }
        let nobody = outcome(headwater()?.args(["--server", "http://127.0.0.1:1", "list"]))?;
        ensure!(nobody.code == 1 && nobody.stderr.contains("127.0.0.1:1"), "{nobody:?}");
        let server = with_values(home)?;
        let wrong = server.cli(["query", "SELECT id,\n  nothing FROM kept"])?;
        ensure!(wrong.code == 1 && wrong.stderr.contains(":2:3") && wrong.stderr.contains("nothing"), "{wrong:?}");
        let missing = server.cli(["describe", "nobody"])?;
        ensure!(missing.code == 1 && missing.stderr.contains("nobody"), "{missing:?}");
        let unreadable = server.cli(["deploy", "no such file.sql"])?;
        ensure!(unreadable.code == 1 && unreadable.stderr.contains("no such file.sql"), "{unreadable:?}");
        Ok(())
    });
}

#[test]
fn health_metrics_and_sigterm() {
    run(|home| {
        let server = with_values(home)?;
        for (path, word) in
            [("/healthz", "200 OK"), ("/readyz", "200 OK"), ("/metrics", "headwater_ready 1"), ("/none", "404")]
        {
            let answer = server.http_get(path)?;
            ensure!(answer.contains(word), "{path}: {answer}");
        }
        let status = server.stop()?;
        ensure!(status.code() == Some(0), "{status}");
        Ok(())
    });
}

#[test]
fn every_metric_is_documented() {
    run(|home| {
        let server = with_values(home)?;
        let metrics = server.http_get("/metrics")?;
        let said: BTreeSet<&str> =
            metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        let page = std::fs::read_to_string(workspace().join("docs/metrics.md"))?;
        let names = page.lines().filter_map(|line| line.strip_prefix("| `")?.split(['`', '{']).next());
        let documented: BTreeSet<&str> = names.collect();
        ensure!(
            said == documented,
            "only one of server and docs/metrics.md has {:?}",
            said.symmetric_difference(&documented)
        );
        Ok(())
    });
}

#[test]
fn the_configuration_says_where_each_value_came_from() {
    run(|home| {
        home.file("headwater.toml", "[engine]\nhistory = \"5m\"\n")?;
        let mut command = headwater()?;
        command.current_dir(home.path()).env("HEADWATER__INGEST__TICK_ROWS_MAX", "77").args([
            "config",
            "--workers",
            "3",
        ]);
        let said = outcome(&mut command)?;
        ensure!(said.code == 0, "{said:?}");
        let line = |key: &str| said.stdout.lines().find(|line| line.trim_start().starts_with(key)).unwrap_or_default();
        ensure!(line("history").contains("5m") && line("history").contains("headwater.toml"), "{}", said.stdout);
        ensure!(
            line("tick_rows_max").contains("77") && line("tick_rows_max").contains("HEADWATER__INGEST"),
            "{}",
            said.stdout
        );
        ensure!(line("workers").contains('3') && line("workers").contains("--workers"), "{}", said.stdout);
        home.file("headwater.toml", "[engine]\nhistroy = \"5m\"\n")?;
        let wrong = outcome(headwater()?.current_dir(home.path()).arg("config"))?;
        ensure!(wrong.code != 0 && wrong.stderr.contains("histroy"), "{wrong:?}");
        Ok(())
    });
}
