//! TLS and SASL: what is right is read, what is wrong says so and is waited for, and secrets are nowhere.

use anyhow::{Result, ensure};

use super::{sale, totals, wait_for_sales, wait_for_state};
use crate::harness::{Headwater, Home, run, serve};
use crate::services::kafka::tls::{PASSWORD, USER};
use crate::services::kafka::{Broker, with_broker};

/// A source `name` over the sales of `topic`, at `address`, with properties of the client.
fn source(name: &str, topic: &str, address: &str, properties: &str) -> String {
    format!(
        "CREATE SOURCE {name} (id BIGINT NOT NULL, shop TEXT NOT NULL, amount DECIMAL(12, 2) NOT NULL)
           FROM KAFKA (BROKERS '{address}', TOPIC '{topic}', {properties}) FORMAT JSON;"
    )
}

fn with_tls(authority: &str) -> String {
    format!("'security.protocol' 'SSL', 'ssl.ca.location' '{authority}'")
}

/// The properties of a user whose password is in the environment, and the authority too.
fn with_password(mechanism: &str) -> String {
    format!(
        "'security.protocol' 'SASL_SSL', 'ssl.ca.location' '${{TEST_AUTHORITY}}', 'sasl.mechanism' '{mechanism}',
         'sasl.username' '{USER}', 'sasl.password' '${{TEST_PASSWORD}}'"
    )
}

fn fill(broker: &Broker, topic: &str, ids: std::ops::Range<i64>) -> Result<()> {
    let records = broker.producer("lz4")?;
    ids.into_iter().try_for_each(|id| records.value(topic, (id % 2) as i32, &sale(id).0))?;
    records.flush()
}

/// A server that knows a password and an authority, and writes down everything it can.
fn start(home: &Home, password: &str, authority: &str) -> Result<Headwater> {
    let mut command = serve(home, 2)?;
    command
        .env("TEST_PASSWORD", password)
        .env("TEST_AUTHORITY", authority)
        .env("HEADWATER__LOG__FILTER", "trace,h2=info");
    Headwater::spawn(home, command)
}

fn refused(server: &Headwater, home: &Home, script: &str, words: &[&str]) -> Result<()> {
    let path = home.file("refused.sql", script)?;
    let refused = server.cli([std::ffi::OsStr::new("deploy"), path.as_os_str()])?;
    ensure!(refused.code == 1 && words.iter().all(|word| refused.stderr.contains(word)), "{refused:?}");
    Ok(())
}

/// Neither what is stored nor what is logged holds the word.
fn kept_nowhere(home: &Home, word: &str) -> Result<()> {
    let kept = std::process::Command::new("grep").args(["-rl", word]).arg(home.path()).output()?;
    ensure!(kept.stdout.is_empty(), "kept in {}", String::from_utf8_lossy(&kept.stdout));
    Ok(())
}

#[test]
fn kafka_tls_and_passwords_of_both_mechanisms_are_understood() {
    run(|home| {
        with_broker(|broker| {
            let topic = "protected";
            broker.create_topic(topic, 2)?;
            fill(broker, topic, 0..100)?;
            let tls = broker.tls();
            let server = start(home, PASSWORD, &tls.authority_file())?;
            let script = source("a", topic, &tls.address(), &with_tls(&tls.authority_file()))
                + &source("b", topic, &tls.sasl_address(), &with_password("PLAIN"))
                + &source("c", topic, &tls.sasl_address(), &with_password("SCRAM-SHA-256"))
                + &totals("ta", "a")
                + &totals("tb", "b")
                + &totals("tc", "c");
            server.deploy(home, "s.sql", &script)?;
            for view in ["ta", "tb", "tc"] {
                wait_for_sales(&server, view, 0..100)?;
            }
            let described = server.cli_ok(["describe", "c"])? + &server.cli_ok(["describe", "c", "-o", "json"])?;
            ensure!(described.contains("${TEST_PASSWORD}") && !described.contains(PASSWORD), "{described}");
            server.kill()?;
            kept_nowhere(home, PASSWORD)
        })
    });
}

#[test]
fn kafka_a_wrong_password_or_authority_is_said_and_waited_for() {
    run(|home| {
        with_broker(|broker| {
            let topic = "wrongly-protected";
            broker.create_topic(topic, 2)?;
            fill(broker, topic, 0..50)?;
            let tls = broker.tls();
            let wrong = "another-pw-that-nobody-may-see";
            let server = start(home, PASSWORD, &tls.authority_file())?;
            let script = source("a", topic, &tls.sasl_address(), &with_password("SCRAM-SHA-256"))
                + &super::sales(broker, "open", topic, "", "")
                + &totals("ta", "a")
                + &totals("topen", "open");
            server.deploy(home, "s.sql", &script)?;
            wait_for_sales(&server, "ta", 0..50)?;
            let distrusted = source("d", topic, &tls.address(), &with_tls(&tls.other_authority_file()));
            refused(&server, home, &distrusted, &["cannot be talked to", "SSL handshake failed", "certificate"])?;
            server.kill()?;

            // The source is there already: it waits and says why, and the other goes on.
            let server = start(home, wrong, &tls.authority_file())?;
            wait_for_state(&server, "a", "catching up", "SASL authentication error")?;
            let status = server.cli(["status"])?;
            ensure!(status.code == 1 && status.stdout.contains("SASL authentication error"), "{status:?}");
            refused(
                &server,
                home,
                &source("e", topic, &tls.sasl_address(), &with_password("PLAIN")),
                &["cannot be talked to", "SASL authentication error", "are the user, the password"],
            )?;
            fill(broker, topic, 50..60)?;
            wait_for_sales(&server, "topen", 0..60)?;
            ensure!(server.query("SELECT lines FROM ta")?.cell("lines")? == "50", "the views are not readable");
            server.kill()?;
            let server = start(home, PASSWORD, &tls.other_authority_file())?;
            wait_for_state(&server, "a", "catching up", "SSL handshake failed")?;
            server.kill()?;

            let server = start(home, PASSWORD, &tls.authority_file())?;
            wait_for_sales(&server, "ta", 0..60)?;
            wait_for_state(&server, "a", "serving", "")?;
            server.kill()?;
            kept_nowhere(home, PASSWORD)?;
            kept_nowhere(home, wrong)
        })
    });
}
