//! Finding the files that a path or a glob names.

use std::fs;
use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern};

use super::SourceError;

/// The path of a file source: one file or a glob, relative to a base directory.
#[derive(Debug)]
pub(super) struct FilePattern {
    /// As declared.
    path: String,
    base_dir: PathBuf,
}

impl FilePattern {
    /// The files that `path` names under `base_dir`.
    ///
    /// # Errors
    /// The working directory, which a relative `base_dir` starts from, is not known.
    pub(super) fn new(path: &str, base_dir: &Path) -> Result<FilePattern, SourceError> {
        let base = if base_dir.as_os_str().is_empty() { Path::new(".") } else { base_dir };
        let base_dir = std::path::absolute(base)
            .map_err(|error| SourceError::io(&base_dir.display().to_string(), "find the directory", error))?;
        Ok(FilePattern { path: path.to_owned(), base_dir })
    }

    /// Where the file called `name` is.
    pub(super) fn locate(&self, name: &str) -> PathBuf {
        self.base_dir.join(name)
    }

    /// The names of the files there are: one file as declared; the matches of a glob relative to the base directory if the
    /// glob is. In no particular order; empty if there is none.
    ///
    /// # Errors
    /// The glob is not one, a directory cannot be listed, the path is a directory, or a name is not UTF-8.
    pub(super) fn find(&self) -> Result<Vec<String>, SourceError> {
        let literal = self.locate(&self.path);
        // A name with brackets in it is a name if such a file exists.
        if literal.is_file() {
            return Ok(vec![self.path.clone()]);
        }
        if literal.is_dir() {
            return Err(SourceError::Directory { path: self.path.trim_end_matches('/').to_owned() });
        }
        if !self.path.contains(['*', '?', '[']) {
            return Ok(Vec::new());
        }
        self.matches()
    }

    fn matches(&self) -> Result<Vec<String>, SourceError> {
        let relative = Path::new(&self.path).is_relative();
        let pattern = if relative {
            format!("{}/{}", Pattern::escape(utf8(&self.base_dir)?), self.path)
        } else {
            self.path.clone()
        };
        let options =
            MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };
        let paths = glob::glob_with(&pattern, options)
            .map_err(|error| SourceError::Glob { path: self.path.clone(), reason: error.msg.to_owned() })?;
        let mut names = Vec::new();
        for path in paths {
            let path = path.map_err(|error| {
                let file = error.path().display().to_string();
                SourceError::io(&file, "list", error.into())
            })?;
            if !path.is_file() {
                continue;
            }
            let name = if relative { path.strip_prefix(&self.base_dir).unwrap_or(&path) } else { &path };
            names.push(utf8(name)?.to_owned());
        }
        Ok(names)
    }

    /// The error that says that no file is there.
    pub(super) fn missing(&self, path: &str) -> SourceError {
        SourceError::Missing { path: path.to_owned(), base_dir: self.base_dir.display().to_string() }
    }

    /// As declared.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// The bytes of the file called `name`; 0 if it is not there.
    pub(super) fn bytes(&self, name: &str) -> u64 {
        fs::metadata(self.locate(name)).map_or(0, |metadata| metadata.len())
    }
}

fn utf8(path: &Path) -> Result<&str, SourceError> {
    path.to_str().ok_or_else(|| SourceError::Name { path: path.to_string_lossy().into_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_file_or_a_glob_like_a_shell_s() {
        let dir = tempfile::tempdir().unwrap();
        // Brackets in the base directory must not become part of the glob.
        let base = dir.path().join("base[1]");
        fs::create_dir_all(base.join("data/deep.csv")).unwrap();
        for name in ["a[1].csv", "data/b.csv", "data/a.csv", "data/.hidden.csv", "data/a.txt", "data/deep.csv/c.csv"] {
            fs::write(base.join(name), "x").unwrap();
        }
        let find = |path: &str| {
            let mut names = FilePattern::new(path, &base).unwrap().find().unwrap();
            names.sort();
            names
        };
        assert_eq!(find("a[1].csv"), ["a[1].csv"]);
        assert_eq!(find("data/*.csv"), ["data/a.csv", "data/b.csv"]);
        assert_eq!(find("./data/?.csv"), ["data/a.csv", "data/b.csv"]);
        assert_eq!(find("data/**/*.csv"), ["data/a.csv", "data/b.csv", "data/deep.csv/c.csv"]);
        assert!(find("data/c.csv").is_empty());
        assert!(find("data/*.json").is_empty());
        let absolute = base.join("data/a.csv").to_str().unwrap().to_owned();
        assert_eq!(find(&absolute), std::slice::from_ref(&absolute));

        let error = FilePattern::new("data/", &base).unwrap().find().unwrap_err();
        assert!(error.to_string().contains("data/*.csv"), "{error}");
        let error = FilePattern::new("data/***.csv", &base).unwrap().find().unwrap_err();
        assert!(error.to_string().contains("data/***.csv"), "{error}");
    }
}
