//! Files whose lines replace each other by key: such a source is a source in every list, and can be read, watched and
//! dropped as a materialised view can.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::harness::{Feed, Headwater, Home, WAIT_MAX, run, wait_for};
use crate::wire::{Mirror, Reached, contents, query};

const STATEMENTS: &str = "
    CREATE SOURCE products (product_id BIGINT PRIMARY KEY, category TEXT NOT NULL, price DECIMAL(12, 2))
      FROM FILE (PATH 'products.csv', FOLLOW true) FORMAT CSV ENVELOPE UPSERT;
    CREATE MATERIALIZED VIEW categories AS
      SELECT category, count(*) AS n, max(price) AS dearest, sum(price) AS sum FROM products GROUP BY category;
    CREATE VIEW dear AS SELECT product_id FROM products WHERE price > 100;
    CREATE MATERIALIZED VIEW dear_count AS SELECT count(*) AS n FROM dear;
";

/// The lines of the file, drawn, and what they come to.
struct Lines {
    text: String,
    /// The products after each line.
    states: Vec<BTreeMap<i64, (String, i64)>>,
}

impl Lines {
    fn draw(count: usize) -> Lines {
        let mut rng = ChaCha8Rng::seed_from_u64(8);
        let mut lines = Lines { text: "product_id,category,price\n".to_owned(), states: vec![BTreeMap::new()] };
        let mut state = BTreeMap::new();
        for _ in 0..count {
            let (id, cents) = (rng.random_range(0..80), rng.random_range(0..30_000));
            let category = format!("category {}", rng.random_range(0..5));
            lines.text.push_str(&format!("{id},{category},{}.{:02}\n", cents / 100, cents % 100));
            state.insert(id, (category, cents));
            lines.states.push(state.clone());
        }
        lines
    }

    fn rows(&self, line: usize) -> Vec<Vec<String>> {
        let row = |(id, (category, cents)): (&i64, &(String, i64))| {
            vec![id.to_string(), category.clone(), format!("{}.{:02}", cents / 100, cents % 100)]
        };
        self.states[line].iter().map(row).collect()
    }
}

fn start(home: &Home) -> Result<(Headwater, Feed, Lines)> {
    let lines = Lines::draw(3_000);
    let feed = Feed::create(&home.path().join("products.csv"), lines.text.clone().into_bytes())?;
    let server = Headwater::start(home, 2)?;
    server.deploy(home, "products.sql", STATEMENTS)?;
    Ok((server, feed, lines))
}

const PRODUCTS: &str = "SELECT * FROM products ORDER BY product_id";

/// Waits until the products are those after `line` lines; a time at which they are.
fn wait_for_products(server: &Headwater, lines: &Lines, line: usize) -> Result<i64> {
    let wanted = lines.rows(line);
    wait_for(&format!("the products after line {line}"), WAIT_MAX, || {
        let (at, table) = server.query_now(PRODUCTS)?;
        Ok((table.rows == wanted).then_some(at))
    })
}

/// The views over the products must be what the products are, at one time.
fn check_views(server: &Headwater, at: i64) -> Result<()> {
    let sql =
        "SELECT category, count(*) AS n, max(price) AS dearest, sum(price) AS sum FROM products GROUP BY category";
    let (plain, kept) = (server.query_at(sql, at)?.sorted(), server.query_at("SELECT * FROM categories", at)?.sorted());
    ensure!(plain == kept, "{kept:?} instead of {plain:?} at {at}");
    let plain = server.query_at("SELECT count(*) AS n FROM products WHERE price > 100", at)?;
    let kept = server.query_at("SELECT n FROM dear_count", at)?;
    ensure!(plain == kept, "{kept:?} instead of {plain:?} at {at}");
    Ok(())
}

#[test]
fn an_upsert_source_is_the_last_line_of_each_key_after_every_kill() {
    run(|home| {
        let (mut server, mut feed, lines) = start(home)?;
        let mut earlier = Vec::new();
        for (round, line) in (250..=3_000).step_by(250).enumerate() {
            feed.write(line)?;
            let at = wait_for_products(&server, &lines, line)?;
            check_views(&server, at)?;
            earlier.push((line, at));
            if round % 2 == 0 {
                server.replace_by_kill(home, [1, 2, 4][round % 3])?;
                check_views(&server, wait_for_products(&server, &lines, line)?)?;
            }
        }
        // What was there can be asked for as long as it is remembered, over restarts too.
        let mut asked = 0;
        for (line, at) in &earlier {
            let past = server.cli(["query", "-o", "csv", "--at", &at.to_string(), PRODUCTS])?;
            if past.code != 0 {
                ensure!(past.stderr.contains("oldest"), "{past:?}");
                continue;
            }
            let got: Vec<Vec<String>> =
                past.stdout.lines().skip(1).map(|row| row.split(',').map(str::to_owned).collect()).collect();
            ensure!(got == lines.rows(*line), "the products at {at} are not those after line {line}");
            asked += 1;
        }
        ensure!(asked >= 2, "nothing of the past could be asked for");
        let future = server.cli(["query", "--at", "99999999999999", PRODUCTS])?;
        ensure!(future.code == 1 && future.stderr.contains("newest"), "{future:?}");
        Ok(())
    });
}

#[test]
fn an_upsert_source_is_listed_explained_and_dropped_as_a_source() {
    run(|home| {
        let (server, mut feed, lines) = start(home)?;
        feed.write(100)?;
        wait_for_products(&server, &lines, 100)?;
        let listed = server.cli_ok(["list", "-o", "csv"])?;
        ensure!(listed.lines().any(|line| line.starts_with("products,source,serving")), "{listed}");
        ensure!(!listed.contains('$'), "{listed}");
        let shown = server.query("SELECT count(*) AS n FROM products")?;
        ensure!(shown.cell("n")? == lines.rows(100).len().to_string(), "{shown:?}");
        let told: serde_json::Value = serde_json::from_str(&server.cli_ok(["describe", "products", "-o", "json"])?)?;
        ensure!(told["kind"] == "source" && told["columns"].as_array().context("columns")?.len() == 3, "{told}");
        ensure!(told["upper"].as_i64() > told["since"].as_i64() && told["since"].as_i64() > Some(0), "{told}");
        let plan = server.cli_ok(["explain", "products"])?;
        ensure!(plan.contains("Upsert") && plan.contains("key: product_id"), "{plan}");
        let plan = server.cli_ok(["explain", "categories"])?;
        ensure!(plan.contains("with retractions") && plan.contains("multiset per group"), "{plan}");

        feed.write_text("x,category,1\n1,,2\n2,category 1,3.00\n")?;
        wait_for("the broken lines", WAIT_MAX, || {
            let errors = server.query("SELECT column_name FROM \"products$errors\" ORDER BY column_name")?;
            Ok((errors.rows == [["category"], ["product_id"]]).then_some(()))
        })?;
        let errors = server.cli_ok(["errors", "products"])?;
        ensure!(errors.contains("products.csv:102") && errors.contains("NOT NULL"), "{errors}");

        let refused = server.cli(["drop", "products"])?;
        ensure!(refused.code == 1 && refused.stderr.contains("categories"), "{refused:?}");
        server.cli_ok(["drop", "--cascade", "products"])?;
        wait_for("no dataflow and no log", WAIT_MAX, || {
            let gone = server.metric("headwater_dataflows")? == 0.0;
            let logs = std::fs::read_dir(home.data().join("log"))?.count();
            Ok((gone && logs == 0).then_some(()))
        })?;
        let listed = server.cli_ok(["list", "-o", "csv"])?;
        ensure!(listed.lines().count() == 1, "{listed}");
        // The name is free, and what comes under it begins anew.
        server.deploy(home, "again.sql", STATEMENTS)?;
        wait_for("the products of the file", WAIT_MAX, || {
            let n = server.query("SELECT count(*) AS n FROM products")?;
            Ok((n.cell("n")?.parse::<usize>()? >= lines.rows(100).len()).then_some(()))
        })
    });
}

#[test]
fn a_subscription_to_an_upsert_source_has_at_every_mark_what_a_query_gives() {
    run(|home| {
        let (server, mut feed, lines) = start(home)?;
        let writer = std::thread::spawn(move || -> Result<()> {
            for line in (20..=3_000).step_by(20) {
                feed.write(line)?;
                std::thread::park_timeout(std::time::Duration::from_millis(8));
            }
            // Broken lines are seen by subscribers of the errors.
            feed.write_text("x,category,1\n")
        });
        let follow = async {
            let mut mirror = Mirror::open(&server.client, &["products", "products$errors", "categories"]).await?;
            let mut marks = 0;
            loop {
                let reached =
                    tokio::time::timeout(WAIT_MAX, mirror.next()).await.context("nothing comes any more")??;
                let at = match reached {
                    Reached::Contents { at, .. } => at,
                    Reached::Progress { upper } => upper - 1,
                };
                marks += 1;
                for (index, name) in ["products", "\"products$errors\"", "categories"].iter().enumerate() {
                    let (_, table) = query(&server.client, &format!("SELECT * FROM {name}"), Some(at)).await?;
                    ensure!(contents(&table) == mirror.views[index], "{name} differs at {at}");
                }
                ensure!(mirror.views[0].values().all(|count| *count == 1), "a key is there twice at {at}");
                if mirror.views[1].len() == 1 {
                    let wanted: crate::wire::Contents = lines.rows(3_000).into_iter().map(|row| (row, 1)).collect();
                    ensure!(mirror.views[0] == wanted, "the products are not those of the file");
                    return Ok(marks);
                }
            }
        };
        let marks = server.runtime.block_on(follow)?;
        writer.join().expect("the writer does not panic")?;
        ensure!(marks > 20, "only {marks} marks");
        Ok(())
    });
}

#[test]
fn keys_and_envelopes_that_do_not_fit_are_refused_at_deploy_with_place_and_hint() {
    run(|home| {
        home.file("p.ndjson", "{\"id\":1,\"v\":2}\n{\"id\":1,\"v\":3}\n{\"id\":2,\"v\":1}\n{\"id\":1,\"v\":1}\n")?;
        let server = Headwater::start(home, 1)?;
        let refused = |tail: &str, words: &[&str]| -> Result<()> {
            let text = format!("CREATE SOURCE p ({tail}");
            let path = home.file("refused.sql", text)?;
            let refused = server.cli([std::ffi::OsStr::new("deploy"), path.as_os_str()])?;
            ensure!(refused.code == 1 && words.iter().all(|word| refused.stderr.contains(word)), "{refused:?}");
            Ok(())
        };
        let file = "FROM FILE (PATH 'p.ndjson') FORMAT JSON";
        refused(&format!("id INT, v INT)\n{file} ENVELOPE UPSERT"), &["refused.sql:2:50", "PRIMARY KEY", "hint"])?;
        refused(&format!("id INT PRIMARY KEY, v INT)\n{file}"), &["refused.sql:1:25", "ENVELOPE UPSERT"])?;
        refused(&format!("id INT PRIMARY KEY)\n{file} ENVELOPE DEBEZIUM"), &["refused.sql:2:50", "FROM KAFKA"])?;
        refused(&format!("id INT PRIMARY KEY)\n{file} ENVELOPE UPSERT (ORDER BY w)"), &["refused.sql:2:67", "w"])?;
        let listed = server.cli_ok(["list", "-o", "csv"])?;
        ensure!(listed.lines().count() == 1, "something was created: {listed}");
        // What fits, over the same file, once by arrival and once by an order.
        for (name, tail, v) in [("last", "", "1"), ("greatest", "(ORDER BY v)", "3")] {
            let text = format!("CREATE SOURCE {name} (id INT PRIMARY KEY, v INT) {file} ENVELOPE UPSERT {tail};");
            server.deploy(home, "fits.sql", &text)?;
            let got = server.query(&format!("SELECT v FROM {name} WHERE id = 1"))?;
            ensure!(got.cell("v")? == v, "{got:?}");
        }
        Ok(())
    });
}
