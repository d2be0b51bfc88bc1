//! The answer to a request for a token count (`docs/reference/dialects.md` 5.6).

use bytes::Bytes;

/// Writes the token count of a prompt.
pub fn write_count(total: u64) -> Bytes {
    Bytes::from(format!(r#"{{"input_tokens":{total}}}"#))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_one_number() {
        assert_eq!(write_count(14), r#"{"input_tokens":14}"#);
    }
}
