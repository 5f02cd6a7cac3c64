//! The house rules that a machine can check: who may mention whom, sizes, words, and that the README's commands exist.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::data::workspace;
use crate::harness::{headwater, outcome};

/// A floor: files under `path`, but not under `except`, must not mention `words`.
struct Floor {
    path: &'static str,
    except: &'static [&'static str],
    words: &'static [&'static str],
    why: &'static str,
}

/// The floors of ARCHITECTURE.md. Comments and tests may mention anything.
const FLOORS: [Floor; 15] = [
    Floor {
        path: "dataflow/src",
        except: &[],
        words: &["headwater_connectors", "headwater_views", "headwater_proto", "tonic", "prost"],
        why: "the data plane is the lowest floor",
    },
    Floor {
        path: "dataflow/src",
        except: &[],
        words: &["tokio", "std::fs", "std::net", "std::env", "async fn"],
        why: "operators do no input and output and never wait",
    },
    Floor {
        path: "dataflow/src",
        except: &[],
        words: &["SystemTime", "rand::", "RandomState", "std::collections::HashMap", "std::collections::HashSet"],
        why: "answers depend on no clock, no chance and no order of a hash table",
    },
    Floor {
        path: "dataflow/src",
        except: &["dataflow/src/spines.rs", "dataflow/src/spines/", "dataflow/src/engine.rs"],
        words: &["differential_dataflow"],
        why: "only spines.rs and its parts name differential's types, which its next release renames",
    },
    Floor {
        path: "dataflow/src",
        except: &["dataflow/src/expr.rs", "dataflow/src/expr/"],
        words: &["datafusion"],
        why: "expressions are DataFusion's, plans and operators are not",
    },
    Floor {
        path: "dataflow/src/repr",
        except: &[],
        words: &["timely", "crate::plan", "crate::expr", "crate::render", "crate::worker", "crate::port"],
        why: "plain data knows nothing of who moves it",
    },
    Floor {
        path: "dataflow/src/plan.rs",
        except: &[],
        words: &["timely", "crate::render", "crate::worker", "crate::port", "crate::engine"],
        why: "a plan is made of choices, not of operators",
    },
    Floor {
        path: "connectors/src",
        except: &[],
        words: &[
            "headwater_views",
            "headwater_proto",
            "tonic",
            "prost",
            "datafusion",
            "sqlparser",
            "timely",
            "differential",
        ],
        why: "the edge knows neither SQL nor operators",
    },
    Floor {
        path: "connectors/src",
        except: &["connectors/src/clock.rs"],
        words: &["SystemTime"],
        why: "time comes from the clock",
    },
    Floor {
        path: "connectors/src",
        except: &["connectors/src/source/kafka.rs", "connectors/src/source/kafka/"],
        words: &["rdkafka"],
        why: "the client of a broker stays in its connector",
    },
    Floor {
        path: "cli/src",
        except: &["cli/src/commands/produce.rs", "cli/src/commands/produce/"],
        words: &["rdkafka"],
        why: "only the producer speaks to brokers",
    },
    Floor {
        path: "views/src",
        except: &["views/src/sql/"],
        words: &["datafusion", "sqlparser"],
        why: "planning is one folder's",
    },
    Floor {
        path: "views/src",
        except: &["views/src/service/", "views/src/service.rs"],
        words: &["tonic", "prost", "headwater_proto"],
        why: "only the service knows the wire",
    },
    Floor {
        path: "views/src",
        except: &[],
        words: &["headwater_cli", "timely::", "differential", "SystemTime"],
        why: "the control plane commands the engine and is none",
    },
    Floor {
        path: "cli/src",
        except: &[],
        words: &["headwater_dataflow", "datafusion", "timely", "differential", "prost"],
        why: "the command line composes servers and is a client of them",
    },
];

/// Crates that only `serve` and `demo` may mention in the command line: everything else is a client.
const SERVER_CRATES: [&str; 2] = ["headwater_views", "headwater_connectors"];
const SERVER_FILES: [&str; 5] =
    ["cli/src/serve.rs", "cli/src/config.rs", "cli/src/panic.rs", "cli/src/demo.rs", "cli/src/demo/"];

/// The longest Rust file, in lines.
const FILE_LINES_MAX: usize = 600;

/// The largest file of the repository, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Marks of something unfinished, and words that say nothing. Written in two halves: this file is read too.
const MARKS: [(&str, &str); 4] = [("TO", "DO"), ("FIX", "ME"), ("XX", "X"), ("HA", "CK")];
const WORDS: [(&str, &str); 4] = [("for", " now"), ("hel", "per"), ("age", "nt"), ("sket", "ch")];

/// What other crates call so, and has to be called so. In two halves, too.
const FOREIGN: [(&str, &str); 1] = [("rustyline::Hel", "per")];

/// Endings of names that say nothing.
const NAME_ENDINGS: [&str; 5] = ["Manager", "Processor", "Util", "Utils", "Handler"];

/// A file of the repository.
struct Source {
    /// Its path from the root, with slashes.
    path: String,
    text: String,
}

impl Source {
    fn is_test(&self) -> bool {
        self.path.starts_with("tests/") || self.path.contains("/tests/") || self.path.ends_with("tests.rs")
    }

    /// The code without comments and without the tests at its end.
    fn code(&self) -> String {
        let code = self.text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        code.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
    }
}

/// All text files of the repository that people write, by the endings of their names.
fn sources(endings: &[&str]) -> Result<Vec<Source>> {
    let root = workspace();
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let name = path.file_name().context("a file without a name")?.to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "target" && (!name.starts_with('.') || name == ".ci") {
                    folders.push(path);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) && name != "Cargo.lock" {
                let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
                let path = path.strip_prefix(&root)?.to_string_lossy().replace('\\', "/");
                found.push(Source { path, text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    ensure!(!found.is_empty(), "no files in {}", root.display());
    Ok(found)
}

/// Whether `word` stands in `text` with no letter, digit or underscore beside it.
fn mentions(text: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, found)| {
        let before = text[..at].chars().next_back().is_some_and(part);
        let after = text[at + found.len()..].chars().next().is_some_and(part);
        !(before && word.starts_with(part) || after && word.ends_with(part))
    })
}

fn check(wrong: Vec<String>) -> Result<()> {
    ensure!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn nobody_mentions_what_is_above() -> Result<()> {
    let mut wrong = Vec::new();
    for source in sources(&[".rs"])?.iter().filter(|source| !source.is_test()) {
        let code = source.code();
        for floor in FLOORS.iter().filter(|floor| source.path.starts_with(floor.path)) {
            if floor.except.iter().any(|except| source.path.starts_with(except)) {
                continue;
            }
            let words = floor.words.iter().filter(|word| mentions(&code, word));
            wrong.extend(words.map(|word| format!("{} mentions {word}: {}", source.path, floor.why)));
        }
        let client = source.path.starts_with("cli/") && !SERVER_FILES.iter().any(|file| source.path.starts_with(file));
        let words = SERVER_CRATES.iter().filter(|word| client && mentions(&code, word));
        wrong.extend(words.map(|word| format!("{} mentions {word}: commands are clients", source.path)));
    }
    check(wrong)
}

#[test]
fn a_floor_bites() {
    let source = Source { path: "dataflow/src/x.rs".to_owned(), text: "use std::fs::File; // tokio\n".to_owned() };
    assert!(mentions(&source.code(), "std::fs"));
    assert!(!mentions(&source.code(), "tokio"));
    assert!(!mentions("let tokio_like = 1;", "tokio"));
    assert!(mentions("timely::worker", "timely::"));
}

#[test]
fn files_are_small_and_say_what_they_are() -> Result<()> {
    let mut wrong = Vec::new();
    for source in sources(&[".rs"])? {
        let lines = source.text.lines().count();
        if lines > FILE_LINES_MAX {
            wrong.push(format!("{} has {lines} lines, more than {FILE_LINES_MAX}", source.path));
        }
        if !source.text.starts_with("//!") && !source.text.starts_with("#![") {
            wrong.push(format!("{} does not open with what it is (//!)", source.path));
        }
        if source.path.ends_with("/mod.rs") {
            wrong.push(format!("{}: name the file after its module", source.path));
        }
        if source.text.contains(concat!("#[", "ignore")) {
            wrong.push(format!("{} ignores a test", source.path));
        }
    }
    check(wrong)
}

#[test]
fn words_that_say_nothing_are_not_used() -> Result<()> {
    let whole = |halves: &[(&str, &str)]| halves.iter().map(|(first, second)| format!("{first}{second}")).collect();
    let (marks, words): (Vec<String>, Vec<String>) = (whole(&MARKS), whole(&WORDS));
    let foreign: Vec<String> = whole(&FOREIGN);
    let mut wrong = Vec::new();
    for source in sources(&[".rs", ".md", ".sql", ".toml", ".proto", "Makefile", "run"])? {
        for (number, line) in source.text.lines().enumerate() {
            let lower = foreign.iter().fold(line.to_owned(), |line, name| line.replace(name, "")).to_lowercase();
            let place = format!("{}:{}", source.path, number + 1);
            let said = words.iter().filter(|word| mentions(&lower, word));
            let said = said.chain(marks.iter().filter(|mark| mentions(line, mark)));
            wrong.extend(said.map(|word| format!("{place} says {word}")));
            if line.ends_with([' ', '\t']) {
                wrong.push(format!("{place} ends with a space"));
            }
            let mut pieces = line.split(|c: char| !c.is_alphanumeric() && c != '_');
            let named = pieces.find(|piece| matches!(*piece, "struct" | "enum" | "trait")).and_then(|_| pieces.next());
            if source.path.ends_with(".rs")
                && named.is_some_and(|name| NAME_ENDINGS.iter().any(|end| name.ends_with(end)))
            {
                wrong.push(format!("{place} names something {}", named.unwrap_or_default()));
            }
        }
        if !source.text.ends_with('\n') {
            wrong.push(format!("{} does not end with a line break", source.path));
        }
    }
    check(wrong)
}

#[test]
fn versions_stand_in_the_workspace_only() -> Result<()> {
    let mut wrong = Vec::new();
    for source in sources(&["Cargo.toml"])?.iter().filter(|source| source.path != "Cargo.toml") {
        for line in source.text.lines().filter(|line| line.contains("version = \"") || line.contains("git = ")) {
            wrong.push(format!("{}: {line}", source.path));
        }
        // What is outside of the workspace cannot take its lints.
        let outside = source.text.contains("\n[workspace]\n");
        if !outside && !source.text.contains("[lints]\nworkspace = true") {
            wrong.push(format!("{} does not take the workspace's lints", source.path));
        }
    }
    check(wrong)
}

/// The one file with code that the compiler cannot check, which says what it relies on.
const UNCHECKED_FILE: &str = "connectors/src/source/kafka/native.rs";

#[test]
fn code_that_the_compiler_cannot_check_stays_in_one_file() -> Result<()> {
    let mut wrong = Vec::new();
    for source in sources(&[".rs"])?.iter().filter(|source| source.path != UNCHECKED_FILE) {
        let code = source.code();
        if mentions(&code, concat!("uns", "afe")) || code.contains(concat!("uns", "afe_code")) {
            wrong.push(format!("{} has {} code", source.path, concat!("uns", "afe")));
        }
    }
    let file = sources(&[".rs"])?.into_iter().find(|source| source.path == UNCHECKED_FILE).context("no such file")?;
    let blocks =
        file.code().matches(concat!("uns", "afe {")).count() + file.code().matches(concat!("uns", "afe impl")).count();
    let reasons = file.text.matches("// SAFETY: ").count();
    ensure!(reasons >= blocks && blocks > 0, "{UNCHECKED_FILE} gives {reasons} reasons for {blocks} blocks");
    check(wrong)
}

#[test]
fn no_file_is_large() -> Result<()> {
    let root = workspace();
    let listed = outcome(std::process::Command::new("git").arg("-C").arg(&root).args(["ls-files", "-z"]))?;
    let large = |path: &&str| fs::metadata(root.join(path)).is_ok_and(|file| file.len() > FILE_BYTES_MAX);
    check(listed.stdout.split('\0').filter(|path| !path.is_empty()).filter(large).map(str::to_owned).collect())
}

/// The commands in the README's shell blocks, prompts and comments taken away.
fn readme_commands() -> Result<Vec<String>> {
    let text = fs::read_to_string(workspace().join("README.md"))?;
    let blocks = text.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap_or_default());
    let lines = blocks.flat_map(str::lines).map(|line| line.split(" #").next().unwrap_or_default().trim().to_owned());
    Ok(lines.filter(|line| !line.is_empty()).collect())
}

/// The words behind `headwater`, whichever way the README starts it.
fn arguments(command: &str) -> Option<Vec<&str>> {
    let behind = command.strip_prefix("cargo run --profile ci -- ").or_else(|| command.strip_prefix("headwater "))?;
    Some(behind.split_whitespace().collect())
}

#[test]
fn the_commands_of_the_readme_exist() -> Result<()> {
    let makefile = fs::read_to_string(workspace().join("Makefile"))?;
    let commands = readme_commands()?;
    ensure!(commands.iter().any(|command| command == "cargo run --profile ci -- demo --once"), "no demo in the README");
    ensure!(commands.iter().any(|command| command == "make test"), "no make test in the README");
    let mut wrong = Vec::new();
    for command in &commands {
        if let Some(target) = command.strip_prefix("make ") {
            let target = target.split_whitespace().next().unwrap_or_default();
            if !makefile.lines().any(|line| line.starts_with(&format!("{target}:"))) {
                wrong.push(format!("{command}: the Makefile has no {target}"));
            }
        } else if let Some(words) = arguments(command) {
            let help = outcome(headwater()?.arg(words[0]).arg("--help"))?;
            if help.code != 0 {
                wrong.push(format!("{command}: there is no command {}", words[0]));
            }
            let flags = words.iter().filter(|word| word.starts_with('-'));
            let unknown = flags.filter(|flag| !mentions(&help.stdout, flag.split('=').next().unwrap_or_default()));
            wrong.extend(unknown.map(|flag| format!("{command}: the help does not mention {flag}")));
        }
        let paths = command.split_whitespace().filter(|word| word.starts_with("examples/"));
        wrong.extend(paths.filter(|path| !workspace().join(path).exists()).map(|path| format!("{command}: no {path}")));
    }
    check(wrong)
}

#[test]
fn the_papers_are_there() {
    for name in ["README.md", "ARCHITECTURE.md", "LICENSE", ".ci/run", "docs/metrics.md"] {
        let path: PathBuf = workspace().join(name);
        assert!(Path::new(&path).is_file(), "{name} is missing");
    }
}
