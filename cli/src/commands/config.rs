//! `headwater config`: the effective values, each with where it came from. As a table it is a configuration file.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};

use crate::args::{Global, ServeArgs};
use crate::config::Loaded;
use crate::output::{OutputFormat, print_rows, stdout};
use crate::serve;

/// Prints the configuration that `serve` would run with.
pub(super) fn run(args: &ServeArgs, global: &Global) -> anyhow::Result<ExitCode> {
    let loaded = serve::load(args)?;
    let entries = entries(&loaded)?;
    if global.output == OutputFormat::Table {
        let mut out = stdout();
        write!(out, "{}", file(&entries))?;
        out.flush()?;
    } else {
        let column = |of: fn(&Entry) -> String| -> ArrayRef {
            Arc::new(StringArray::from(entries.iter().map(of).collect::<Vec<String>>()))
        };
        let columns = [
            ("key", column(|entry| format!("{}.{}", entry.section, entry.key))),
            ("value", column(Entry::plain)),
            ("origin", column(|entry| entry.origin.clone())),
        ];
        print_rows(stdout(), global.output, &RecordBatch::try_from_iter(columns)?, "")?;
    }
    Ok(ExitCode::SUCCESS)
}

struct Entry {
    section: String,
    key: String,
    value: toml::Value,
    origin: String,
}

impl Entry {
    /// The value without TOML's quotes.
    fn plain(&self) -> String {
        self.value.as_str().map_or_else(|| self.value.to_string(), str::to_owned)
    }
}

fn entries(loaded: &Loaded) -> anyhow::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for (section, keys) in toml::Table::try_from(&loaded.config)? {
        let toml::Value::Table(keys) = keys else { continue };
        for (key, value) in keys {
            let origin = loaded.origin(&format!("{section}.{key}"));
            entries.push(Entry { section: section.clone(), key, value, origin });
        }
    }
    Ok(entries)
}

fn file(entries: &[Entry]) -> String {
    let lines: Vec<String> = entries.iter().map(|entry| format!("{} = {}", entry.key, entry.value)).collect();
    let width = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    let mut section = "";
    for (entry, line) in std::iter::zip(entries, lines) {
        if entry.section != section {
            if !section.is_empty() {
                text.push('\n');
            }
            section = &entry.section;
            text.push_str(&format!("[{section}]\n"));
        }
        text.push_str(&format!("{line:width$}  # {}\n", entry.origin));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Layers};

    #[test]
    fn the_table_is_a_configuration_file_with_all_keys() {
        let args = ServeArgs { workers: Some(3), ..ServeArgs::default() };
        let dir = tempfile::tempdir().unwrap();
        let loaded = Layers::new(&args, std::iter::empty(), dir.path()).unwrap().load().unwrap();
        let text = file(&entries(&loaded).unwrap());
        assert_eq!(toml::from_str::<Config>(&text).unwrap(), loaded.config);
        let line = text.lines().find(|line| line.starts_with("workers")).unwrap();
        assert!(line.starts_with("workers = 3 ") && line.ends_with("# --workers"), "{line}");
        assert!(text.lines().any(|line| line.starts_with("history = \"1m\"") && line.ends_with("# default")), "{text}");
    }
}
