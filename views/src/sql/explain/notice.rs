//! What whoever deploys a view should know of its plan: it is accepted, and there is a price.

use headwater_dataflow::plan::{Op, Plan};

use super::window::rank_name;

/// Something to know, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What it is.
    pub message: String,
    /// What to do instead.
    pub hint: String,
}

/// What is to be said about a plan, each once.
pub fn notices(plan: &Plan) -> Vec<Notice> {
    let mut notices = Vec::new();
    for node in &plan.nodes {
        let Op::Window { partition, functions, limit: None, .. } = &node.op else { continue };
        for name in functions.iter().filter_map(|function| rank_name(&function.call)) {
            let notice = moving(name, partition.is_empty());
            if !notices.contains(&notice) {
                notices.push(notice);
            }
        }
    }
    notices
}

/// A rank of every row is an answer of every row.
fn moving(function: &str, whole: bool) -> Notice {
    let behind = if whole { "every row behind it" } else { "every row behind it in its partition" };
    let hint = "where there are few rows that is cheap; otherwise keep the first ones only (row_number() <= k), divide them \
                with ntile(), or leave the rank out and compute it when reading";
    Notice {
        message: format!("{function}() of all rows is kept: each changed row changes the answer of {behind}"),
        hint: hint.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::plan::plan_view;
    use crate::sql::plan::tests::Shop;

    fn told(query: &str) -> Vec<String> {
        let planned = plan_view(query, &Shop).unwrap();
        notices(&planned.plan).into_iter().map(|notice| notice.message).collect()
    }

    #[test]
    fn a_rank_of_every_row_is_told_about_once() {
        let ranks = told(
            "SELECT row_number() OVER w AS a, rank() OVER w AS b, rank() OVER w AS c, ntile(4) OVER w AS d, sum(price) OVER w AS e
             FROM lines WINDOW w AS (PARTITION BY product ORDER BY price)",
        );
        assert_eq!(
            ranks,
            ["row_number", "rank"].map(|name| {
                format!("{name}() of all rows is kept: each changed row changes the answer of every row behind it in its partition")
            })
        );
        let whole = told("SELECT percent_rank() OVER (ORDER BY price) AS p FROM lines");
        assert!(whole[0].ends_with("changes the answer of every row behind it"), "{whole:?}");
    }

    #[test]
    fn the_first_rows_and_tiles_are_nothing_to_tell() {
        for query in [
            "SELECT invoice FROM (SELECT invoice, row_number() OVER (PARTITION BY product ORDER BY price DESC) AS n FROM lines) AS t WHERE n <= 3",
            "SELECT ntile(5) OVER (ORDER BY price) AS n, lag(price) OVER (ORDER BY price) AS l FROM lines",
            "SELECT country, count(*) FROM lines GROUP BY country",
        ] {
            assert_eq!(told(query), [""; 0], "{query}");
        }
    }
}
