//! What the views of a case must show after every change.

use std::collections::BTreeMap;

use arrow::datatypes::SchemaRef;
use headwater_dataflow::repr::{CollectionId, Diff, ObjectId};
use headwater_views::sql::SqlError;

use super::batch::{Answer, Batch, Contents, Names, Unit};
use super::case::{Case, Check};
use crate::engine::rows::Rows;

/// The relation that `top` and `probe` of a check read.
const CORE: ObjectId = ObjectId(u64::MAX);

/// Answers with more rows than this are not compared: the case is dropped.
const ROWS_MAX: i64 = 20_000;

/// What a view must show at one time.
#[derive(Clone, Debug)]
pub(crate) enum Expected {
    /// Exactly these rows and so many errors.
    Rows(Rows, Diff),
    /// These rows, if there are no errors.
    RowsOrErrors(Rows),
    /// The batch fails, and nobody says on which rows.
    Errors,
}

/// Why a case says nothing.
#[derive(Clone, Debug)]
pub(crate) enum Unusable {
    /// A query that cannot fail fails in the batch.
    #[expect(dead_code, reason = "shown by Debug")]
    Batch(String, SqlError),
    /// Too many rows.
    Big,
}

/// A view as the batch side sees it.
pub(crate) struct Reader {
    pub(crate) check: Check,
    /// Where its rows are for views over it.
    pub(crate) collection: CollectionId,
    pub(crate) schema: SchemaRef,
}

/// Per view and change what must be there.
pub(crate) fn expectations(
    case: &Case,
    batch: &Batch,
    names: &Names,
    tables: &[(CollectionId, SchemaRef)],
    readers: &[Reader],
) -> Result<Vec<Vec<Expected>>, Unusable> {
    let mut found: Vec<Vec<Expected>> = vec![Vec::new(); readers.len()];
    let mut before = Contents::new();
    for index in 0..case.history.changes.len() {
        let mut contents = Contents::new();
        for (table, (collection, schema)) in tables.iter().enumerate() {
            contents.insert(*collection, (schema.clone(), case.history.rows_at(table, index)));
        }
        for (view, reader) in readers.iter().enumerate() {
            let expected = match found[view].last() {
                // Nothing that could be read differs.
                Some(last) if contents == before_of(&before, &contents) => last.clone(),
                _ => expected(batch, names, &contents, &reader.check)?,
            };
            if let Expected::Rows(rows, _) = &expected {
                contents.insert(reader.collection, (reader.schema.clone(), rows.clone()));
            }
            found[view].push(expected);
        }
        before = contents;
    }
    Ok(found)
}

/// What `before` says about the collections of `now`.
fn before_of(before: &Contents, now: &Contents) -> Contents {
    now.keys().filter_map(|id| before.get(id).map(|rows| (*id, rows.clone()))).collect::<BTreeMap<_, _>>()
}

fn expected(batch: &Batch, names: &Names, contents: &Contents, check: &Check) -> Result<Expected, Unusable> {
    let sure = |query: &str, names: &Names, contents: &Contents| -> Result<Answer, Unusable> {
        let answer = batch.answer(query, names, contents).map_err(|error| Unusable::Batch(query.to_owned(), error))?;
        if answer.rows.values().sum::<i64>() > ROWS_MAX { Err(Unusable::Big) } else { Ok(answer) }
    };
    let staged = |core: &str, probe: &str, top: &str, units: fn(&Rows) -> Vec<Unit>| {
        let core = sure(core, names, contents)?;
        let mut names = names.clone();
        names.add_collection("core", CORE.rows(), core.schema.clone(), false);
        let (good, errors) = batch.probe((CORE.rows(), &core.schema), &units(&core.rows), probe, &names);
        let contents = Contents::from([(CORE.rows(), (core.schema, good))]);
        Ok(Expected::Rows(sure(top, &names, &contents)?.rows, errors))
    };
    match check {
        Check::Whole(query) => Ok(Expected::Rows(sure(&query.sql(), names, contents)?.rows, 0)),
        Check::Probe { core, probe, top } => staged(&core.sql(), &probe.sql(), &top.sql(), Unit::rows),
        Check::Groups { core, top } => staged(&core.sql(), &top.sql(), &top.sql(), Unit::groups),
        Check::Loose(query) => match batch.answer(&query.sql(), names, contents) {
            Ok(answer) => Ok(Expected::RowsOrErrors(answer.rows)),
            Err(_) => Ok(Expected::Errors),
        },
    }
}
