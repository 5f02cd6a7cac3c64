//! Redis from Debian's packages: one server over a temporary folder, asked in its own protocol.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::{Service, free_port};

/// How long one answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// A server that answers.
#[derive(Debug)]
struct Redis {
    folder: PathBuf,
    port: u16,
    service: Service,
}

impl Redis {
    fn start() -> Result<Redis> {
        // The keeper removes it.
        let folder = tempfile::Builder::new().prefix("headwater-redis-").tempdir()?.keep();
        let port = free_port()?;
        let (named, dir) = (port.to_string(), folder.display().to_string());
        let words = ["redis-server", "--bind", "127.0.0.1", "--port", &named, "--dir", &dir, "--save", ""];
        let command: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let mut service = Service::spawn("redis", &folder, &command)?;
        service.wait_until(|| ask(port, "PING").is_ok_and(|answer| answer == "+PONG"))?;
        Ok(Redis { folder, port, service })
    }
}

/// The first line of the answer to a command without arguments that hold spaces.
fn ask(port: u16, command: &str) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    write!(stream, "{command}\r\n")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}

#[test]
fn a_redis_answers_and_is_gone_afterwards() {
    crate::harness::run(|_| {
        let redis = Redis::start()?;
        let answer = ask(redis.port, "SET a 1")?;
        ensure!(answer == "+OK", "{answer}: {}", redis.service.log_tail());
        let (folder, port) = (redis.folder, redis.port);
        redis.service.stop(false)?;
        ensure!(ask(port, "PING").is_err(), "it answers after it was stopped");
        Ok(fs::remove_dir_all(folder)?)
    });
}
