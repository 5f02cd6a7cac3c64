//! Runs the records of one file, in one way of answering or in both.

use arrow::array::UInt64Array;
use arrow::compute::take_record_batch;
use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast::Statement;
use headwater_dataflow::repr::Diff;
use sqllogictest::SortMode;

use super::evaluate::{Failure, Reader};
use super::judge::{Texts, Verdict, compare, needs_order, plain, texts};
use super::maintain::{Engines, Shown};
use super::record::{Dialect, Expect, File, Kind, Step};
use super::report::{Mode, Report};
use super::statement::{World, parse};
use super::tables::Tables;
use super::{decisions, words};
use crate::engine::rows::{Row, Rows, rows_of};

/// Why other rows are right too.
const TIES: &str = "rows tie in the order, or there is none";

/// In how many orders, forwards and backwards, a query is asked again.
const ORDERS: u64 = 4;

/// Every so many queries a view is compared at every tick.
const EVERY_TICK: u64 = 8;

/// Runs one file after another.
pub(super) struct Runner<'a> {
    pub(super) reader: Reader,
    pub(super) engines: Engines,
    pub(super) modes: &'a [Mode],
    /// Told before each record what runs.
    pub(super) note: &'a dyn Fn(String),
}

impl Runner<'_> {
    /// Runs the records of `file`, of its queries those that `chosen` says, by number in the file.
    pub(super) fn run(&mut self, file: &File, chosen: &[bool], report: &mut Report) {
        let reader = std::mem::replace(&mut self.reader, Reader::new());
        let mut world = World { reader: &reader, tables: Tables::default(), path: &file.path, settings: None };
        let name = file.path.display().to_string();
        let last = chosen.iter().rposition(|chosen| *chosen);
        let mut query = 0;
        for step in &file.steps {
            let place = format!("{name}:{}", step.line);
            (self.note)(place.clone());
            match &step.kind {
                Kind::Halt => break,
                Kind::Statement { fails } => {
                    if last.is_none_or(|last| query > last) {
                        break;
                    }
                    let verdict = statement(&mut world, &step.sql, *fails);
                    report.statement(&place, &step.sql, verdict, *fails);
                }
                Kind::Query(expect) => {
                    let number = query;
                    query += 1;
                    if chosen[number] {
                        let seed = number as u64 + u64::from(step.line) * 31;
                        for (mode, verdict) in self.query(file.dialect, &mut world, step, expect.as_ref(), seed) {
                            report.query(&file.path, &place, &step.sql, mode, verdict);
                        }
                    }
                }
            }
        }
    }

    fn query(
        &mut self,
        dialect: Dialect,
        world: &mut World<'_>,
        step: &Step,
        expect: Option<&Expect>,
        seed: u64,
    ) -> Vec<(Mode, Verdict)> {
        let all = |verdict: Verdict| self.modes.iter().map(|mode| (*mode, verdict.clone())).collect();
        if let Some(reason) = world.settings.or_else(|| decisions::skipped(&step.sql)) {
            return all(Verdict::Skipped(reason));
        }
        match parse(&step.sql).as_deref() {
            Ok([DfStatement::Statement(statement)]) if matches!(**statement, Statement::Query(_)) => {}
            Ok(_) => return all(changes(world, step, expect)),
            Err(failure) => return all(verdict_of(failure.clone(), &step.sql, expect)),
        }
        let (read, rows) = read(dialect, world, step, expect);
        let mut verdicts = Vec::new();
        for mode in self.modes {
            let verdict = match mode {
                Mode::Batch => read.clone(),
                Mode::View => match expect {
                    Some(wanted) if needs_order(wanted) && read != Verdict::Passed => match &read {
                        Verdict::Wrong(_) => Verdict::Failed("only the batch could say what is right".to_owned()),
                        other => other.clone(),
                    },
                    _ => self.maintained(dialect, world, step, expect, &rows, seed),
                },
            };
            verdicts.push((*mode, verdict));
        }
        verdicts
    }

    fn maintained(
        &mut self,
        dialect: Dialect,
        world: &World<'_>,
        step: &Step,
        expect: Option<&Expect>,
        read: &Texts,
        seed: u64,
    ) -> Verdict {
        let shown = match self.engines.maintain(&step.sql, world, seed) {
            Ok(shown) => shown,
            Err(failure) => return verdict_of(failure, &step.sql, expect),
        };
        let errors = |errors: &Rows| {
            let some: Vec<String> =
                errors.iter().take(3).map(|(error, count)| format!("{count} x {error:?}")).collect();
            some.join(", ")
        };
        let Some(expect) = expect else {
            return match shown.errors.is_empty() {
                true => decisions::answered(&step.sql),
                false => Verdict::Passed,
            };
        };
        if !shown.errors.is_empty() {
            return verdict_of(Failure::Failed(errors(&shown.errors)), &step.sql, Some(expect));
        }
        let Some(rows) = copies(&shown.rows) else { return Verdict::Wrong("    a count below zero".to_owned()) };
        let got = texts(dialect, &expect.letters, &shown.schema, rows.iter().copied());
        let verdict = if needs_order(expect) {
            compare(&as_lines(expect, read), &shown.schema, &got, false)
        } else {
            compare(expect, &shown.schema, &got, false)
        };
        let verdict = match verdict {
            Verdict::Wrong(_) if ties(dialect, world, step, expect, &got) => Verdict::Differs(TIES),
            other => other,
        };
        let verdict = decisions::decided(&step.sql, verdict);
        if verdict == Verdict::Passed && seed.is_multiple_of(EVERY_TICK) {
            return every_tick(world, step, expect, &shown);
        }
        verdict
    }
}

/// Compares a view with a read over the rows so far, at every tick.
fn every_tick(world: &World<'_>, step: &Step, expect: &Expect, shown: &Shown) -> Verdict {
    for (tick, (rows, errors)) in shown.states.iter().enumerate() {
        let at =
            |id| shown.histories.get(&id).map_or_else(|| world.tables.content(id), |history| history.rows_at(tick));
        // Where a read fails, or the view has errors, nobody says on which rows.
        let Ok(answer) = world.reader.read(&step.sql, &world.tables, at) else { continue };
        if !errors.is_empty() {
            continue;
        }
        let Some(rows) = copies(rows) else { return Verdict::Wrong(format!("    a count below zero at tick {tick}")) };
        let read: Vec<Row> = answer.batches.iter().flat_map(rows_of).collect();
        let read = texts(Dialect::DataFusion, &expect.letters, &answer.schema, read.iter());
        let got = texts(Dialect::DataFusion, &expect.letters, &shown.schema, rows.iter().copied());
        let verdict = compare(&as_lines(expect, &read), &shown.schema, &got, false);
        if let Verdict::Wrong(said) = verdict {
            return Verdict::Wrong(format!("    at tick {tick} of {}\n{said}", shown.states.len()));
        }
    }
    Verdict::Passed
}

/// What the file would say if it had these rows.
fn as_lines(expect: &Expect, rows: &Texts) -> Expect {
    let lines = if expect.value_wise {
        rows.iter().flatten().cloned().collect()
    } else {
        rows.iter().map(|row| row.join(" ")).collect()
    };
    Expect { lines, sort: SortMode::RowSort, ..expect.clone() }
}

/// Every row as often as it is there; `None` if one is there less than never.
fn copies(rows: &Rows) -> Option<Vec<&Row>> {
    let mut found = Vec::new();
    for (row, count) in rows {
        let count: Diff = *count;
        found.extend(std::iter::repeat_n(row, usize::try_from(count).ok()?));
    }
    Some(found)
}

/// What a read answers, judged, and its rows.
fn read(dialect: Dialect, world: &World<'_>, step: &Step, expect: Option<&Expect>) -> (Verdict, Texts) {
    let answer = match world.read(&step.sql) {
        Ok(answer) => answer,
        Err(failure) => return (verdict_of(failure, &step.sql, expect), Texts::new()),
    };
    let Some(expect) = expect else { return (decisions::answered(&step.sql), Texts::new()) };
    let rows: Vec<Row> = answer.batches.iter().flat_map(rows_of).collect();
    let got = texts(dialect, &expect.letters, &answer.schema, rows.iter());
    let mut verdict = compare(expect, &answer.schema, &got, order_of(&step.sql));
    if let Verdict::Wrong(_) = verdict
        && ties(dialect, world, step, expect, &got)
    {
        verdict = Verdict::Differs(TIES);
    }
    (decisions::decided(&step.sql, verdict), got)
}

/// Whether the query says in which order its rows come.
fn order_of(sql: &str) -> bool {
    words::from(sql, &["ORDER"]).is_some()
}

/// Whether the rows and the expected ones are equally right: they differ only in the order of rows, or in which of all
/// rows a limit chose, or a read over the same rows in another order answers something else as well.
fn ties(dialect: Dialect, world: &World<'_>, step: &Step, expect: &Expect, got: &Texts) -> bool {
    let got = as_lines(expect, got).lines;
    if sorted(&expect.lines) == sorted(&got) || undetermined(dialect, world, step, expect) {
        return true;
    }
    let whole = words::before(words::before(&step.sql, "OFFSET"), "LIMIT");
    if whole.len() == step.sql.len() || expect.lines.len() != got.len() {
        return false;
    }
    let Ok(answer) = world.read(whole) else { return false };
    let rows: Vec<Row> = answer.batches.iter().flat_map(rows_of).collect();
    let all = sorted(&as_lines(expect, &texts(dialect, &expect.letters, &answer.schema, rows.iter())).lines);
    [sorted(&expect.lines), sorted(&got)].iter().all(|some| {
        let mut all = all.iter();
        some.iter().all(|line| all.any(|known| known == line))
    })
}

/// Whether the answer depends on the order of the rows in their tables, which have none: it is asked again over rows
/// backwards, and from different places on.
fn undetermined(dialect: Dialect, world: &World<'_>, step: &Step, expect: &Expect) -> bool {
    let lines = |backwards: bool, first: u64| {
        let at = |id| {
            let rows = world.tables.content(id);
            let count = rows.num_rows() as u64;
            let row = |row: u64| (if backwards { count - 1 - row } else { row } + first * count / ORDERS) % count;
            let order = UInt64Array::from_iter_values((0..count).map(row));
            take_record_batch(&rows, &order).expect("every row has a place")
        };
        let answer = world.reader.read(&step.sql, &world.tables, at).ok()?;
        let rows: Vec<Row> = answer.batches.iter().flat_map(rows_of).collect();
        Some(sorted(&as_lines(expect, &texts(dialect, &expect.letters, &answer.schema, rows.iter())).lines))
    };
    let first = lines(false, 0);
    let others = (0..ORDERS).flat_map(|at| [lines(false, at), lines(true, at)]);
    others.into_iter().any(|other| other != first)
}

/// Lines without superfluous blanks, sorted.
fn sorted(lines: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = lines.iter().map(|line| plain(line)).collect();
    lines.sort_unstable();
    lines
}

/// A query that is a statement: it answers how many rows it touched.
fn changes(world: &mut World<'_>, step: &Step, expect: Option<&Expect>) -> Verdict {
    match (world.execute(&step.sql), expect) {
        (Err(failure), _) => verdict_of(failure, &step.sql, expect),
        (Ok(_), None) => decisions::answered(&step.sql),
        (Ok(count), Some(expect)) => match expect.lines.as_slice() {
            [] => Verdict::Passed,
            [line] if line.trim() == count.to_string() => Verdict::Passed,
            lines => Verdict::Wrong(format!("    expected {lines:?} rows to be touched, got {count}")),
        },
    }
}

fn statement(world: &mut World<'_>, sql: &str, fails: bool) -> Verdict {
    match world.execute(sql) {
        Ok(_) if fails => decisions::answered(sql),
        Ok(_) => Verdict::Passed,
        Err(Failure::Skipped(reason)) => Verdict::Skipped(reason),
        Err(_) if fails => Verdict::Passed,
        Err(Failure::Refused(message)) => Verdict::Refused(message),
        Err(Failure::Failed(message)) => Verdict::Failed(message),
    }
}

/// What a failure is for a record that expects an answer, or none.
fn verdict_of(failure: Failure, sql: &str, expect: Option<&Expect>) -> Verdict {
    match failure {
        Failure::Skipped(reason) => Verdict::Skipped(reason),
        _ if expect.is_none() => Verdict::Passed,
        Failure::Refused(message) => decisions::decided(sql, Verdict::Refused(message)),
        Failure::Failed(message) => decisions::decided(sql, Verdict::Failed(message)),
    }
}
