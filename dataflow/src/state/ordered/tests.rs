//! The tree beside a plain sorted map, under random changes.

use std::collections::BTreeMap;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Ordered, TOGETHER, Weigh};

/// The first byte of the payload.
struct FirstByte;

impl Weigh<1> for FirstByte {
    fn weigh(&self, payload: &[u8]) -> [i128; 1] {
        [i128::from(payload[0])]
    }
}

type Plain = BTreeMap<Vec<u8>, i64>;

fn payload(key: &[u8]) -> Vec<u8> {
    vec![key.iter().fold(7, |a, b| a ^ b.wrapping_mul(3)), 9]
}

/// (rows, sum of the weights).
fn totals<'a>(rows: impl Iterator<Item = (&'a Vec<u8>, &'a i64)>) -> (i64, i128) {
    rows.fold((0, 0), |(rows, sum), (key, copies)| {
        (rows + copies, sum + i128::from(payload(key)[0]) * i128::from(*copies))
    })
}

fn check(tree: &Ordered<1>, plain: &Plain, random: &mut ChaCha8Rng, domain: u32) {
    let (rows, sum) = totals(plain.iter());
    assert_eq!((tree.rows(), tree.sums_before(rows, &FirstByte)), (rows, [sum]));
    assert_eq!(tree.is_empty(), plain.is_empty());
    let mut cursor = tree.start();
    let mut wanted = plain.iter();
    loop {
        let (found, wanted) = (tree.get(&cursor), wanted.next());
        assert_eq!(found.map(|entry| (entry.key().to_vec(), entry.copies())), wanted.map(|(k, c)| (k.clone(), *c)));
        let Some(entry) = found else { break };
        assert_eq!(entry.payload(), payload(entry.key()));
        tree.step(&mut cursor);
    }
    assert_eq!((cursor, cursor.rows), (tree.end(), rows));
    let mut back = plain.iter().rev();
    while tree.step_back(&mut cursor) {
        assert_eq!(tree.get(&cursor).map(|entry| entry.key()), back.next().map(|(key, _)| key.as_slice()));
    }
    assert!(back.next().is_none() && cursor.rows == 0);
    for _ in 0..20 {
        let bound = key(random.random_range(0..domain + 2), random.random_bool(0.2));
        let cursor = tree.seek(&bound);
        let (before, sum) = totals(plain.range(..bound.clone()));
        assert_eq!((cursor.rows, tree.sums_before(before, &FirstByte)), (before, [sum]));
        assert_eq!(
            tree.get(&cursor).map(|entry| entry.key()),
            plain.range(bound.clone()..).next().map(|(key, _)| key.as_slice())
        );
        // From some entries behind the bound, and from the bound itself.
        let mut behind = cursor;
        let away = random.random_range(0..12);
        for _ in 0..away {
            tree.step(&mut behind);
        }
        let near = tree.seek_back(&behind, &bound, 8);
        assert!(near.is_none_or(|near| near == cursor), "{near:?} is not {cursor:?}");
        assert!(near.is_some() || away >= 8);
        let position = random.random_range(0..tree.rows() + 2);
        let (mut passed, mut sum, mut at) = (0, 0, plain.iter());
        let wanted = at.find(|(key, copies)| {
            sum += i128::from(payload(key)[0]) * i128::from((position - passed).clamp(0, **copies));
            passed += **copies;
            passed > position
        });
        assert_eq!(tree.sums_before(position, &FirstByte), [sum]);
        let cursor = tree.select(position);
        assert_eq!(tree.get(&cursor).map(|entry| entry.key()), wanted.map(|(key, _)| key.as_slice()));
    }
}

/// A key: of different lengths, and some are the beginning of others.
fn key(number: u32, short: bool) -> Vec<u8> {
    let bytes = number.to_be_bytes();
    match number % 3 {
        _ if short => bytes[..3].to_vec(),
        0 => bytes.to_vec(),
        1 => [&bytes[..], &[0]].concat(),
        _ => [&bytes[..], b"what follows makes no difference"].concat(),
    }
}

#[test]
fn equals_a_sorted_map_under_random_changes() {
    for seed in 0..60 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let domain: u32 = [5, 300, 4_000, 50_000][seed as usize % 4];
        let (mut tree, mut plain): (Ordered<1>, Plain) = Default::default();
        for round in 0..30 {
            // Growing, shrinking, and growing at one end.
            let deletes = [0.1, 0.9, 0.5][round % 3];
            for step in 0..random.random_range(0..600u32) {
                let existing = plain.range(key(random.random_range(0..domain), false)..).next();
                let existing = existing.map(|(key, copies)| (key.clone(), *copies));
                let (key, copies) = match existing {
                    Some((key, copies)) if random.random_bool(deletes) => (key, -random.random_range(1..=copies)),
                    _ if seed % 5 == 0 => (key(step + 600 * round as u32, false), 1),
                    _ if seed % 5 == 1 => (key(50_000 - (step + 600 * round as u32), false), 1),
                    _ => (key(random.random_range(0..domain), random.random_bool(0.1)), random.random_range(1..3)),
                };
                let row = [key.clone(), payload(&key)].concat();
                let count = plain.get(&key).copied().unwrap_or(0);
                if step % 2 == 0 {
                    let there = tree.add_placed(tree.way(&key), (&row, key.len()), copies, &FirstByte);
                    assert_eq!(there, (count, totals(plain.range(..key.clone())).0));
                } else {
                    tree.add(&row, key.len(), copies, &FirstByte);
                }
                let count = plain.entry(key.clone()).or_insert(0);
                *count += copies;
                if *count == 0 {
                    plain.remove(&key);
                }
            }
            check(&tree, &plain, &mut random, domain);
        }
    }
}

#[test]
fn ways_hold_while_others_are_changed() {
    let mut random = ChaCha8Rng::seed_from_u64(17);
    let (mut tree, mut plain): (Ordered<1>, Plain) = Default::default();
    let mut restructured = 0;
    for round in 0..6_000 {
        // A tree of several levels, then hardly anything.
        let grows = round < 3_500;
        let (domain, taken) = if grows { (u32::MAX, 2) } else { (2_000, 12) };
        let mut keys: Vec<Vec<u8>> = (0..TOGETHER).map(|_| key(random.random_range(0..domain), false)).collect();
        let from = key(random.random(), false);
        keys.extend(plain.range(from..).chain(plain.iter()).take(taken).map(|(key, _)| key.clone()));
        let before = tree.restructured;
        for (key, way) in keys.iter().zip(tree.ways(keys.iter().map(Vec::as_slice))) {
            let count = plain.get(key).copied().unwrap_or(0);
            let copies = if count > 0 { -count } else { 1 };
            let row = [key.clone(), payload(key)].concat();
            let (known, place) = tree.add_placed(way, (&row, key.len()), copies, &FirstByte);
            assert_eq!(known, count);
            if round % 100 == 0 {
                assert_eq!(place, totals(plain.range(..key.clone())).0);
            }
            match count {
                0 => plain.insert(key.clone(), 1),
                _ => plain.remove(key),
            };
        }
        restructured += usize::from(tree.restructured > before + 1);
        if round % 500 == 499 {
            check(&tree, &plain, &mut random, u32::MAX - 2);
        }
    }
    assert!(restructured > 100, "{restructured} times ways were out of date");
}
