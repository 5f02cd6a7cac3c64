//! Where the parts of usual JSON end: strings without escapes, numbers, values in each other a few levels deep.
//!
//! What is found here is valid JSON. What is not found may be valid nonetheless: the general parser decides.

/// Objects and lists in each other, beyond which the general parser decides.
pub(super) const DEPTH_MAX: usize = 16;

const ONES: u64 = u64::MAX / 0xff;
const HIGHS: u64 = ONES * 0x80;

/// Behind `sign`, which must stand at `at`, and the space that follows.
#[inline]
pub(in crate::decode) fn after(bytes: &[u8], at: usize, sign: u8) -> Option<usize> {
    (bytes.get(at) == Some(&sign)).then(|| skip_space(bytes, at + 1))
}

/// Behind the quote that must stand at `at`.
#[inline]
pub(in crate::decode) fn after_quote(bytes: &[u8], at: usize) -> Option<usize> {
    (bytes.get(at) == Some(&b'"')).then_some(at + 1)
}

/// Behind the space that stands at `at`, mostly none.
#[inline]
pub(in crate::decode) fn skip_space(bytes: &[u8], mut at: usize) -> usize {
    if bytes.get(at).is_some_and(|byte| *byte > b' ') {
        return at;
    }
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = bytes.get(at) {
        at += 1;
    }
    at
}

/// The quote that ends the string whose first character stands at `at`; `None` if there is an escape or a control
/// character before it, or no such quote.
#[inline]
pub(in crate::decode) fn string_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    while let Some(chunk) = bytes.get(at..at + 8) {
        let word = u64::from_le_bytes(chunk.try_into().expect("eight bytes were taken"));
        let zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        // A mark may be wrong only above a right one, so the lowest is right.
        let marks = zero(word ^ (ONES * u64::from(b'"'))) | zero(word ^ (ONES * u64::from(b'\\'))) | control;
        if marks != 0 {
            at += usize::try_from(marks.trailing_zeros() / 8).expect("less than eight");
            return (bytes[at] == b'"').then_some(at);
        }
        at += 8;
    }
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at),
            b'\\' | 0..=0x1f => return None,
            _ => at += 1,
        }
    }
}

/// The end of the value that begins at `at`.
#[inline]
pub(in crate::decode) fn value_end(bytes: &[u8], at: usize, depth: usize) -> Option<usize> {
    match bytes.get(at)? {
        b'"' => string_end(bytes, at + 1).map(|quote| quote + 1),
        b'-' | b'0'..=b'9' => number_end(bytes, at),
        b't' => word_end(bytes, at, b"true"),
        b'f' => word_end(bytes, at, b"false"),
        b'n' => word_end(bytes, at, b"null"),
        b'{' | b'[' if depth < DEPTH_MAX => nested_end(bytes, at, depth + 1),
        _ => None,
    }
}

#[inline]
fn word_end(bytes: &[u8], at: usize, word: &[u8]) -> Option<usize> {
    bytes[at..].starts_with(word).then_some(at + word.len())
}

#[inline]
fn digits_end(bytes: &[u8], at: usize) -> Option<usize> {
    let mut end = at;
    while bytes.get(end).is_some_and(u8::is_ascii_digit) {
        end += 1;
    }
    (end > at).then_some(end)
}

/// The end of a number: no zero in front, digits around the point and in the exponent.
#[inline]
fn number_end(bytes: &[u8], start: usize) -> Option<usize> {
    let first = start + usize::from(bytes[start] == b'-');
    let mut at = digits_end(bytes, first)?;
    if bytes[first] == b'0' && at > first + 1 {
        return None;
    }
    if bytes.get(at) == Some(&b'.') {
        at = digits_end(bytes, at + 1)?;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        let signed = matches!(bytes.get(at + 1), Some(b'+' | b'-'));
        at = digits_end(bytes, at + 1 + usize::from(signed))?;
    }
    Some(at)
}

/// The end of the object or list that begins at `at`.
fn nested_end(bytes: &[u8], at: usize, depth: usize) -> Option<usize> {
    let (object, close) = if bytes[at] == b'{' { (true, b'}') } else { (false, b']') };
    let mut at = skip_space(bytes, at + 1);
    if bytes.get(at) == Some(&close) {
        return Some(at + 1);
    }
    loop {
        if object {
            let key_end = string_end(bytes, after_quote(bytes, at)?)?;
            at = after(bytes, skip_space(bytes, key_end + 1), b':')?;
        }
        at = skip_space(bytes, value_end(bytes, at, depth)?);
        match bytes.get(at)? {
            b',' => at = skip_space(bytes, at + 1),
            end if *end == close => return Some(at + 1),
            _ => return None,
        }
    }
}
