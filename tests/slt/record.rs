//! A file as steps: the crate's parser, conditions resolved for one database's name, includes put in their places.

use std::path::{Path, PathBuf};

use sqllogictest::{Condition, DefaultColumnType, QueryExpect, Record, ResultMode, SortMode, StatementExpect};

/// The database that `skipif` and `onlyif` are asked about: ours answers as Postgres does.
const LABEL: &str = "postgresql";

/// Whose conventions a file follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Values by column letter, one a line, hashed where there are many.
    Sqlite,
    /// Rows a line, values normalised by their own type. Ours too.
    DataFusion,
}

/// What a query must give.
#[derive(Clone, Debug)]
pub(super) struct Expect {
    /// The letters of the columns.
    pub(super) letters: Vec<char>,
    pub(super) sort: SortMode,
    /// Every value stands on a line of its own.
    pub(super) value_wise: bool,
    pub(super) lines: Vec<String>,
}

/// What is run.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// A statement, and whether it must fail.
    Statement { fails: bool },
    /// A query; `None` if it must fail.
    Query(Option<Expect>),
    /// The name of what follows, which nobody runs.
    Halt,
}

/// One record of a file.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) line: u32,
    pub(super) sql: String,
    pub(super) kind: Kind,
}

/// A file to run.
#[derive(Clone, Debug)]
pub(super) struct File {
    pub(super) path: PathBuf,
    pub(super) dialect: Dialect,
    pub(super) steps: Vec<Step>,
}

impl File {
    /// Reads a file.
    ///
    /// # Errors
    /// Why it cannot be read or is not in the format.
    pub(super) fn read(path: &Path) -> Result<File, String> {
        let sqlite = path.extension().is_some_and(|extension| extension == "test");
        let mut file = File {
            path: path.to_owned(),
            dialect: if sqlite { Dialect::Sqlite } else { Dialect::DataFusion },
            steps: Vec::new(),
        };
        file.append(path)?;
        Ok(file)
    }

    fn append(&mut self, path: &Path) -> Result<(), String> {
        let text = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let text = without_remarks(&String::from_utf8_lossy(&text));
        let records = sqllogictest::parse_with_name::<DefaultColumnType>(&text, path.to_string_lossy())
            .map_err(|error| error.to_string())?;
        let mut control = (SortMode::NoSort, self.dialect == Dialect::Sqlite);
        for record in records {
            match record {
                Record::Include { filename, .. } => {
                    let included = path.parent().unwrap_or(Path::new(".")).join(filename);
                    self.append(&included)?;
                }
                Record::Halt { loc } => {
                    self.steps.push(Step { line: loc.line(), sql: String::new(), kind: Kind::Halt });
                    break;
                }
                Record::Control(sqllogictest::Control::SortMode(mode)) => control.0 = mode,
                Record::Control(sqllogictest::Control::ResultMode(mode)) => control.1 = mode == ResultMode::ValueWise,
                Record::Statement { loc, conditions, sql, expected, .. } if applies(&conditions) => {
                    let kind = Kind::Statement { fails: matches!(expected, StatementExpect::Error(_)) };
                    self.steps.push(Step { line: loc.line(), sql, kind });
                }
                Record::Query { loc, conditions, sql, expected, .. } if applies(&conditions) => {
                    let kind = Kind::Query(expect(expected, control));
                    self.steps.push(Step { line: loc.line(), sql, kind });
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn expect(expected: QueryExpect<DefaultColumnType>, (sort, value_wise): (SortMode, bool)) -> Option<Expect> {
    let QueryExpect::Results { types, sort_mode, result_mode, results, .. } = expected else { return None };
    let letters = types.iter().map(sqllogictest::ColumnType::to_char).collect();
    let value_wise = result_mode.map_or(value_wise, |mode| mode == ResultMode::ValueWise);
    Some(Expect { letters, sort: sort_mode.unwrap_or(sort), value_wise, lines: results })
}

fn applies(conditions: &[Condition]) -> bool {
    conditions.iter().all(|condition| match condition {
        Condition::OnlyIf { label } => label == LABEL,
        Condition::SkipIf { label } => label != LABEL,
    })
}

/// The text without the remarks that SQLite's files have behind conditions, which the parser does not know.
fn without_remarks(text: &str) -> String {
    let mut found = String::with_capacity(text.len());
    for line in text.lines() {
        let condition = line.starts_with("skipif ") || line.starts_with("onlyif ");
        found.push_str(match line.split_once('#') {
            Some((condition_only, _)) if condition => condition_only.trim_end(),
            _ => line.trim_end_matches('\r'),
        });
        found.push('\n');
    }
    found
}
