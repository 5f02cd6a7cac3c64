//! What the demo shows: a table that is redrawn in place where there is a terminal, and else a plain line now and then.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use chrono::NaiveDateTime;
use crossterm::cursor::{Hide, MoveToColumn, MoveUp, Show};
use crossterm::style::Stylize;
use crossterm::terminal::{self, Clear, ClearType};
use crossterm::{execute, queue};

use super::board::Board;
use super::replay::Replay;
use super::report::{money, thousands};
use super::writer::Writer;

/// How often a plain line is written where there is no terminal.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// Over how long the lines per second are counted.
const RATE_WINDOW: Duration = Duration::from_secs(1);

/// Where the demo shows itself.
pub(crate) struct Screen {
    live: bool,
    /// Rows of the last frame, which the next one goes over.
    drawn: u16,
    address: String,
    pace: Duration,
    rate: Rate,
    plain_due: Instant,
}

impl Screen {
    /// The standard output.
    pub(crate) fn new() -> Screen {
        Screen {
            live: io::stdout().is_terminal(),
            drawn: 0,
            address: String::new(),
            pace: Duration::ZERO,
            rate: Rate { since: Instant::now(), lines: 0, last: 0 },
            plain_due: Instant::now(),
        }
    }

    /// Says what is being done.
    pub(crate) fn say(&mut self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "{text}")?;
        out.flush()
    }

    /// The replay begins.
    pub(crate) fn begin(&mut self, address: &str, pace: Duration) -> io::Result<()> {
        (self.address, self.pace) = (format!("http://{address}"), pace);
        self.rate.since = Instant::now();
        self.say(&format!("serving on {}; replaying over {:.0} s", self.address, pace.as_secs_f64()))?;
        if self.live { execute!(io::stdout(), Hide) } else { Ok(()) }
    }

    /// Shows the contents of the views.
    pub(crate) fn draw(&mut self, board: &Board, writer: &Writer, replay: &Replay) -> io::Result<()> {
        let rate = self.rate.observe(board.totals().lines);
        let all_there = board.totals().lines >= replay.totals.lines;
        if self.live {
            let (width, height) = terminal::size().unwrap_or((100, 40));
            let frame =
                Frame { board, time: writer.time(), rate, delay: writer.last_delay(), replay, address: &self.address };
            // The last row stays free: a line break there would scroll.
            let rows = frame.rows(usize::from(width), usize::from(height).saturating_sub(2));
            self.redraw(&rows)
        } else if Instant::now() >= self.plain_due || all_there {
            self.plain_due = Instant::now() + PLAIN_EVERY;
            let totals = board.totals();
            let time = writer.time().map(|time| time.format("%Y-%m-%d").to_string()).unwrap_or_default();
            let delay =
                writer.last_delay().map(|delay| format!(", fresh to {} ms", delay.as_millis())).unwrap_or_default();
            self.say(&format!(
                "{time:10} {:>9} lines, gross {:>14}, {:>6} orders, {:>5} customers, {} lines/s{delay}",
                thousands(totals.lines),
                money(totals.gross_mils),
                thousands(totals.orders),
                thousands(totals.customers),
                thousands(rate),
            ))
        } else {
            Ok(())
        }
    }

    /// Writes the last words below the table.
    pub(crate) fn finish(&mut self, lines: &[String]) -> io::Result<()> {
        self.restore();
        let mut out = io::stdout().lock();
        writeln!(out)?;
        lines.iter().try_for_each(|line| writeln!(out, "{line}"))?;
        out.flush()
    }

    /// Gives the terminal its cursor back.
    pub(crate) fn restore(&mut self) {
        if self.live {
            // Nothing can be done if the terminal is gone.
            let _ = execute!(io::stdout(), Show);
        }
    }

    fn redraw(&mut self, rows: &[String]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.drawn > 0 {
            queue!(out, MoveUp(self.drawn))?;
        }
        queue!(out, MoveToColumn(0))?;
        for row in rows {
            queue!(out, Clear(ClearType::UntilNewLine))?;
            write!(out, "{row}\r\n")?;
        }
        queue!(out, Clear(ClearType::FromCursorDown))?;
        self.drawn = u16::try_from(rows.len()).unwrap_or(u16::MAX);
        out.flush()
    }
}

/// Lines per second over the last second or so.
struct Rate {
    since: Instant,
    lines: u64,
    last: u64,
}

impl Rate {
    fn observe(&mut self, lines: u64) -> u64 {
        let elapsed = self.since.elapsed();
        if elapsed >= RATE_WINDOW {
            self.last = ((lines - self.lines) as f64 / elapsed.as_secs_f64()) as u64;
            (self.since, self.lines) = (Instant::now(), lines);
        }
        self.last
    }
}

/// All that one picture is made of.
struct Frame<'a> {
    board: &'a Board,
    time: Option<NaiveDateTime>,
    rate: u64,
    delay: Option<Duration>,
    replay: &'a Replay,
    address: &'a str,
}

impl Frame<'_> {
    /// The picture, at most `height` rows of at most `width` characters.
    fn rows(&self, width: usize, height: usize) -> Vec<String> {
        let totals = self.board.totals();
        let mut rows = vec![
            cut(&format!("headwater demo, a gift shop in pounds, served on {}", self.address), width)
                .bold()
                .to_string(),
            self.progress(width),
            String::new(),
            cut(
                &format!("  gross   {:>16}    orders    {:>9}", money(totals.gross_mils), thousands(totals.orders)),
                width,
            ),
            cut(
                &format!("  refunds {:>16}    customers {:>9}", money(totals.refund_mils), thousands(totals.customers)),
                width,
            ),
            cut(
                &format!(
                    "  net     {:>16}    lines     {:>9}",
                    money(totals.gross_mils - totals.refund_mils),
                    thousands(totals.lines)
                ),
                width,
            ),
        ];
        // Three tables of the same height, as high as the terminal allows.
        let body = height.saturating_sub(rows.len() + 9).min(24) / 3;
        let [countries, days, customers] = self.board.counts();
        if body > 0 {
            rows.extend(table(
                &format!("country_kpis, {countries} rows"),
                ["country", "gross", "orders", "customers"],
                self.countries(body),
                width,
            ));
            rows.extend(table(
                &format!("daily_kpis, {days} rows"),
                ["day", "net", "orders", "new buyers"],
                self.days(body),
                width,
            ));
            rows.extend(table(
                &format!("rfm_base, {customers} rows"),
                ["customer", "spent", "orders", "last sale"],
                self.customers(body),
                width,
            ));
        }
        rows.truncate(height);
        rows
    }

    /// The time of the replay, a bar, the speed and the delay.
    fn progress(&self, width: usize) -> String {
        let (first, last) = self.replay.span();
        let time = self.time.unwrap_or(first);
        let whole = (last - first).as_seconds_f64();
        let share = if whole > 0.0 { (time - first).as_seconds_f64() / whole } else { 1.0 };
        let (bar, done) = (24, (share * 24.0).round() as usize);
        let delay = self.delay.map(|delay| format!("fresh to {} ms", delay.as_millis())).unwrap_or_default();
        cut(
            &format!(
                "{}  {}{} {:3.0} %  {:>8} lines/s  {delay}",
                time.format("%Y-%m-%d %H:%M"),
                "█".repeat(done),
                "░".repeat(bar - done.min(bar)),
                share * 100.0,
                thousands(self.rate)
            ),
            width,
        )
    }

    fn countries(&self, count: usize) -> Vec<[String; 4]> {
        let row = |country: &super::board::Country| {
            [country.name.clone(), money(country.gross_mils), number(country.orders), number(country.customers)]
        };
        self.board.top_countries(count).into_iter().map(row).collect()
    }

    fn days(&self, count: usize) -> Vec<[String; 4]> {
        let row = |day: &super::board::Day| {
            let buyers = format!("{} of {}", day.new_customers, day.new_customers + day.returning_customers);
            [day.date.to_string(), money(day.gross_mils - day.refund_mils), number(day.orders), buyers]
        };
        self.board.latest_days(count).into_iter().map(row).collect()
    }

    fn customers(&self, count: usize) -> Vec<[String; 4]> {
        let row = |customer: &super::board::Customer| {
            let last_sale = customer.last_sale.format("%Y-%m-%d").to_string();
            [customer.id.to_string(), money(customer.monetary_mils), number(customer.frequency), last_sale]
        };
        self.board.top_customers(count).into_iter().map(row).collect()
    }
}

/// A title, a header, rows.
fn table(title: &str, header: [&str; 4], rows: Vec<[String; 4]>, width: usize) -> Vec<String> {
    let row = |cells: [&str; 4]| {
        cut(&format!("  {:<22.22}{:>18}{:>10}{:>14}", cells[0], cells[1], cells[2], cells[3]), width)
    };
    let mut text = vec![String::new(), cut(title, width).bold().to_string(), row(header).dim().to_string()];
    text.extend(rows.iter().map(|cells| row([&cells[0], &cells[1], &cells[2], &cells[3]])));
    text
}

/// At most `width` characters of a text.
fn cut(text: &str, width: usize) -> String {
    text.chars().take(width).collect()
}

fn number(value: i64) -> String {
    thousands(value.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_fits_the_terminal() {
        let (board, replay) = (Board::default(), Replay::generated(1, 1_000));
        let frame = Frame {
            board: &board,
            time: None,
            rate: 1_234,
            delay: None,
            replay: &replay,
            address: "http://127.0.0.1:1",
        };
        for (width, height) in [(100, 40), (20, 8), (0, 0)] {
            let rows = frame.rows(width, height);
            assert!(rows.len() <= height);
            assert!(rows.iter().skip(1).take(1).all(|row| row.chars().count() <= width), "{rows:?}");
        }
        let text = frame.rows(100, 40).join("\n");
        assert!(text.contains(" 0 %"), "nothing has been replayed: {text}");
        assert!(text.contains("1,234 lines/s"), "{text}");
    }
}
