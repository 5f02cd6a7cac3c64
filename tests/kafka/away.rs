//! Brokers that are away: refused when a source is created, waited for and shown afterwards; secrets stay outside.

use anyhow::{Result, ensure};

use super::{sale, sales, totals, wait_for_sales, wait_for_state};
use crate::harness::{Headwater, Home, WAIT_MAX, run, serve, wait_for};
use crate::services::free_port;
use crate::services::kafka::with_broker;

/// A deployment that must be refused for a reason that holds `words`.
fn check_refused(server: &Headwater, home: &Home, script: &str, words: &[&str]) -> Result<()> {
    let path = home.file("refused.sql", script)?;
    let refused = server.cli([std::ffi::OsStr::new("deploy"), path.as_os_str()])?;
    ensure!(refused.code == 1 && words.iter().all(|word| refused.stderr.contains(word)), "{refused:?}");
    Ok(())
}

#[test]
fn kafka_brokers_that_are_away_are_waited_for_visibly() {
    run(|home| {
        with_broker(|broker| {
            let topic = "away";
            broker.create_topic(topic, 2)?;
            let server = Headwater::start(home, 2)?;
            let script = sales(broker, "sold", topic, "", "") + &totals("totals", "sold");
            server.deploy(home, "s.sql", &script)?;
            for (round, at_once) in [(0, false), (1, true)] {
                broker.stop(at_once)?;
                wait_for_state(&server, "sold", "catching up", "the brokers of topic away do not answer")?;
                wait_for("the metric", WAIT_MAX, || {
                    let metrics = server.http_get("/metrics")?;
                    Ok(metrics.contains("headwater_source_waiting{source=\"sold\"} 1").then_some(()))
                })?;
                let status = server.cli(["status"])?;
                ensure!(status.code == 1 && status.stdout.contains("do not answer"), "{status:?}");
                ensure!(server.query("SELECT lines FROM totals")?.cell("lines")? == (round * 10).to_string());
                broker.start()?;
                let records = broker.producer("snappy")?;
                for id in round * 10..round * 10 + 10 {
                    records.value(topic, (id % 2) as i32, &sale(id).0)?;
                }
                records.flush()?;
                wait_for_sales(&server, "totals", 0..round * 10 + 10)?;
                wait_for_state(&server, "sold", "serving", "")?;
            }
            Ok(())
        })
    });
}

#[test]
fn kafka_what_cannot_be_read_is_refused_when_it_is_created() {
    run(|home| {
        with_broker(|broker| {
            let server = Headwater::start(home, 1)?;
            let source = |brokers: &str, topic: &str, options: &str| {
                format!(
                    "CREATE SOURCE s (id INT) FROM KAFKA (BROKERS '{brokers}', TOPIC '{topic}'{options}) FORMAT JSON;"
                )
            };
            let (here, nowhere) = (broker.address(), format!("127.0.0.1:{}", free_port()?));
            check_refused(
                &server,
                home,
                &source(&here, "not-there", ""),
                &["topic not-there does not exist at", &here],
            )?;
            check_refused(&server, home, &source(&nowhere, "t", ""), &["do not answer", &nowhere])?;
            broker.create_topic("refused", 1)?;
            let options = ", START OFFSET 7";
            check_refused(
                &server,
                home,
                &source(&here, "refused", options),
                &["offsets 0 to 0 in partition 0, not 7"],
            )?;
            let options = ", 'client.rack' '${NOT_SET}'";
            check_refused(&server, home, &source(&here, "refused", options), &["client.rack names ${NOT_SET}"])?;
            let options = ", 'no.such.property' 'x'";
            check_refused(&server, home, &source(&here, "refused", options), &["no.such.property"])?;
            let options = ", 'sasl.password' 'x'";
            check_refused(&server, home, &source(&here, "refused", options), &["a secret is never stored"])?;
            let options = ", 'sasl.mechanism' 'GSSAPI'";
            check_refused(&server, home, &source(&here, "refused", options), &["mechanisms are PLAIN, SCRAM-SHA-256"])?;
            if cfg!(not(feature = "kafka-tls")) {
                let options = ", 'security.protocol' 'SSL'";
                let said = ["property security.protocol", "not supported in this build", "--features kafka-tls"];
                check_refused(&server, home, &source(&here, "refused", options), &said)?;
            }
            let listed = server.cli_ok(["list", "-o", "csv"])?;
            ensure!(listed.lines().count() == 1, "something was created: {listed}");
            Ok(())
        })
    });
}

#[test]
fn kafka_values_of_the_environment_are_read_and_not_kept() {
    run(|home| {
        with_broker(|broker| {
            let (topic, secret) = ("environment", "a-word-that-stays-outside");
            broker.create_topic(topic, 1)?;
            let mut command = serve(home, 1)?;
            command.env("TEST_BROKERS", broker.address()).env("TEST_RACK", secret).env("RUST_LOG", "debug");
            let server = Headwater::spawn(home, command)?;
            let script = format!(
                "CREATE SOURCE sold (id BIGINT NOT NULL, shop TEXT NOT NULL, amount DECIMAL(12, 2) NOT NULL)
                   FROM KAFKA (BROKERS '${{TEST_BROKERS}}', TOPIC '{topic}', 'client.rack' '${{TEST_RACK}}') FORMAT JSON;"
            );
            server.deploy(home, "s.sql", &(script + &totals("totals", "sold")))?;
            broker.producer("none").and_then(|records| {
                records.value(topic, 0, &sale(0).0)?;
                records.flush()
            })?;
            wait_for_sales(&server, "totals", 0..1)?;
            ensure!(server.cli_ok(["describe", "sold"])?.contains("${TEST_RACK}"));
            server.kill()?;
            let kept = std::process::Command::new("grep").args(["-rl", secret]).arg(home.path()).output()?;
            ensure!(kept.stdout.is_empty(), "kept in {}", String::from_utf8_lossy(&kept.stdout));
            Ok(())
        })
    });
}

#[test]
fn kafka_brokers_that_do_not_answer_hold_up_nobody_else() {
    run(|home| {
        let server = Headwater::start(home, 1)?;
        // Whoever listens there accepts connections and says nothing.
        let silent = std::net::TcpListener::bind("127.0.0.1:0")?;
        let script =
            format!("CREATE SOURCE s (id INT) FROM KAFKA (BROKERS '{}', TOPIC 't') FORMAT JSON;", silent.local_addr()?);
        let path = home.file("silent.sql", script)?;
        let mut waiting = server.command([std::ffi::OsStr::new("deploy"), path.as_os_str()])?;
        let mut waiting = waiting.stderr(std::process::Stdio::piped()).stdout(std::process::Stdio::null()).spawn()?;
        // The deployment has reached the server when the client of its source knocks.
        let _held = silent.accept()?;
        server.deploy(home, "view.sql", "CREATE MATERIALIZED VIEW one AS SELECT 1 AS n")?;
        ensure!(server.query("SELECT n FROM one")?.cell("n")? == "1");
        ensure!(waiting.try_wait()?.is_none(), "the brokers were given up before anybody else was served");
        let refused = waiting.wait_with_output()?;
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        ensure!(!refused.status.success() && said.contains("do not answer"), "{said}");
        Ok(())
    })
}
