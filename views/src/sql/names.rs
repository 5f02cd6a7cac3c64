//! Columns of one name in an answer: SQL allows them, the planner does not. They are planned under other names.

use std::collections::BTreeSet;

use datafusion::sql::sqlparser::ast::{Expr, Ident, Query, Select, SelectItem, SetExpr, Statement};

/// Stands between a name and a number; no text has it.
const MARK: char = '\u{1}';

/// Gives columns whose names repeat in a SELECT list of the outermost query names of their own; whether there was one.
pub(super) fn make_distinct(statement: &mut Statement) -> bool {
    match statement {
        Statement::Query(query) => in_query(query),
        _ => false,
    }
}

/// The name that was written.
pub(super) fn written(name: &str) -> &str {
    name.split_once(MARK).map_or(name, |(written, _)| written)
}

fn in_query(query: &mut Query) -> bool {
    in_body(&mut query.body)
}

fn in_body(body: &mut SetExpr) -> bool {
    match body {
        SetExpr::Select(select) => in_select(select),
        SetExpr::Query(query) => in_query(query),
        SetExpr::SetOperation { left, right, .. } => in_body(left) | in_body(right),
        _ => false,
    }
}

fn in_select(select: &mut Select) -> bool {
    let mut seen = BTreeSet::new();
    let mut changed = false;
    for (index, item) in select.projection.iter_mut().enumerate() {
        let Some((name, expr)) = named(item) else { continue };
        if seen.insert(name.clone()) {
            continue;
        }
        let expr = expr.clone();
        let alias = Ident::with_quote('"', format!("{name}{MARK}{index}"));
        *item = SelectItem::ExprWithAlias { expr, alias };
        changed = true;
    }
    changed
}

/// The name that an item gives its column, and its expression.
fn named(item: &SelectItem) -> Option<(String, &Expr)> {
    let folded = |ident: &Ident| match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    };
    match item {
        SelectItem::ExprWithAlias { expr, alias } => Some((folded(alias), expr)),
        SelectItem::UnnamedExpr(expr) => Some((
            match expr {
                Expr::Identifier(ident) => folded(ident),
                Expr::CompoundIdentifier(path) => path.last().map(folded)?,
                other => other.to_string(),
            },
            expr,
        )),
        _ => None,
    }
}
