//! Where values come from, and which of them wins.

use std::path::{Path, PathBuf};

use figment::error::Kind;
use figment::providers::{Format, Serialized, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider, Source};

use super::Config;
use super::interval::Interval;
use crate::args::ServeArgs;
use crate::output::failure::Failure;

/// What an environment variable that sets a key begins with.
const PREFIX: &str = "HEADWATER__";
/// The file that is read if none is named.
const DEFAULT_FILE: &str = "headwater.toml";

/// One key set by a flag or by an environment variable.
#[derive(Clone, Debug)]
struct Setting {
    /// `section.key`.
    key: String,
    /// The flag or the variable.
    origin: String,
    value: Value,
}

impl Provider for Setting {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let nested = figment::util::nest(&self.key, self.value.clone());
        Ok(Profile::Default.collect(nested.into_dict().unwrap_or_default()))
    }
}

/// The layers above the defaults.
pub(crate) struct Layers {
    file: Option<PathBuf>,
    settings: Vec<Setting>,
}

/// A configuration that knows where its values came from.
pub(crate) struct Loaded {
    /// The values.
    pub(crate) config: Config,
    figment: Figment,
}

impl Layers {
    /// The file, the environment `variables` and the flags, in the order in which later ones win.
    pub(crate) fn new(
        args: &ServeArgs,
        variables: impl Iterator<Item = (String, String)>,
        working_dir: &Path,
    ) -> Result<Layers, Failure> {
        let file = match &args.config {
            Some(file) if !file.is_file() => {
                return Err(Failure::with_hint(
                    format!("there is no configuration file {}", file.display()),
                    "leave --config out to run with the defaults",
                ));
            }
            Some(file) => Some(file.clone()),
            None => Some(working_dir.join(DEFAULT_FILE)).filter(|file| file.is_file()),
        };
        let mut settings: Vec<Setting> = variables.filter_map(|(name, value)| variable(&name, &value)).collect();
        // So that of two spellings of one variable always the same one wins.
        settings.sort_by(|a, b| a.origin.cmp(&b.origin));
        settings.extend(flags(args));
        Ok(Layers { file, settings })
    }

    /// Puts the layers upon each other. Refuses keys that do not exist and values of the wrong type, naming where they
    /// came from.
    pub(crate) fn load(self) -> Result<Loaded, Failure> {
        let mut figment = Figment::from(Serialized::defaults(Config::default()));
        if let Some(file) = self.file {
            figment = figment.merge(Toml::file_exact(file));
        }
        for setting in self.settings {
            figment = figment.merge(setting);
        }
        match figment.extract() {
            Ok(config) => Ok(Loaded { config, figment }),
            Err(error) => Err(refuse(&error)),
        }
    }
}

impl Loaded {
    /// Where the value of `section.key` came from: `default`, a file, a variable or a flag.
    pub(crate) fn origin(&self, key: &str) -> String {
        match self.figment.find_metadata(key) {
            None => "default".to_owned(),
            Some(metadata) => origin(metadata),
        }
    }
}

fn origin(metadata: &Metadata) -> String {
    match &metadata.source {
        Some(Source::File(file)) => file.display().to_string(),
        Some(_) => "default".to_owned(),
        None => metadata.name.to_string(),
    }
}

fn refuse(error: &figment::Error) -> Failure {
    let key = error.path.join(".");
    let place = error.metadata.as_ref().map(|metadata| format!(", set in {}", origin(metadata))).unwrap_or_default();
    match &error.kind {
        Kind::UnknownField(_, known) => Failure::with_hint(
            format!("there is no key {key}{place}"),
            format!("the keys there are {}", known.join(", ")),
        ),
        kind => Failure::with_hint(format!("{key}: {kind}{place}"), "`headwater serve --help` explains the values"),
    }
}

/// `HEADWATER__SECTION__KEY`; other variables are not ours.
fn variable(name: &str, value: &str) -> Option<Setting> {
    let key = name.strip_prefix(PREFIX)?.to_ascii_lowercase().replace("__", ".");
    let value = value.parse().unwrap_or_else(|never: std::convert::Infallible| match never {});
    Some(Setting { key, origin: name.to_owned(), value })
}

fn flags(args: &ServeArgs) -> Vec<Setting> {
    let path = |path: &PathBuf| Value::from(path.display().to_string());
    let text = |text: &String| Value::from(text.clone());
    let history = args.history.map(|history| Value::from(Interval::from(history).to_string()));
    let flags = [
        ("server.data_dir", "--data-dir", args.data_dir.as_ref().map(path)),
        ("server.base_dir", "--base-dir", args.base_dir.as_ref().map(path)),
        ("server.listen", "--listen", args.listen.as_ref().map(text)),
        ("server.http_listen", "--http-listen", args.http_listen.as_ref().map(text)),
        ("server.allow_remote", "--allow-remote", args.allow_remote.then(|| Value::from(true))),
        ("engine.workers", "--workers", args.workers.map(Value::from)),
        ("engine.history", "--history", history),
    ];
    let setting = |(key, flag, value): (&str, &str, Option<Value>)| {
        Some(Setting { key: key.to_owned(), origin: flag.to_owned(), value: value? })
    };
    flags.into_iter().filter_map(setting).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn load(toml: &str, variables: &[(&str, &str)], args: ServeArgs) -> Result<Loaded, String> {
        let dir = tempfile::tempdir().unwrap();
        if !toml.is_empty() {
            std::fs::write(dir.path().join(DEFAULT_FILE), toml).unwrap();
        }
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let layers = Layers::new(&args, variables, dir.path()).map_err(|failure| failure.to_string())?;
        layers.load().map_err(|failure| failure.to_string())
    }

    #[test]
    fn without_anything_all_is_default() {
        let loaded = load("", &[("PATH", "/bin"), ("HEADWATER_SERVER", "x")], ServeArgs::default()).unwrap();
        assert_eq!(loaded.config, Config::default());
        assert_eq!(loaded.origin("server.listen"), "default");
    }

    #[test]
    fn flags_win_over_variables_over_the_file() {
        let toml =
            "[server]\nlisten = \"127.0.0.1:1\"\nhttp_listen = \"off\"\n[engine]\nworkers = 7\nhistory = \"2m\"\n";
        let variables = [("HEADWATER__ENGINE__WORKERS", "3"), ("HEADWATER__SERVER__LISTEN", "127.0.0.1:2")];
        let args = ServeArgs { workers: Some(5), history: Some(Duration::from_secs(90)), ..ServeArgs::default() };
        let loaded = load(toml, &variables, args).unwrap();
        assert_eq!((loaded.config.engine.workers, loaded.origin("engine.workers").as_str()), (5, "--workers"));
        assert_eq!(
            (loaded.config.engine.history.millis(), loaded.origin("engine.history").as_str()),
            (90_000, "--history")
        );
        let listen = loaded.origin("server.listen");
        assert_eq!(
            (loaded.config.server.listen.as_str(), listen.as_str()),
            ("127.0.0.1:2", "HEADWATER__SERVER__LISTEN")
        );
        assert_eq!(loaded.config.server.http_listen, "off");
        assert!(loaded.origin("server.http_listen").ends_with(DEFAULT_FILE));
        assert_eq!(loaded.origin("ingest.tick_max"), "default");
    }

    #[test]
    fn unknown_keys_are_refused_with_their_origin() {
        let error = load("[server]\nport = 1\n", &[], ServeArgs::default()).err().unwrap();
        assert!(error.contains("server.port") && error.contains(DEFAULT_FILE), "{error}");
        let error = load("", &[("HEADWATER__ENGINE__WORKER", "1")], ServeArgs::default()).err().unwrap();
        assert!(error.contains("no key engine.worker,") && error.contains("HEADWATER__ENGINE__WORKER"), "{error}");
        assert!(load("[nonsense]\n", &[], ServeArgs::default()).is_err());
    }

    #[test]
    fn values_of_the_wrong_type_are_refused_with_key_and_origin() {
        let error = load("", &[("HEADWATER__ENGINE__HISTORY", "60")], ServeArgs::default()).err().unwrap();
        assert!(error.contains("engine.history") && error.contains("90s"), "{error}");
        let error = load("[engine]\nworkers = \"many\"\n", &[], ServeArgs::default()).err().unwrap();
        assert!(error.contains("engine.workers") && error.contains(DEFAULT_FILE), "{error}");
    }

    #[test]
    fn a_named_file_must_exist() {
        let args = ServeArgs { config: Some(PathBuf::from("/nonexistent/headwater.toml")), ..ServeArgs::default() };
        assert!(load("", &[], args).err().unwrap().contains("/nonexistent/headwater.toml"));
    }
}
