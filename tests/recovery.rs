//! After kill -9 at any moment a restarted server goes on as if nothing had happened; damage is refused by name.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::data::{online_retail, unpack};
use crate::harness::{Feed, Headwater, Home, Starting, WAIT_MAX, run, wait_for};
use crate::retail::{check_views, deploy_example, sources_over};

/// How often the server is killed.
const KILLS: usize = 20;

/// Lines written at once.
const PIECE: usize = 400;

/// The longest time that a server is left to recover before it is killed again.
const RECOVERY_CUT_MAX_MS: u64 = 1_500;

/// Writes the feed in pieces, as slowly as the receiver of the piece numbers takes them.
fn write_slowly(mut feed: Feed) -> Receiver<usize> {
    let (tell, pieces) = channel();
    std::thread::spawn(move || {
        let mut line = 0;
        while line < feed.lines() {
            line = (line + PIECE).min(feed.lines());
            let written = feed.write(line);
            if written.is_err() || tell.send(line).is_err() {
                return;
            }
            // The pace of the replay: a shop does not write a year at once.
            std::thread::park_timeout(Duration::from_millis(4));
        }
    });
    pieces
}

#[test]
fn twenty_kills_on_the_way_change_nothing() {
    let Some(dir) = online_retail("twenty_kills_on_the_way_change_nothing") else { return };
    run(|home| {
        let mut rng = ChaCha8Rng::seed_from_u64(20);
        let feed = Feed::create(&home.path().join("online_retail.csv"), unpack(&dir.join("online_retail.csv.zst"))?)?;
        let lines = feed.lines();
        let mut server = Headwater::start(home, 2)?;
        deploy_example(&server, home, &sources_over("online_retail.csv", ", FOLLOW true")?)?;
        let pieces = write_slowly(feed);
        let mut written = 0;
        for kill in 1..=KILLS {
            // The moment: when so many lines are written, wherever the server is with them.
            let moment = rng.random_range(lines * (kill - 1) / KILLS..=lines * kill / KILLS);
            while written < moment {
                written = pieces.recv_timeout(WAIT_MAX).context("the feed does not grow")?;
            }
            server.kill()?;
            if kill % 4 == 0 {
                // Again, while it recovers.
                let limit = Duration::from_millis(rng.random_range(1..RECOVERY_CUT_MAX_MS));
                Starting::spawn(home, 2)?.kill_within(limit)?;
            }
            server = Headwater::start(home, [1, 2, 4][kill % 3])?;
        }
        while written < lines {
            written = pieces.recv_timeout(WAIT_MAX).context("the feed does not grow")?;
        }
        check_views(&server, server.wait_for_lines(lines)?, &dir, "full")?;
        let status = server.stop()?;
        ensure!(status.success(), "after SIGTERM the server ended with {status}");
        Ok(())
    });
}

/// A server with a small followed source and a view, so that there is something to damage.
fn small(home: &Home) -> Result<(Headwater, Feed)> {
    let mut text = "id,amount\n".to_owned();
    (1..=3_000).for_each(|id| text.push_str(&format!("{id},{}.25\n", id % 97)));
    let mut feed = Feed::create(&home.path().join("amounts.csv"), text.into_bytes())?;
    let server = Headwater::start(home, 2)?;
    server.deploy(
        home,
        "small.sql",
        "CREATE SOURCE amounts (id BIGINT NOT NULL, amount DECIMAL(12, 2) NOT NULL)
           FROM FILE (PATH 'amounts.csv', FOLLOW true) FORMAT CSV;
         CREATE MATERIALIZED VIEW totals AS SELECT count(*) AS lines, sum(amount) AS amount FROM amounts;",
    )?;
    for line in (500..=3_000).step_by(500) {
        feed.write(line)?;
        server.wait_for_lines(line)?;
    }
    Ok((server, feed))
}

/// The answer that all recoveries must give.
fn check_small(server: &Headwater) -> Result<()> {
    server.wait_for_lines(3_000)?;
    let expected: i64 = (1..=3_000).map(|id| id % 97 * 100 + 25).sum();
    let got = server.query("SELECT amount FROM totals")?;
    ensure!(got.cell("amount")? == format!("{}.{:02}", expected / 100, expected % 100), "{got:?}");
    Ok(())
}

/// The segments under `data/<folder>`, in order.
fn segments(home: &Home, folder: &str) -> Result<Vec<PathBuf>> {
    fn collect(dir: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
        for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() { collect(&path, found)? } else { found.push(path) }
        }
        Ok(())
    }
    let mut found = Vec::new();
    collect(&home.data().join(folder), &mut found)?;
    found.retain(|path| path.extension().is_some_and(|extension| extension == "seg"));
    found.sort();
    ensure!(!found.is_empty(), "no segments in {folder}");
    Ok(found)
}

/// The server must refuse to start, naming `file` and each of `words`.
fn check_refused(home: &Home, file: &Path, words: &[&str]) -> Result<()> {
    let (code, said) = Starting::spawn(home, 2)?.refused()?;
    ensure!(code == 1, "exit code {code}: {said}");
    let last = said.lines().rev().find(|line| line.contains("error")).context("no error in the log")?;
    let name = file.file_name().context("a file name")?.to_string_lossy().into_owned();
    ensure!(said.contains(&name), "{last} does not name {name}");
    for word in words {
        ensure!(said.contains(word), "{last} does not say {word}");
    }
    Ok(())
}

#[test]
fn a_torn_tail_is_cut() {
    run(|home| {
        let (server, _feed) = small(home)?;
        server.kill()?;
        for folder in ["log", "bind"] {
            for path in segments(home, folder)? {
                let mut bytes = fs::read(&path)?;
                // The beginning of a frame that was not written to its end.
                let torn = bytes[bytes.len() / 2..].iter().copied().take(37).collect::<Vec<u8>>();
                bytes.extend_from_slice(&torn);
                fs::write(&path, &bytes)?;
            }
        }
        let server = Headwater::start(home, 2)?;
        check_small(&server)
    });
}

#[test]
fn damage_before_the_tail_is_refused_by_name() {
    run(|home| {
        let (server, _feed) = small(home)?;
        server.kill()?;
        for folder in ["log", "bind"] {
            let path = segments(home, folder)?.remove(0);
            let intact = fs::read(&path)?;
            let mut damaged = intact.clone();
            let middle = damaged.len() / 2;
            damaged[middle] ^= 0x40;
            fs::write(&path, &damaged)?;
            check_refused(home, &path, &[])?;
            fs::write(&path, &intact)?;
        }
        let server = Headwater::start(home, 2)?;
        check_small(&server)
    });
}

#[test]
fn a_newer_format_is_refused() {
    run(|home| {
        let (server, _feed) = small(home)?;
        ensure!(server.stop()?.success());
        let path = home.data().join("format");
        let intact = fs::read(&path)?;
        let newer = String::from_utf8(intact.clone())?.replace(char::is_numeric, "9");
        fs::write(&path, newer)?;
        check_refused(home, &path, &["9"])?;
        fs::write(&path, &intact)?;
        check_small(&Headwater::start(home, 2)?)
    });
}

#[test]
fn a_directory_in_use_is_refused() {
    run(|home| {
        let (server, _feed) = small(home)?;
        let (code, said) = Starting::spawn(home, 2)?.refused()?;
        ensure!(code == 1, "exit code {code}: {said}");
        let dir = home.data().display().to_string();
        ensure!(said.contains("in use") && said.contains(&dir), "{said}");
        check_small(&server)
    });
}

#[test]
fn a_dropped_view_stays_dropped_and_its_source_goes_on() {
    run(|home| {
        let (server, mut feed) = small(home)?;
        server.cli_ok(["drop", "totals"])?;
        server.kill()?;
        feed.write_text("3001,1.00\n")?;
        let server = Headwater::start(home, 2)?;
        let missing = server.cli(["query", "SELECT * FROM totals"])?;
        ensure!(missing.code == 1 && missing.stderr.contains("totals"), "{missing:?}");
        wait_for("the line written while the server was down", WAIT_MAX, || {
            let got = server.query("SELECT count(*) AS lines FROM amounts")?;
            Ok((got.cell("lines")? == "3001").then_some(()))
        })
    });
}
