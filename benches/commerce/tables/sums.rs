//! Q4 and Q5: sums of money by a number; by category and hour over a join, and the best of each country.

use arrow::array::{AsArray, RecordBatch};

use super::super::columns::{Columns, HOUR};
use super::super::input::Change;
use super::super::measure::{Sink, text_value};
use super::super::queries::{q4_row, q5_row};
use super::index::{Index, hash_of};

/// Money by category and hour: the transactions are added up by (product, hour) first, and the join of those sums with
/// the products, whose key is unique, keeps them, so that a product's change could move them.
pub(super) fn by_category(ticks: &[Change], products: &RecordBatch) -> Sink {
    let names: Vec<u64> =
        products.column(1).as_string::<i32>().iter().flatten().map(|name| text_value(name.as_bytes())).collect();
    let mut kinds: Vec<u64> = names.clone();
    kinds.sort_unstable();
    kinds.dedup();
    let kind_of: Vec<u64> = names.iter().map(|name| kinds.binary_search(name).expect("it is there") as u64).collect();
    let mut left = Sums::new();
    let mut out = Sums::new();
    let mut sink = Sink::default();
    for (tick, change) in (1u32..).zip(ticks) {
        let columns = Columns::new(change);
        for row in 0..columns.len() {
            let (hour, product) = (columns.time[row].div_euclid(HOUR) as u64, columns.product[row] as u64);
            left.add(tick, hour << 32 | product, columns.amount[row] as i64);
        }
        let mut changes: Vec<(u64, i64)> = Vec::with_capacity(left.touched.len());
        left.take_changes(|key, old, new| changes.push((key, new.0 - old.0)));
        for (key, change) in changes {
            let kind = kind_of[(key & 0xFFFF_FFFF) as usize];
            out.add(tick, (key >> 32) << 32 | kind, change);
        }
        out.take_changes(|key, old, new| {
            let (kind, hour) = (kinds[(key & 0xFFFF_FFFF) as usize], (key >> 32) as i64 * HOUR);
            if old.1 > 0 {
                sink.add(q4_row(kind, hour, old.0), -1);
            }
            sink.add(q4_row(kind, hour, new.0), 1);
        });
    }
    sink
}

/// Sums and how often they were changed.
type Sum = (i64, i64);

struct Sums {
    index: Index,
    entries: Vec<(u64, Sum, u32)>,
    touched: Vec<(u32, Sum)>,
}

impl Sums {
    fn new() -> Sums {
        Sums { index: Index::new(), entries: Vec::new(), touched: Vec::new() }
    }

    #[inline]
    fn add(&mut self, tick: u32, key: u64, change: i64) {
        let entries = &mut self.entries;
        self.index.make_room(|number| hash_of(entries[number as usize].0));
        let fresh = entries.len() as u32;
        let number = self.index.find_or_insert(hash_of(key), fresh, |number| entries[number as usize].0 == key);
        if number == fresh {
            entries.push((key, (0, 0), 0));
        }
        let (_, sum, seen) = &mut entries[number as usize];
        if *seen != tick {
            *seen = tick;
            self.touched.push((number, *sum));
        }
        sum.0 += change;
        sum.1 += 1;
    }

    fn take_changes(&mut self, mut take: impl FnMut(u64, Sum, Sum)) {
        for (number, old) in self.touched.drain(..) {
            let (key, new, _) = self.entries[number as usize];
            take(key, old, new);
        }
    }
}

/// Rows of a country's answer.
const SHOWN: usize = 10;
/// Products of a country that are kept in order: so many after a cut, twice as many before one.
const BEST: usize = 64;

/// Revenue, the largest first, and product.
type Place = (i64, u32);

#[derive(Default)]
struct Country {
    /// Every product not behind `bound`, in order.
    best: Vec<Place>,
    /// `None` if all of them are in `best`.
    bound: Option<Place>,
    shown: Vec<Place>,
    seen: u32,
}

impl Country {
    fn holds(&self, place: &Place) -> bool {
        self.bound.is_none_or(|bound| *place <= bound)
    }

    /// Moves a product; says whether anything near the top has changed.
    fn change(&mut self, old: Option<Place>, new: Place) -> bool {
        let mut changed = false;
        if let Some(old) = old.filter(|old| self.holds(old)) {
            let at = self.best.binary_search(&old).expect("what the bound holds is there");
            self.best.remove(at);
            changed = true;
        }
        if self.holds(&new) {
            let at = self.best.partition_point(|place| *place < new);
            self.best.insert(at, new);
            changed = true;
        }
        if self.best.len() > 2 * BEST {
            self.best.truncate(BEST);
            self.bound = self.best.last().copied();
        }
        changed
    }

    /// Takes the best out of all, when too few are left in order.
    fn refill(&mut self, mut all: Vec<Place>) {
        if all.len() > BEST {
            all.select_nth_unstable(BEST - 1);
            all.truncate(BEST);
            all.sort_unstable();
            self.bound = all.last().copied();
        } else {
            all.sort_unstable();
            self.bound = None;
        }
        self.best = all;
    }
}

/// Q5: what changes far behind the best of its country is a sum and nothing else.
pub(super) fn top_products(ticks: &[Change]) -> Sink {
    let mut sums = Sums::new();
    let mut countries: Vec<Country> = std::iter::repeat_with(Country::default).take(1 << 16).collect();
    let mut sink = Sink::default();
    let mut dirty: Vec<u16> = Vec::new();
    for (tick, change) in (1u32..).zip(ticks) {
        let columns = Columns::new(change);
        for row in 0..columns.len() {
            let key = u64::from(columns.country_code(row)) << 32 | columns.product[row] as u64;
            sums.add(tick, key, columns.amount[row] as i64);
        }
        sums.take_changes(|key, old, new| {
            let (code, product) = ((key >> 32) as u16, key as u32);
            let country = &mut countries[usize::from(code)];
            let was = (old.1 > 0).then_some((-old.0, product));
            if country.change(was, (-new.0, product)) && country.seen != tick {
                country.seen = tick;
                dirty.push(code);
            }
        });
        for code in dirty.drain(..) {
            let country = &mut countries[usize::from(code)];
            if country.best.len() < SHOWN && country.bound.is_some() {
                let of_country = sums.entries.iter().filter(|(key, ..)| (key >> 32) as u16 == code);
                country.refill(of_country.map(|(key, sum, _)| (-sum.0, *key as u32)).collect());
            }
            show(code, country, &mut sink);
        }
    }
    sink
}

fn show(code: u16, country: &mut Country, sink: &mut Sink) {
    let now = &country.best[..country.best.len().min(SHOWN)];
    if now == country.shown {
        return;
    }
    let row = |(revenue, product): &Place| q5_row(code, i64::from(*product), -revenue);
    country.shown.iter().filter(|place| !now.contains(place)).for_each(|place| sink.add(row(place), -1));
    now.iter().filter(|place| !country.shown.contains(place)).for_each(|place| sink.add(row(place), 1));
    country.shown = now.to_vec();
}
