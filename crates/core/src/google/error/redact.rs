//! Removal of API keys from the texts of errors. Google writes the key of a suspended account into its
//! message (`docs/reference/upstreams.md` 4.3).

use bytes::Bytes;

/// The text without anything that has the shape of one of Google's API keys, or that is called one.
/// A text without keys is not copied.
pub(crate) fn without_keys(text: &Bytes) -> Bytes {
    let mut out = Vec::new();
    let mut kept = 0;
    let mut at = 0;
    while let Some((key, length)) = next_key(text, at) {
        out.extend_from_slice(&text[kept..key]);
        out.extend_from_slice(REDACTED);
        kept = key + length;
        at = kept;
    }
    if kept == 0 {
        return text.clone();
    }
    out.extend_from_slice(&text[kept..]);
    Bytes::from(out)
}

/// The text without this secret. Secrets that are too short to be told from words stay.
pub(crate) fn without_secret(text: &Bytes, secret: &[u8]) -> Bytes {
    let find = |text: &[u8]| memchr::memmem::find(text, secret);
    if secret.len() < SHORTEST_KEY || find(text).is_none() {
        return text.clone();
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = &text[..];
    while let Some(at) = find(rest) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(REDACTED);
        rest = &rest[at + secret.len()..];
    }
    out.extend_from_slice(rest);
    Bytes::from(out)
}

/// The place and the length of the first key from `from` on.
fn next_key(text: &[u8], from: usize) -> Option<(usize, usize)> {
    let found = STARTS.iter().filter_map(|(start, is_part)| {
        let mut at = from;
        loop {
            at += memchr::memmem::find(&text[at..], start)?;
            let key = if *is_part { at } else { at + start.len() };
            let length = text[key..].iter().take_while(|byte| is_key_byte(**byte)).count();
            let stands_alone = at == 0 || !is_key_byte(text[at - 1]);
            if length >= SHORTEST_KEY && stands_alone {
                return Some((key, length));
            }
            at += start.len();
        }
    });
    found.min()
}

fn is_key_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._-".contains(&byte)
}

/// How a key begins, or what stands before it; true for what is part of the key.
const STARTS: [(&[u8], bool); 4] =
    [(b"AIza", true), (b"AQ.", true), (b"api_key:", false), (b"key=", false)];

/// Shorter than any key.
const SHORTEST_KEY: usize = 12;

const REDACTED: &[u8] = b"[redacted]";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_every_shape_are_removed_and_nothing_else() {
        let standard = "AIzaSyA0123456789abcdefghijklmnopqrstu_";
        for (text, clean) in [
            (
                format!("Consumer 'api_key:{standard}' has been suspended."),
                "Consumer 'api_key:[redacted]' has been suspended.",
            ),
            (format!("{standard} and {standard}"), "[redacted] and [redacted]"),
            ("AQ.Ab8RN6Kxyz0123456789-_x!".to_owned(), "[redacted]!"),
            ("?key=0123456789abcdef&alt=sse".to_owned(), "?key=[redacted]&alt=sse"),
            (
                "api_key:short AIza AQ. monkey=0123456789abcdef".to_owned(),
                "api_key:short AIza AQ. monkey=0123456789abcdef",
            ),
            ("FAQ.0123456789abcdef".to_owned(), "FAQ.0123456789abcdef"),
        ] {
            assert_eq!(without_keys(&Bytes::from(text.clone())), clean, "{text}");
        }
        let plain = Bytes::from_static(b"no key here");
        assert_eq!(without_keys(&plain).as_ptr(), plain.as_ptr());
    }

    #[test]
    fn a_known_secret_is_removed_wherever_it_stands() {
        let text = Bytes::from_static(b"xoperator-secretyoperator-secret");
        assert_eq!(without_secret(&text, b"operator-secret"), "x[redacted]y[redacted]");
        assert_eq!(without_secret(&text, b"x"), text);
    }
}
