//! The README's first command: the demo ends with totals that equal a plain sum over the rows.

use anyhow::{Result, ensure};

use crate::data::online_retail;
use crate::harness::{Outcome, headwater, outcome, run};

fn demo(args: &[&str]) -> Result<Outcome> {
    outcome(headwater()?.arg("demo").args(args))
}

/// The value behind `name` among the totals.
fn figure<'a>(said: &'a Outcome, name: &str) -> &'a str {
    let line = said.stdout.lines().find_map(|line| line.strip_prefix("  ")?.strip_prefix(name));
    line.unwrap_or_default().trim()
}

#[test]
fn the_demo_equals_a_plain_sum() {
    run(|home| {
        let said = demo(&["--once", "--seconds", "4", "--rows", "60000"])?;
        ensure!(said.code == 0, "{said:?}");
        ensure!(said.stdout.contains("equal to a plain sum over the rows: yes"), "{}", said.stdout);
        ensure!(figure(&said, "errors") == "0", "{}", said.stdout);
        let kept = home.path().join("kept").display().to_string();
        let again = demo(&["--once", "--seconds", "0", "--rows", "60000", "--data-dir", &kept])?;
        for name in ["gross", "refunds", "net", "orders", "customers", "lines"] {
            ensure!(
                !figure(&said, name).is_empty() && figure(&said, name) == figure(&again, name),
                "{name}: {again:?}"
            );
        }
        ensure!(home.path().join("kept/online_retail.csv").is_file(), "--data-dir keeps nothing");
        let refused = demo(&["--once", "--data-dir", &kept])?;
        ensure!(refused.code == 1 && refused.stderr.contains("not empty"), "{refused:?}");
        Ok(())
    });
}

#[test]
fn the_demo_replays_the_published_file() {
    let Some(dir) = online_retail("the_demo_replays_the_published_file") else { return };
    run(|_| {
        let file = dir.join("online_retail.csv.zst").display().to_string();
        let said = demo(&["--once", "--seconds", "15", "--data", &file])?;
        ensure!(said.code == 0 && said.stdout.contains("equal to a plain sum over the rows: yes"), "{said:?}");
        let expected = [
            ("gross", "10,655,622.484"),
            ("refunds", "896,812.490"),
            ("orders", "19,959"),
            ("customers", "4,338"),
            ("lines", "541,909"),
            ("errors", "0"),
        ];
        for (name, value) in expected {
            ensure!(figure(&said, name) == value, "{name} is {} instead of {value}", figure(&said, name));
        }
        Ok(())
    });
}
