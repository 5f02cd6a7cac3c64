//! The end of the demo: what the views came to, what a plain sum over the lines comes to, and what to try next.

use std::path::Path;
use std::time::Duration;

use super::tally::Totals;

/// What there is to say at the end.
pub(crate) struct Report {
    /// The totals of the views.
    pub(crate) shown: Totals,
    /// The records that the source could not decode.
    pub(crate) errors: u64,
    /// The plain sum.
    pub(crate) expected: Totals,
    /// From the first line written to the last one visible.
    pub(crate) elapsed: Duration,
    /// How long lines took from the write to the view.
    pub(crate) delays: Vec<Duration>,
}

impl Report {
    /// Whether the views hold exactly what the plain sum comes to.
    pub(crate) fn equal(&self) -> bool {
        Totals { errors: self.errors, ..self.shown } == self.expected
    }

    /// The text. `stays` says that the server goes on serving.
    pub(crate) fn lines(&self, address: &str, kept: Option<&Path>, stays: bool) -> Vec<String> {
        let Totals { gross_mils, refund_mils, orders, customers, lines, .. } = self.shown;
        let mut text = vec![
            "totals".to_owned(),
            figure("gross", &money(gross_mils)),
            figure("refunds", &money(refund_mils)),
            figure("net", &money(gross_mils - refund_mils)),
            figure("orders", &thousands(orders)),
            figure("customers", &thousands(customers)),
            figure("lines", &thousands(lines)),
            figure("errors", &thousands(self.errors)),
            format!("equal to a plain sum over the rows: {}", if self.equal() { "yes" } else { "no" }),
        ];
        if !self.equal() {
            text.push(format!("the plain sum: {:?}", self.expected));
        }
        let rate = (lines as f64 / self.elapsed.as_secs_f64().max(0.001)) as u64;
        let took =
            format!("{} lines in {:.1} s, {} lines/s", thousands(lines), self.elapsed.as_secs_f64(), thousands(rate));
        text.push(match self.delays_ms() {
            Some((median, slow)) => format!("{took}; visible after {median} ms (median), {slow} ms (99 of 100)"),
            None => took,
        });
        text.push(String::new());
        text.extend(next_steps(address, kept, stays));
        text
    }

    /// The median delay and the one that 99 of 100 stay below, in ms.
    fn delays_ms(&self) -> Option<(u128, u128)> {
        let mut delays = self.delays.clone();
        delays.sort_unstable();
        let at = |percent: usize| Some(delays.get((delays.len().max(1) - 1) * percent / 100)?.as_millis());
        Some((at(50)?, at(99)?))
    }
}

fn figure(name: &str, value: &str) -> String {
    format!("  {name:<10}{value:>18}")
}

fn next_steps(address: &str, kept: Option<&Path>, stays: bool) -> Vec<String> {
    let mut text = vec!["what to try next".to_owned()];
    let mut server = format!("http://{address}");
    match (stays, kept) {
        (true, _) => text.push(format!("  the server stays up at {server} until Ctrl-C; in another terminal:")),
        (false, Some(dir)) => {
            let dir = dir.display();
            server = "http://127.0.0.1:6565".to_owned();
            text.push(format!(
                "  headwater serve --data-dir {dir}/data --base-dir {dir}    # goes on where the demo stopped"
            ));
        }
        (false, None) => {
            text.push("  headwater demo             # in a terminal it stays up for queries".to_owned());
            text.push("  headwater demo --help      # other years, the published file, a directory to keep".to_owned());
            return text;
        }
    }
    text.push(format!("  export HEADWATER_SERVER={server}"));
    text.push("  headwater query 'SELECT * FROM monthly_kpis ORDER BY period_start'".to_owned());
    text.push("  headwater subscribe totals".to_owned());
    text.push("  headwater explain country_kpis".to_owned());
    text.push("  headwater status".to_owned());
    text
}

/// Mils as pounds with three digits behind the point and commas between thousands.
pub(crate) fn money(mils: i64) -> String {
    let sign = if mils < 0 { "-" } else { "" };
    format!("{sign}{}.{:03}", thousands(mils.unsigned_abs() / 1000), mils.unsigned_abs() % 1000)
}

/// A number with commas between thousands.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        for (mils, text) in [(0, "0.000"), (-1, "-0.001"), (999_999, "999.999"), (10_655_622_484, "10,655,622.484")] {
            assert_eq!(money(mils), text);
        }
    }

    #[test]
    fn unequal_totals_are_said() {
        let expected = Totals { gross_mils: 5, lines: 2, errors: 1, ..Totals::default() };
        let shown = Totals { errors: 0, ..expected };
        let report =
            |errors, shown| Report { shown, errors, expected, elapsed: Duration::from_secs(2), delays: Vec::new() };
        assert!(report(1, shown).equal());
        assert!(!report(0, shown).equal());
        let off = report(1, Totals { gross_mils: 6, ..shown });
        assert!(!off.equal());
        let text = off.lines("127.0.0.1:1", None, false).join("\n");
        assert!(
            text.contains("equal to a plain sum over the rows: no\nthe plain sum: Totals { gross_mils: 5"),
            "{text}"
        );
    }
}
