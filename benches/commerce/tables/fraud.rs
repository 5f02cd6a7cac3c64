//! Q3: a frame by card, a running mean by customer, and the score of both.
//!
//! Per card and per customer the transactions in order of time with running sums, and one table of answers by transaction.
//! Rows come almost in order: a late one moves the few behind it. After a tick the answers of the stretch that it can have
//! changed are computed anew, and those that differ leave.

use super::super::columns::{Columns, MINUTE};
use super::super::input::Change;
use super::super::measure::Sink;
use super::super::queries::{Fraud, q3_row};
use super::index::{Index, hash_of};

const WINDOW: i64 = 10 * MINUTE;
const UNBOUNDED: i64 = i64::MAX;

#[derive(Clone, Copy)]
struct Point {
    time: i64,
    transaction: u32,
    /// The amounts up to here.
    sum: i64,
}

/// The transactions of a card or a customer.
struct Series {
    key: u64,
    points: Vec<Point>,
    /// The tick that added to it last, from where on it changed, and the last time that was added.
    seen: u32,
    from: usize,
    until: i64,
}

impl Series {
    fn add(&mut self, tick: u32, time: i64, transaction: u32) -> bool {
        let at = match self.points.last() {
            Some(last) if last.time > time => self.points.partition_point(|point| point.time <= time),
            _ => self.points.len(),
        };
        self.points.insert(at, Point { time, transaction, sum: 0 });
        let first = self.seen != tick;
        (self.seen, self.from, self.until) =
            if first { (tick, at, time) } else { (tick, self.from.min(at), self.until.max(time)) };
        first
    }

    /// Computes what the tick may have changed: `answer` gets the number of rows and the sum of each frame.
    fn settle(&mut self, window: i64, amounts: &[Answer], mut answer: impl FnMut(u32, i64, i64)) {
        let mut sum = self.from.checked_sub(1).map_or(0, |before| self.points[before].sum);
        for point in &mut self.points[self.from..] {
            sum += amounts[point.transaction as usize].amount;
            point.sum = sum;
        }
        let points = &self.points;
        let time = points[self.from].time;
        // Rows of one time are in each other's frames.
        let mut at = points[..self.from].iter().rposition(|point| point.time != time).map_or(0, |before| before + 1);
        let mut start = points.partition_point(|point| point.time < time.saturating_sub(window));
        while at < points.len() && points[at].time <= self.until.saturating_add(window) {
            let time = points[at].time;
            let end = at + points[at..].iter().take_while(|point| point.time == time).count();
            while points[start].time < time.saturating_sub(window) {
                start += 1;
            }
            let below = start.checked_sub(1).map_or(0, |before| points[before].sum);
            for point in &points[at..end] {
                answer(point.transaction, (end - start) as i64, points[end - 1].sum - below);
            }
            at = end;
        }
    }
}

/// Series by card or by customer.
struct AllSeries {
    index: Index,
    series: Vec<Series>,
    changed: Vec<u32>,
}

impl AllSeries {
    fn new() -> AllSeries {
        AllSeries { index: Index::new(), series: Vec::new(), changed: Vec::new() }
    }

    fn add(&mut self, tick: u32, key: u64, time: i64, transaction: u32) {
        let series = &mut self.series;
        self.index.make_room(|number| hash_of(series[number as usize].key));
        let fresh = series.len() as u32;
        let number = self.index.find_or_insert(hash_of(key), fresh, |number| series[number as usize].key == key);
        if number == fresh {
            series.push(Series { key, points: Vec::new(), seen: 0, from: 0, until: 0 });
        }
        if series[number as usize].add(tick, time, transaction) {
            self.changed.push(number);
        }
    }
}

#[derive(Clone, Copy)]
struct Answer {
    amount: i64,
    row: Fraud,
    seen: u32,
}

/// The answers and those that a tick has touched, with what they were.
struct Answers {
    answers: Vec<Answer>,
    touched: Vec<(u32, Option<Fraud>)>,
}

/// Q3.
pub(super) fn run(ticks: &[Change]) -> Sink {
    let (mut cards, mut customers) = (AllSeries::new(), AllSeries::new());
    let mut all = Answers { answers: Vec::new(), touched: Vec::new() };
    let mut sink = Sink::default();
    for (tick, change) in (1u32..).zip(ticks) {
        let columns = Columns::new(change);
        for row in 0..columns.len() {
            let transaction = columns.transaction[row] as u32;
            assert_eq!(transaction as usize, all.answers.len(), "transactions are counted from 0");
            let amount = columns.amount[row] as i64;
            all.answers.push(Answer { amount, row: Fraud::default(), seen: tick });
            all.touched.push((transaction, None));
            cards.add(tick, columns.card[row] as u64, columns.time[row], transaction);
            customers.add(tick, columns.customer[row] as u64, columns.time[row], transaction);
        }
        settle(&mut cards, WINDOW, tick, &mut all, |row, n, sum| (row.n, row.spent) = (n, sum));
        settle(&mut customers, UNBOUNDED, tick, &mut all, |row, n, sum| (row.rows, row.total) = (n, sum));
        for (transaction, old) in all.touched.drain(..) {
            let Answer { amount, row, .. } = all.answers[transaction as usize];
            if let Some(old) = old {
                sink.add(q3_row(i64::from(transaction), amount, &old), -1);
            }
            sink.add(q3_row(i64::from(transaction), amount, &row), 1);
        }
    }
    sink
}

fn settle(series: &mut AllSeries, window: i64, tick: u32, all: &mut Answers, set: impl Fn(&mut Fraud, i64, i64)) {
    let mut computed: Vec<(u32, i64, i64)> = Vec::new();
    for number in series.changed.drain(..) {
        let one = &mut series.series[number as usize];
        one.settle(window, &all.answers, |transaction, n, sum| computed.push((transaction, n, sum)));
        for (transaction, n, sum) in computed.drain(..) {
            let answer = &mut all.answers[transaction as usize];
            let old = answer.row;
            set(&mut answer.row, n, sum);
            if answer.row != old && answer.seen != tick {
                answer.seen = tick;
                all.touched.push((transaction, Some(old)));
            }
        }
    }
}
