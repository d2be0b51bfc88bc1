//! The header `x-proxy-dropped-fields`.

use http::{HeaderMap, HeaderName};

use super::respond::put;
use crate::provider::edits::BoundedPaths;

/// Names the fields that are left out, if there are any.
pub(super) fn put_dropped<'a>(headers: &mut HeaderMap, paths: impl Iterator<Item = &'a String>) {
    let listed = listed(paths);
    if !listed.is_empty() {
        put(headers, DROPPED_FIELDS, listed);
    }
}

/// Lists the paths of fields that are left out: in visible ASCII, and no more than 64 paths, whatever the
/// client has called its fields.
fn listed<'a>(paths: impl Iterator<Item = &'a String>) -> String {
    let legible = |c: char| if c.is_ascii_graphic() && c != ',' { c } else { '?' };
    let mut listed = BoundedPaths::default();
    for path in paths {
        listed.push(path.chars().take(LONGEST_PATH).map(legible).collect());
    }
    listed.0.join(", ")
}

const DROPPED_FIELDS: HeaderName = HeaderName::from_static("x-proxy-dropped-fields");

/// The longest path in the header; a longer one is cut. Clients refuse an answer whose headers are too
/// large: Node's limit is 16 KiB.
const LONGEST_PATH: usize = 128;

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
