//! Windows as text.

use headwater_dataflow::expr::ScalarExpr;
use headwater_dataflow::plan::{
    AggregateFunc, Frame, FrameOffset, FrameUnits, OrderBy, Places, RowLimit, WindowCall, WindowFunction,
};

use super::expr::show;
use super::{function_name, kept_text, list};

/// What is said about a window over `columns`, line by line.
pub(super) fn details(
    (partition, order): (&[ScalarExpr], &[OrderBy]),
    functions: &[WindowFunction],
    limit: Option<RowLimit>,
    columns: &[String],
) -> Vec<String> {
    let mut details = Vec::new();
    if partition.is_empty() {
        details.push("one partition".to_owned());
    } else {
        details.push(format!("partition: {}", list(partition, columns, ", ")));
    }
    let keys: Vec<String> = order
        .iter()
        .map(|key| {
            let direction = if key.descending { " DESC" } else { "" };
            // NULLs come last, and first where the greatest do, unless it says otherwise.
            let nulls = match (key.nulls_first, key.descending) {
                (true, false) => " NULLS FIRST",
                (false, true) => " NULLS LAST",
                _ => "",
            };
            format!("{}{direction}{nulls}", show(&key.expr.expr, columns))
        })
        .collect();
    if !keys.is_empty() {
        details.push(format!("order: {}", keys.join(", ")));
    }
    if let Some(limit) = limit {
        let fetch = match (limit.fetch, limit.places) {
            (None, _) => "all rows".to_owned(),
            (Some(fetch), Places::Rows) => format!("{fetch} rows"),
            (Some(fetch), Places::FirstPeers) => format!("ranks up to {fetch}"),
            (Some(fetch), Places::Groups) => format!("dense ranks up to {fetch}"),
        };
        let offset = if limit.offset > 0 { format!(" behind the first {}", limit.offset) } else { String::new() };
        details.push(format!("leaves: {fetch}{offset}"));
    }
    details.extend(functions.iter().map(|function| text(function, columns)));
    if limit.is_none() && functions.iter().any(|function| rank_name(&function.call).is_some()) {
        details.push("a change moves every row behind it: of large partitions keep the first rows only".to_owned());
    }
    details
}

/// The name of a rank: a change can change the answers of all rows behind it.
pub(super) fn rank_name(call: &WindowCall) -> Option<&'static str> {
    match call {
        WindowCall::RowNumber => Some("row_number"),
        WindowCall::Rank => Some("rank"),
        WindowCall::DenseRank => Some("dense_rank"),
        WindowCall::PercentRank => Some("percent_rank"),
        WindowCall::CumeDist => Some("cume_dist"),
        WindowCall::Ntile(_) | WindowCall::Lag { .. } | WindowCall::Nth { .. } | WindowCall::Aggregate(_) => None,
    }
}

fn text(function: &WindowFunction, columns: &[String]) -> String {
    let arg = function.args.first().map(|arg| show(&arg.expr, columns));
    let (name, framed) = match &function.call {
        WindowCall::RowNumber => ("row_number()".to_owned(), false),
        WindowCall::Rank => ("rank()".to_owned(), false),
        WindowCall::DenseRank => ("dense_rank()".to_owned(), false),
        WindowCall::PercentRank => ("percent_rank()".to_owned(), false),
        WindowCall::CumeDist => ("cume_dist()".to_owned(), false),
        WindowCall::Ntile(tiles) => (format!("ntile({tiles})"), false),
        WindowCall::Lag { offset, .. } if *offset < 0 => {
            (format!("lead({}, {})", arg.unwrap_or_default(), -offset), false)
        }
        WindowCall::Lag { offset, .. } => (format!("lag({}, {offset})", arg.unwrap_or_default()), false),
        WindowCall::Nth { n: 1, .. } => (format!("first_value({})", arg.unwrap_or_default()), true),
        WindowCall::Nth { n: -1, .. } => (format!("last_value({})", arg.unwrap_or_default()), true),
        WindowCall::Nth { n, .. } => (format!("nth_value({}, {n})", arg.unwrap_or_default()), true),
        WindowCall::Aggregate(AggregateFunc::Recomputed(recomputed)) => {
            let args = recomputed.args().iter().map(|arg| kept_text(arg, &function.args, columns));
            let args: Vec<String> = args.collect();
            (format!("{}({})", recomputed.name(), args.join(", ")), true)
        }
        WindowCall::Aggregate(func) => {
            let args = if function.args.is_empty() { "*".to_owned() } else { list(&function.args, columns, ", ") };
            (format!("{}({args})", function_name(func)), true)
        }
    };
    let frame = if framed { format!(" {}", frame_text(&function.frame)) } else { String::new() };
    let filter = function.filter.as_ref().map(|filter| format!(" FILTER ({})", show(&filter.expr, columns)));
    let anew = match function.call {
        WindowCall::Aggregate(AggregateFunc::Recomputed(_)) => " (anew from all rows of the frame)",
        _ => "",
    };
    format!("{name}{}{frame} AS {}{anew}", filter.unwrap_or_default(), function.name)
}

fn frame_text(frame: &Frame) -> String {
    let units = match frame.units {
        FrameUnits::Rows => "rows",
        FrameUnits::Range => "range",
        FrameUnits::Groups => "groups",
    };
    let start = frame.start.map_or_else(|| "unbounded preceding".to_owned(), offset_text);
    let end = frame.end.map_or_else(|| "unbounded following".to_owned(), offset_text);
    format!("{units} between {start} and {end}")
}

fn offset_text(offset: FrameOffset) -> String {
    let (text, preceding) = match offset {
        FrameOffset::Current => return "current row".to_owned(),
        FrameOffset::Count(count) => (count.unsigned_abs().to_string(), count < 0),
        FrameOffset::Float(by) => (by.abs().to_string(), by < 0.0),
        FrameOffset::Calendar { months, micros } => {
            (format!("{} months {} us", months.unsigned_abs(), micros.unsigned_abs()), months < 0)
        }
    };
    format!("{text} {}", if preceding { "preceding" } else { "following" })
}
