//! The tree beside a plain sorted map, under random changes.

use std::collections::BTreeMap;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Ordered, Totals, Weigh};

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

fn totals<'a>(rows: impl Iterator<Item = (&'a Vec<u8>, &'a i64)>) -> Totals<1> {
    let mut totals = Totals::default();
    for (key, copies) in rows {
        totals.add(&FirstByte.weigh(&payload(key)), *copies, 1);
    }
    totals
}

fn check(tree: &Ordered<1>, plain: &Plain, random: &mut ChaCha8Rng, domain: u32) {
    assert_eq!(*tree.totals(), totals(plain.iter()));
    assert_eq!(tree.is_empty(), plain.is_empty());
    let mut cursor = tree.start();
    let mut rows = plain.iter();
    loop {
        let (found, wanted) = (tree.get(&cursor), rows.next());
        assert_eq!(found.map(|entry| (entry.key().to_vec(), entry.copies())), wanted.map(|(k, c)| (k.clone(), *c)));
        let Some(entry) = found else { break };
        assert_eq!(entry.payload(), payload(entry.key()));
        tree.step(&mut cursor, &FirstByte);
    }
    assert_eq!(cursor.before, *tree.totals());
    let mut back = plain.iter().rev();
    while tree.step_back(&mut cursor, &FirstByte) {
        assert_eq!(tree.get(&cursor).map(|entry| entry.key()), back.next().map(|(key, _)| key.as_slice()));
    }
    assert!(back.next().is_none() && cursor.before == Totals::default());
    for _ in 0..20 {
        let key = random.random_range(0..domain + 2).to_be_bytes().to_vec();
        let cursor = tree.seek(|found| found < key.as_slice(), &FirstByte);
        assert_eq!(cursor.before, totals(plain.range(..key.clone())));
        assert_eq!(
            tree.get(&cursor).map(|entry| entry.key()),
            plain.range(key..).next().map(|(key, _)| key.as_slice())
        );
        let position = random.random_range(0..tree.totals().rows + 2);
        let (mut passed, mut at) = (0, plain.iter());
        let wanted = at.find(|(_, copies)| {
            passed += **copies;
            passed > position
        });
        let cursor = tree.select(position, &FirstByte);
        assert_eq!(tree.get(&cursor).map(|entry| entry.key()), wanted.map(|(key, _)| key.as_slice()));
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
                let existing = plain.range(random.random_range(0..domain).to_be_bytes().to_vec()..).next();
                let existing = existing.map(|(key, copies)| (key.clone(), *copies));
                let (key, copies) = match existing {
                    Some((key, copies)) if random.random_bool(deletes) => (key, -random.random_range(1..=copies)),
                    _ if seed % 5 == 0 => ((step + 600 * round as u32).to_be_bytes().to_vec(), 1),
                    _ => (random.random_range(0..domain).to_be_bytes().to_vec(), random.random_range(1..3)),
                };
                tree.add(&[key.clone(), payload(&key)].concat(), key.len(), copies, &FirstByte);
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
