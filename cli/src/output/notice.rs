//! What is said beside an answer, on the standard error: things to know that are no failures.

use std::fmt::Write as _;
use std::io::{Write as _, stderr};

use headwater_proto::v1::Notice;

use super::table::safe;

/// Says what should be known of `name`.
pub(crate) fn say(name: &str, notices: &[Notice]) {
    // If the standard error is gone, nobody wants to know.
    let _ = write!(stderr(), "{}", text(name, notices));
}

fn text(name: &str, notices: &[Notice]) -> String {
    let mut text = String::new();
    for Notice { message, hint } in notices {
        writeln!(text, "notice: {}: {}", safe(name), safe(message)).expect("writing to a string cannot fail");
        if !hint.is_empty() {
            writeln!(text, "hint: {}", safe(hint)).expect("writing to a string cannot fail");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_names_its_object_and_what_to_do() {
        let notice = |hint: &str| Notice { message: "it is dear".to_owned(), hint: hint.to_owned() };
        let said = text("v", &[notice("leave it out"), notice("")]);
        assert_eq!(said, "notice: v: it is dear\nhint: leave it out\nnotice: v: it is dear\n");
    }
}
