//! Which columns of a table a statement gives values for, and whether it gives as many.

use std::collections::BTreeSet;

use datafusion::sql::sqlparser::ast::{Expr, Ident, Query, SelectItem, SetExpr};

use super::{Table, literal};
use crate::sql::error::{Position, SqlError, SqlErrorKind};

/// The column `name`.
pub(super) fn find_column(table: &Table, name: &str) -> Result<usize, SqlError> {
    table.schema.fields().iter().position(|field| field.name() == name).ok_or_else(|| {
        let names: Vec<&str> = table.schema.fields().iter().map(|field| field.name().as_str()).collect();
        let message = format!("column \"{name}\" of relation \"{}\" does not exist", table.name);
        SqlError::new(SqlErrorKind::NotFound, message).hint(format!("the columns are {}", names.join(", ")))
    })
}

/// The columns with these names, each named once.
pub(super) fn columns_of(
    table: &Table,
    names: impl IntoIterator<Item = (String, Position)>,
) -> Result<Vec<usize>, SqlError> {
    let mut found = Vec::new();
    for (name, place) in names {
        let column = find_column(table, &name).map_err(|error| error.at(place))?;
        if found.contains(&column) {
            return Err(SqlError::invalid(format!("column \"{name}\" specified more than once")).at(place));
        }
        found.push(column);
    }
    Ok(found)
}

/// Whether every row has as many values as there are targets.
pub(super) fn check_widths(values: &[&[Expr]], targets: usize, width: usize) -> Result<(), SqlError> {
    let Some(first) = values.first() else { return Ok(()) };
    if values.iter().any(|row| row.len() != first.len()) {
        return Err(SqlError::invalid("VALUES lists must all be the same length"));
    }
    if first.len() > width || first.len() != targets {
        return Err(wrong_width(first.len(), targets.min(width)));
    }
    Ok(())
}

/// There are more values than columns, or fewer.
pub(super) fn wrong_width(given: usize, targets: usize) -> SqlError {
    SqlError::invalid(if given > targets {
        "INSERT has more expressions than target columns"
    } else {
        "INSERT has more target columns than expressions"
    })
    .hint(format!("{given} are given for {targets}"))
}

/// Whether a value is the word DEFAULT.
pub(super) fn is_default(value: &Expr) -> bool {
    matches!(value, Expr::Identifier(ident) if ident.quote_style.is_none() && ident.value.eq_ignore_ascii_case("default"))
}

/// The query of an INSERT as it is planned: with the defaults of columns in the place of the word DEFAULT, and with names
/// for values that stand twice in its select list, which the planner wants to tell apart.
pub(super) fn prepared(query: &Query, table: &Table, targets: Option<&[usize]>) -> Result<Query, SqlError> {
    let mut query = query.clone();
    match &mut *query.body {
        SetExpr::Values(values) => {
            for row in &mut values.rows {
                put_defaults(&mut row.content, table, targets)?;
            }
        }
        SetExpr::Select(select) => name_repeated(&mut select.projection),
        _ => {}
    }
    Ok(query)
}

fn put_defaults(values: &mut [Expr], table: &Table, targets: Option<&[usize]>) -> Result<(), SqlError> {
    let width = table.schema.fields().len();
    for (index, value) in values.iter_mut().enumerate().filter(|(_, value)| is_default(value)) {
        let column = targets.map_or(Some(index), |targets| targets.get(index).copied());
        // Of values that are too many, it is said of the whole.
        if let Some(column) = column.filter(|column| *column < width) {
            *value = literal::default_of(table, column)?;
        }
    }
    Ok(())
}

fn name_repeated(projection: &mut [SelectItem]) {
    let mut seen = BTreeSet::new();
    for (index, item) in projection.iter_mut().enumerate() {
        if let SelectItem::UnnamedExpr(expr) = item
            && !seen.insert(expr.to_string())
        {
            let alias = Ident::with_quote('"', format!("$value{index}"));
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
        }
    }
}
