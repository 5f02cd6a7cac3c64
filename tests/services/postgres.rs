//! Postgres from Debian's packages: one server over a temporary folder, asked with its own client.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::{Service, free_port};
use crate::harness::outcome;

/// Words before a command that make it run as a user whom Postgres accepts: it refuses to be root.
fn as_user() -> Result<Vec<String>> {
    let id = outcome(Command::new("id").arg("-u"))?;
    if id.stdout.trim() != "0" {
        return Ok(Vec::new());
    }
    let words = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"];
    Ok(words.map(str::to_owned).to_vec())
}

/// The folder with the server's programs: that of the newest version there is.
fn programs() -> Result<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").context("no Postgres: `make services` installs it")?;
    let mut found: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let version = path.file_name()?.to_str()?.parse().ok()?;
            path.join("bin/postgres").is_file().then(|| (version, path.join("bin")))
        })
        .collect();
    found.sort();
    Ok(found.pop().context("no Postgres: `make services` installs it")?.1)
}

/// Runs a command to its end as the user of the server.
fn run_as_user(words: &[String]) -> Result<String> {
    let all: Vec<String> = as_user()?.into_iter().chain(words.iter().cloned()).collect();
    let done = outcome(Command::new(&all[0]).args(&all[1..]).current_dir("/").stdin(Stdio::null()))?;
    ensure!(done.code == 0, "{words:?}: {done:?}");
    Ok(done.stdout)
}

/// A server that answers.
#[derive(Debug)]
struct Postgres {
    folder: PathBuf,
    port: u16,
    service: Service,
}

impl Postgres {
    fn start() -> Result<Postgres> {
        let programs = programs()?;
        // The keeper removes it.
        let folder = tempfile::Builder::new().prefix("headwater-postgres-").tempdir()?.keep();
        if !as_user()?.is_empty() {
            outcome(Command::new("chown").arg("postgres").arg(&folder))?;
        }
        let data = folder.join("data").display().to_string();
        let program = |name: &str| programs.join(name).display().to_string();
        let word = |text: &str| text.to_owned();
        run_as_user(&[
            program("initdb"),
            word("--pgdata"),
            data.clone(),
            word("--username=test"),
            word("--auth=trust"),
            word("--no-sync"),
        ])?;
        let port = free_port()?;
        let mut command = as_user()?;
        command.extend([program("postgres"), word("-D"), data, word("-p"), port.to_string()]);
        command.extend([word("-h"), word("127.0.0.1"), word("-k"), folder.display().to_string()]);
        let mut service = Service::spawn("postgres", &folder, &command)?;
        service.wait_until(|| query(&programs, port, "SELECT 1").is_ok())?;
        Ok(Postgres { folder, port, service })
    }
}

fn query(programs: &Path, port: u16, sql: &str) -> Result<String> {
    let port = port.to_string();
    let mut client = Command::new(programs.join("psql"));
    client.args(["-h", "127.0.0.1", "-p", &port, "-U", "test", "-d", "postgres", "-XAtc", sql]);
    let done = outcome(client.stdin(Stdio::null()))?;
    ensure!(done.code == 0, "{done:?}");
    Ok(done.stdout.trim().to_owned())
}

#[test]
fn a_postgres_answers_and_is_gone_afterwards() {
    crate::harness::run(|_| {
        let postgres = Postgres::start()?;
        let answer = query(&programs()?, postgres.port, "SELECT 40 + 2");
        ensure!(answer.as_ref().is_ok_and(|answer| answer == "42"), "{answer:?}: {}", postgres.service.log_tail());
        let (folder, port) = (postgres.folder, postgres.port);
        postgres.service.stop(false)?;
        ensure!(query(&programs()?, port, "SELECT 1").is_err(), "it answers after it was stopped");
        Ok(fs::remove_dir_all(folder)?)
    });
}
