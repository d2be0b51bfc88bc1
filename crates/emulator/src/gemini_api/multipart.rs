//! The body of a multipart upload: metadata as JSON, then the bytes.

use crate::status::ApiError;

/// The two parts of a body.
#[derive(Debug)]
pub(super) struct MultipartBody<'a> {
    pub(super) metadata: &'a [u8],
    /// The media type of the second part.
    pub(super) media_type: String,
    pub(super) content: &'a [u8],
}

impl<'a> MultipartBody<'a> {
    /// Reads a body, whose boundary the media type names.
    pub(super) fn read(media: &str, body: &'a [u8]) -> Result<Self, ApiError> {
        let boundary = media
            .split(';')
            .find_map(|parameter| parameter.trim().strip_prefix("boundary="))
            .map(|boundary| boundary.trim_matches('"'));
        let Some(boundary) = boundary.filter(|boundary| !boundary.is_empty()) else {
            return Err(ApiError::new(400, "Invalid multipart request: no boundary."));
        };
        let parts = split_parts(body, boundary);
        let [(_, metadata), (head, content)] = parts.as_slice() else {
            let message = format!("Invalid multipart request with {} mime parts.", parts.len());
            return Err(ApiError::new(400, message));
        };
        Ok(Self { metadata, media_type: part_media(head), content })
    }
}

/// The heads and bodies of the parts of a multipart body.
fn split_parts<'a>(body: &'a [u8], boundary: &str) -> Vec<(&'a [u8], &'a [u8])> {
    let line = format!("--{boundary}");
    let mut parts = Vec::new();
    let mut rest = match find(body, line.as_bytes()) {
        Some(at) => &body[at + line.len()..],
        None => return parts,
    };
    let next = format!("\r\n--{boundary}");
    while let Some(end) = find(rest, next.as_bytes()) {
        let part = rest[..end].strip_prefix(b"\r\n").unwrap_or(&rest[..end]);
        let (head, content) = match find(part, b"\r\n\r\n") {
            Some(at) => (&part[..at], &part[at + 4..]),
            None => (&part[..0], part.strip_prefix(b"\r\n").unwrap_or(part)),
        };
        parts.push((head, content));
        rest = &rest[end + next.len()..];
    }
    parts
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn part_media(head: &[u8]) -> String {
    let head = String::from_utf8_lossy(head).into_owned();
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-type"))
        .map(|(_, value)| value.trim().to_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_part_keeps_every_byte() {
        let body = b"--b\r\n\r\n{}\r\n--b\r\nContent-Type: text/plain\r\n\r\n\r\n-\r\n\r\n--b--";
        let read = MultipartBody::read("multipart/related; boundary=\"b\"", body).unwrap();
        assert_eq!((read.metadata, read.media_type.as_str()), (&b"{}"[..], "text/plain"));
        assert_eq!(read.content, b"\r\n-\r\n");
    }

    #[test]
    fn a_body_without_two_parts_is_refused() {
        for (media, body) in [
            ("multipart/related", &b"--b\r\n\r\nx\r\n--b--"[..]),
            ("multipart/related; boundary=b", b"--b\r\n\r\nx\r\n--b--"),
            ("multipart/related; boundary=b", b""),
        ] {
            assert!(MultipartBody::read(media, body).is_err(), "{media}");
        }
    }
}
