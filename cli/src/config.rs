//! The configuration of `serve`: defaults, then `headwater.toml`, then `HEADWATER__SECTION__KEY`, then flags.

pub(crate) mod interval;
mod layers;

use std::net::{SocketAddr, ToSocketAddrs};
use std::num::NonZeroUsize;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub(crate) use self::layers::{Layers, Loaded};

use self::interval::Interval;
use crate::output::failure::Failure;

/// All keys and their values.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Where things are.
    pub(crate) server: ServerSection,
    /// How it computes.
    pub(crate) engine: EngineSection,
    /// How records become ticks.
    pub(crate) ingest: IngestSection,
    /// What is logged.
    pub(crate) log: LogSection,
}

/// Where things are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServerSection {
    /// Where the log and the catalog are kept.
    pub(crate) data_dir: PathBuf,
    /// Where relative paths of file sources are looked for.
    pub(crate) base_dir: PathBuf,
    /// Where gRPC is served.
    pub(crate) listen: String,
    /// Where metrics and health are served, or `off`.
    pub(crate) http_listen: String,
    /// Whether the two addresses may be reachable from elsewhere.
    pub(crate) allow_remote: bool,
}

/// How it computes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EngineSection {
    /// How many threads compute.
    pub(crate) workers: usize,
    /// How far back reads can go.
    pub(crate) history: Interval,
    /// How long a query waits for a view that is not readable yet.
    pub(crate) read_wait: Interval,
}

/// How records become ticks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct IngestSection {
    /// How long a record waits for its tick at most.
    pub(crate) tick_max: Interval,
    /// How many rows a tick takes at most.
    pub(crate) tick_rows_max: usize,
    /// After how long without records an empty tick says that time passes.
    pub(crate) idle_tick: Interval,
}

/// What is logged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogSection {
    /// Which messages: a level, or directives such as `info,headwater_views=debug`.
    pub(crate) filter: String,
    /// In which form.
    pub(crate) format: LogFormat,
}

/// The form of log messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for ServerSection {
    fn default() -> ServerSection {
        ServerSection {
            data_dir: PathBuf::from("headwater-data"),
            base_dir: PathBuf::from("."),
            listen: "127.0.0.1:6565".to_owned(),
            http_listen: "127.0.0.1:6566".to_owned(),
            allow_remote: false,
        }
    }
}

impl Default for EngineSection {
    fn default() -> EngineSection {
        EngineSection {
            workers: std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
            history: Interval::from_secs(60),
            read_wait: Interval::from_secs(10),
        }
    }
}

impl Default for IngestSection {
    fn default() -> IngestSection {
        IngestSection { tick_max: Interval::from_millis(50), tick_rows_max: 10_000, idle_tick: Interval::from_secs(1) }
    }
}

impl Default for LogSection {
    fn default() -> LogSection {
        LogSection { filter: "info".to_owned(), format: LogFormat::Text }
    }
}

/// Where a server listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Addresses {
    /// gRPC.
    pub(crate) grpc: SocketAddr,
    /// Metrics and health.
    pub(crate) http: Option<SocketAddr>,
}

impl Config {
    /// Refuses values that no server can run with, and addresses that others can reach unless that is allowed.
    pub(crate) fn addresses(&self) -> Result<Addresses, Failure> {
        let positive = [
            ("engine.workers", self.engine.workers > 0),
            ("ingest.tick_rows_max", self.ingest.tick_rows_max > 0),
            ("ingest.tick_max", self.ingest.tick_max.millis() > 0),
            ("ingest.idle_tick", self.ingest.idle_tick.millis() > 0),
        ];
        if let Some((key, _)) = positive.iter().find(|(_, holds)| !holds) {
            return Err(Failure::with_hint(format!("{key} must be more than 0"), SEE_CONFIG));
        }
        let grpc = self.address("server.listen", &self.server.listen)?;
        let http = match self.server.http_listen.as_str() {
            "off" => None,
            address => Some(self.address("server.http_listen", address)?),
        };
        Ok(Addresses { grpc, http })
    }

    fn address(&self, key: &str, text: &str) -> Result<SocketAddr, Failure> {
        let resolved = text.to_socket_addrs().map_err(|error| {
            Failure::with_hint(
                format!("{key}: \"{text}\" is not an address to listen on: {error}"),
                "write HOST:PORT, for instance 127.0.0.1:6565",
            )
        })?;
        let addresses: Vec<SocketAddr> = resolved.collect();
        let Some(first) = addresses.first() else {
            return Err(Failure::with_hint(format!("{key}: \"{text}\" has no address"), SEE_CONFIG));
        };
        if !self.server.allow_remote && !first.ip().is_loopback() {
            return Err(Failure::with_hint(
                format!("{key}: others can reach {text}, and there is no authentication yet"),
                "listen on 127.0.0.1, or pass --allow-remote if everybody who can reach it may read and drop everything",
            ));
        }
        Ok(*first)
    }
}

const SEE_CONFIG: &str = "`headwater config` shows where each value came from";

#[cfg(test)]
mod tests {
    use super::*;

    fn with(change: impl FnOnce(&mut Config)) -> Result<Addresses, String> {
        let mut config = Config::default();
        change(&mut config);
        config.addresses().map_err(|failure| failure.to_string())
    }

    #[test]
    fn the_defaults_are_on_this_machine_only() {
        let addresses = Config::default().addresses().unwrap();
        assert!(addresses.grpc.ip().is_loopback());
        assert!(addresses.http.unwrap().ip().is_loopback());
    }

    #[test]
    fn addresses_that_others_can_reach_must_be_allowed() {
        for address in ["0.0.0.0:1", "[::]:1", "192.0.2.1:1"] {
            assert!(with(|config| config.server.listen = address.to_owned()).unwrap_err().contains("--allow-remote"));
            assert!(with(|config| config.server.http_listen = address.to_owned()).is_err());
            let allowed = with(|config| {
                config.server.listen = address.to_owned();
                config.server.allow_remote = true;
            });
            assert_eq!(allowed.unwrap().grpc.to_string(), address);
        }
        assert!(with(|config| config.server.listen = "[::1]:0".to_owned()).is_ok());
        assert!(with(|config| config.server.listen = "localhost:0".to_owned()).unwrap().grpc.ip().is_loopback());
    }

    #[test]
    fn what_cannot_be_is_refused_by_its_key() {
        assert!(with(|config| config.engine.workers = 0).unwrap_err().contains("engine.workers"));
        assert!(with(|config| config.ingest.tick_rows_max = 0).unwrap_err().contains("tick_rows_max"));
        assert!(with(|config| config.server.listen = "nowhere".to_owned()).unwrap_err().contains("server.listen"));
        assert_eq!(with(|config| config.server.http_listen = "off".to_owned()).unwrap().http, None);
    }
}
