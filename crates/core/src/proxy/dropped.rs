//! The value of `x-proxy-dropped-fields`.

use crate::provider::edits::BoundedPaths;

/// Lists the paths of fields that are left out: in visible ASCII, and no more than 64 paths, whatever the
/// client has called its fields.
pub(super) fn listed<'a>(paths: impl Iterator<Item = &'a String>) -> String {
    let legible = |c: char| if c.is_ascii_graphic() && c != ',' { c } else { '?' };
    let mut listed = BoundedPaths::default();
    for path in paths {
        listed.push(path.chars().take(LONGEST_PATH).map(legible).collect());
    }
    listed.0.join(", ")
}

/// The longest path in the header; a longer one is cut.
const LONGEST_PATH: usize = 256;

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_name_of_a_field_cannot_break_the_header() {
        let names = ["a,b é\r\nx: y\0", "tools.0"].map(str::to_owned);
        assert_eq!(listed(names.iter()), "a?b????x:?y?, tools.0");
        assert_eq!(listed([].iter()), "");
    }

    #[test]
    fn the_header_is_bounded() {
        let names = vec!["n".repeat(1 << 20); 1000];
        let header = listed(names.iter());
        assert!(header.len() < 64 * 260 && header.ends_with(", ..."), "{}", header.len());
        assert!(HeaderValue::try_from(header).is_ok());
    }
}
