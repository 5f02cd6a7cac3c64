//! Which files, and which of their queries.

use std::path::{Path, PathBuf};

use super::record::{File, Kind};

/// All files of the format under `folder`, or the one that it is.
pub(super) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    if folder.is_file() {
        return vec![folder.to_owned()];
    }
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for entry in entries {
            let path = entry.expect("a folder can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "slt" || extension == "test") {
                found.push(path);
            }
        }
    }
    found.sort_unstable();
    found
}

/// How many queries a file has, without a look at what they are.
pub(super) fn queries_in(path: &Path) -> usize {
    let text = std::fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().filter(|line| line.starts_with("query ")).count()
}

/// What is run of a suite.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// Of how many queries.
    pub(super) of: usize,
    /// How many.
    pub(super) count: usize,
    pub(super) seed: u64,
}

impl Sample {
    /// For each query of `file` whether it is run.
    pub(super) fn choose(&self, file: &File) -> Vec<bool> {
        let name = hash(self.seed, file.path.to_string_lossy().as_bytes());
        let chosen = |index: usize| {
            let chance = hash(name, &index.to_le_bytes()) as f64 / u64::MAX as f64;
            chance * (self.of as f64) < self.count as f64
        };
        let queries = file.steps.iter().filter(|step| matches!(step.kind, Kind::Query(_)));
        queries.enumerate().map(|(index, _)| self.count >= self.of || chosen(index)).collect()
    }
}

/// A number that depends on all bits of both, the same in every run.
fn hash(seed: u64, bytes: &[u8]) -> u64 {
    let mut found = seed ^ 0x9E37_79B9_7F4A_7C15;
    for byte in bytes {
        found = (found ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
    }
    found ^= found >> 33;
    found = found.wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    found ^ (found >> 33)
}
