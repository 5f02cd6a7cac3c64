//! Q6 and Q7: orders and payments by order, each side of a key a list; what comes meets the other side as it comes.

use super::super::columns::Side;
use super::super::input::{Change, Source};
use super::super::measure::Sink;
use super::super::queries::q6_row;
use super::index::{Index, hash_of};

/// The kind of join.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Orders with their payments.
    Inner,
    /// Orders without payments too.
    Left,
}

/// No node: the end of a list.
const END: u32 = u32::MAX;

struct Key {
    key: u64,
    orders: u32,
    payments: u32,
    /// Payments that are there.
    paid: i64,
}

#[derive(Clone, Copy)]
struct Node {
    /// Customer and total, or payment and amount.
    row: (i64, i64),
    copies: i64,
    next: u32,
}

/// Lists in one place.
struct Lists {
    nodes: Vec<Node>,
    free: u32,
}

impl Lists {
    fn each(&self, mut at: u32, mut take: impl FnMut((i64, i64), i64)) {
        while at != END {
            let node = &self.nodes[at as usize];
            take(node.row, node.copies);
            at = node.next;
        }
    }

    /// Adds copies of a row; returns where the list begins from here on.
    fn add(&mut self, head: u32, row: (i64, i64), diff: i64) -> u32 {
        let (mut before, mut at) = (END, head);
        while at != END && self.nodes[at as usize].row != row {
            (before, at) = (at, self.nodes[at as usize].next);
        }
        if at == END {
            let node = Node { row, copies: diff, next: head };
            if self.free == END {
                self.nodes.push(node);
                return self.nodes.len() as u32 - 1;
            }
            let place = self.free;
            self.free = self.nodes[place as usize].next;
            self.nodes[place as usize] = node;
            return place;
        }
        let node = &mut self.nodes[at as usize];
        node.copies += diff;
        if node.copies != 0 {
            return head;
        }
        let next = std::mem::replace(&mut node.next, self.free);
        self.free = at;
        if before == END {
            return next;
        }
        self.nodes[before as usize].next = next;
        head
    }
}

/// Q6 or Q7.
pub(super) fn run(ticks: &[Change], kind: Kind) -> Sink {
    let mut index = Index::new();
    let mut keys: Vec<Key> = Vec::new();
    let mut lists = Lists { nodes: Vec::new(), free: END };
    let mut sink = Sink::default();
    for change in ticks {
        if let Some(orders) = Side::new(change, Source::Orders) {
            for (row, order) in orders.first.iter().enumerate() {
                let number = find(&mut index, &mut keys, *order as u64);
                let value = (orders.second[row], orders.cents[row] as i64);
                order_changes(&mut keys[number], &mut lists, kind, value, orders.diffs.get(row), &mut sink);
            }
        }
        if let Some(payments) = Side::new(change, Source::Payments) {
            for (row, order) in payments.second.iter().enumerate() {
                let number = find(&mut index, &mut keys, *order as u64);
                let value = (payments.first[row], payments.cents[row] as i64);
                payment_changes(&mut keys[number], &mut lists, kind, value, payments.diffs.get(row), &mut sink);
            }
        }
    }
    sink
}

fn find(index: &mut Index, keys: &mut Vec<Key>, key: u64) -> usize {
    index.make_room(|number| hash_of(keys[number as usize].key));
    let fresh = keys.len() as u32;
    let number = index.find_or_insert(hash_of(key), fresh, |number| keys[number as usize].key == key);
    if number == fresh {
        keys.push(Key { key, orders: END, payments: END, paid: 0 });
    }
    number as usize
}

fn order_changes(key: &mut Key, lists: &mut Lists, kind: Kind, order: (i64, i64), diff: i64, sink: &mut Sink) {
    let number = key.key as i64;
    lists.each(key.payments, |payment, copies| sink.add(q6_row(number, order, Some(payment)), diff * copies));
    if kind == Kind::Left && key.paid == 0 {
        sink.add(q6_row(number, order, None), diff);
    }
    key.orders = lists.add(key.orders, order, diff);
}

fn payment_changes(key: &mut Key, lists: &mut Lists, kind: Kind, payment: (i64, i64), diff: i64, sink: &mut Sink) {
    let number = key.key as i64;
    lists.each(key.orders, |order, copies| sink.add(q6_row(number, order, Some(payment)), diff * copies));
    let was = key.paid;
    key.paid += diff;
    if kind == Kind::Left && (was == 0) != (key.paid == 0) {
        let sign = if key.paid == 0 { 1 } else { -1 };
        lists.each(key.orders, |order, copies| sink.add(q6_row(number, order, None), sign * copies));
    }
    key.payments = lists.add(key.payments, payment, diff);
}
