//! Finding bytes, eight at a time.

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// Bit 7 of the lowest byte of `word` that is zero, and maybe of bytes above that one.
#[inline]
fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(LOW) & !word & HIGH
}

/// Where `wanted` first stands in `bytes`, not before `from`.
#[inline]
pub(super) fn find(bytes: &[u8], from: usize, wanted: u8) -> Option<usize> {
    find_either(bytes, from, wanted, wanted)
}

/// Where `first` or `second` first stands in `bytes`, not before `from`.
#[inline]
pub(super) fn find_either(bytes: &[u8], from: usize, first: u8, second: u8) -> Option<usize> {
    let (first_word, second_word) = (u64::from(first) * LOW, u64::from(second) * LOW);
    let (words, rest) = bytes.get(from..)?.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let found = zero_bytes(word ^ first_word) | zero_bytes(word ^ second_word);
        if found != 0 {
            // The lowest mark is exact: a false one can only stand above a true one.
            return Some(from + index * 8 + (found.trailing_zeros() / 8) as usize);
        }
    }
    let rest_from = bytes.len() - rest.len();
    rest.iter().position(|byte| *byte == first || *byte == second).map(|index| rest_from + index)
}

/// How many line ends stand in `bytes`.
pub(super) fn count_lines(bytes: &[u8]) -> u64 {
    bytes.iter().map(|byte| u64::from(*byte == b'\n')).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_a_plain_loop_finds() {
        let text: Vec<u8> = (0..200_u32).map(|index| u8::try_from(index * 7 % 13).unwrap() + 0x7c).collect();
        for len in 0..text.len() {
            for from in 0..=len {
                let bytes = &text[..len];
                let plain = |wanted: [u8; 2]| (from..len).find(|index| wanted.contains(&bytes[*index]));
                assert_eq!(find_either(bytes, from, 0x7e, 0x81), plain([0x7e, 0x81]), "{len} {from}");
                assert_eq!(find(bytes, from, 0x80), plain([0x80, 0x80]), "{len} {from}");
            }
        }
        assert_eq!(find(b"abc", 4, b'a'), None);
    }

    #[test]
    fn counts_line_ends() {
        assert_eq!(count_lines(b"a\nb\r\n\nc"), 3);
    }
}
