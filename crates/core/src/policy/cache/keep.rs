//! Which answers are good enough to be kept.
//!
//! By its status, an empty or cut answer looks like any other. A client that gets one asks again, and
//! must not get the same answer again. An answer that depends on the outside world ages.

use crate::json::{Cursor, JsonError, ValueKind};

/// The condition under which the answer to a request is kept. It depends on the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepRule {
    /// For countTokens: the answer has a count.
    Counted,
    /// For embeddings: the answer has some.
    Embedded,
    /// For generateContent: nothing is blocked, and each candidate has finished and has content.
    Finished,
    /// No answer is kept, since the request lets the model look at the outside world.
    Never,
}

impl KeepRule {
    /// True for an answer that may be given to requests that arrive after it. An answer that cannot be
    /// read is not kept.
    pub fn allows(self, body: &[u8]) -> bool {
        match self {
            Self::Counted => has_count(body).unwrap_or(false),
            Self::Embedded => has_embedding(body).unwrap_or(false),
            Self::Finished => is_finished(body).unwrap_or(false),
            Self::Never => false,
        }
    }
}

fn has_count(body: &[u8]) -> Result<bool, JsonError> {
    let mut cursor = Cursor::new(body)?;
    let mut counted = false;
    let mut inside = cursor.object()?;
    while let Some(key) = cursor.key(&mut inside)? {
        counted |= *key.value == *b"totalTokens" && cursor.kind()? == ValueKind::Number;
        cursor.skip()?;
    }
    Ok(counted)
}

fn has_embedding(body: &[u8]) -> Result<bool, JsonError> {
    let mut cursor = Cursor::new(body)?;
    let mut found = false;
    let mut inside = cursor.object()?;
    while let Some(key) = cursor.key(&mut inside)? {
        found |= matches!(
            (&*key.value, cursor.kind()?),
            (b"embedding", ValueKind::Object) | (b"embeddings", ValueKind::Array)
        );
        cursor.skip()?;
    }
    Ok(found)
}

fn is_finished(body: &[u8]) -> Result<bool, JsonError> {
    let mut cursor = Cursor::new(body)?;
    let (mut candidates, mut good) = (0_usize, true);
    let mut inside = cursor.object()?;
    while let Some(key) = cursor.key(&mut inside)? {
        match (&*key.value, cursor.kind()?) {
            (b"candidates", ValueKind::Array) => {
                let mut list = cursor.array()?;
                while cursor.item(&mut list)? {
                    candidates += 1;
                    good &= is_good_candidate(&mut cursor)?;
                }
            }
            (b"promptFeedback", ValueKind::Object) => good &= !is_blocked(&mut cursor)?,
            _ => {
                cursor.skip()?;
            }
        }
    }
    Ok(good && candidates > 0)
}

fn is_blocked(cursor: &mut Cursor<'_>) -> Result<bool, JsonError> {
    let mut blocked = false;
    let mut inside = cursor.object()?;
    while let Some(key) = cursor.key(&mut inside)? {
        blocked |= *key.value == *b"blockReason" && cursor.kind()? != ValueKind::Null;
        cursor.skip()?;
    }
    Ok(blocked)
}

/// Whether a candidate finished with STOP and has a part with content.
fn is_good_candidate(cursor: &mut Cursor<'_>) -> Result<bool, JsonError> {
    let (mut stopped, mut content) = (false, false);
    let mut inside = cursor.object()?;
    while let Some(key) = cursor.key(&mut inside)? {
        match (&*key.value, cursor.kind()?) {
            (b"content", ValueKind::Object) => content |= has_content(cursor)?,
            (b"finishReason", _) => {
                stopped = cursor.string_or_skip()?.is_some_and(|it| *it.value == *b"STOP");
            }
            _ => {
                cursor.skip()?;
            }
        }
    }
    Ok(stopped && content)
}

fn has_content(cursor: &mut Cursor<'_>) -> Result<bool, JsonError> {
    let mut found = false;
    let mut inside = cursor.object()?;
    while let Some(key) = cursor.key(&mut inside)? {
        if *key.value == *b"parts" && cursor.kind()? == ValueKind::Array {
            let mut parts = cursor.array()?;
            while cursor.item(&mut parts)? {
                found |= is_content(cursor)?;
            }
        } else {
            cursor.skip()?;
        }
    }
    Ok(found)
}

/// Whether a part is no thought and holds data: a text that is not empty, a call, an image.
fn is_content(cursor: &mut Cursor<'_>) -> Result<bool, JsonError> {
    let (mut thought, mut data) = (false, false);
    let mut inside = cursor.object()?;
    while let Some(key) = cursor.key(&mut inside)? {
        let kind = cursor.kind()?;
        let value = cursor.skip()?;
        match &*key.value {
            b"thought" => thought |= cursor.text(value) == b"true",
            b"text" => data |= kind == ValueKind::String && cursor.text(value) != b"\"\"",
            b"thoughtSignature" | b"partMetadata" | b"videoMetadata" | b"mediaResolution" => {}
            _ => data |= kind != ValueKind::Null,
        }
    }
    Ok(data && !thought)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(reason: &str, parts: &str) -> String {
        format!(
            r#"{{"content":{{"role":"model","parts":{parts}}},"finishReason":"{reason}","index":0}}"#
        )
    }

    fn answer(candidates: &[&str]) -> String {
        format!(r#"{{"candidates":[{}],"responseId":"r"}}"#, candidates.join(","))
    }

    #[test]
    fn an_answer_is_kept_when_each_candidate_has_stopped_and_has_content() {
        for parts in [
            r#"[{"text":"Hi"}]"#,
            r#"[{"text":"hm","thought":true},{"text":"Hi","thought":false}]"#,
            r#"[{"text":"hm","thought":true},{"functionCall":{"name":"f","args":{}}}]"#,
            r#"[{"inlineData":{"mimeType":"image/png","data":"AA=="}}]"#,
            r#"[{"text":"Hi","thoughtSignature":"s"},{"text":""}]"#,
            r#"[{"newKind":{}}]"#,
        ] {
            let good = candidate("STOP", parts);
            assert!(KeepRule::Finished.allows(answer(&[&good]).as_bytes()), "{parts}");
            assert!(KeepRule::Finished.allows(answer(&[&good, &good]).as_bytes()), "{parts}");
            assert!(!KeepRule::Never.allows(answer(&[&good]).as_bytes()), "{parts}");
        }
        let spaced = "{ \"promptFeedback\" : { \"blockReason\" : null, \"safetyRatings\" : [ ] },\n \
            \"candidates\" : [ { \"finishReason\" : \"STOP\", \"content\" : { \"parts\" : [ { \
            \"text\" : \"Hi\" } ] } } ] }";
        assert!(KeepRule::Finished.allows(spaced.as_bytes()));
    }

    #[test]
    fn an_answer_that_is_cut_empty_thought_only_or_blocked_is_not_kept() {
        let good = candidate("STOP", r#"[{"text":"Hi"}]"#);
        let cut = candidate("MAX_TOKENS", r#"[{"text":"Hi"}]"#);
        for body in [
            String::new(),
            "{}".to_owned(),
            "[]".to_owned(),
            answer(&[]),
            answer(&[&good, &cut]),
            answer(&[&cut]),
            answer(&[&candidate("SAFETY", r#"[{"text":"Hi"}]"#)]),
            answer(&[&candidate("stop", r#"[{"text":"Hi"}]"#)]),
            answer(&[r#"{"content":{"role":"model","parts":[{"text":"Hi"}]}}"#]),
            answer(&[r#"{"content":{"parts":[{"text":"Hi"}]},"finishReason":null}"#]),
            answer(&[r#"{"content":{"parts":[{"text":"Hi"}]},"finishReason":1}"#]),
            answer(&[r#"{"content":{"role":"model"},"finishReason":"STOP"}"#]),
            answer(&[r#"{"content":{},"finishReason":"STOP"}"#]),
            answer(&[r#"{"finishReason":"STOP"}"#]),
            answer(&[&candidate("STOP", "null")]),
            answer(&[&candidate("STOP", "[]")]),
            answer(&[&candidate("STOP", "[{}]")]),
            answer(&[&candidate("STOP", r#"[{"text":""}]"#)]),
            answer(&[&candidate("STOP", r#"[{"text":"hm","thought":true}]"#)]),
            answer(&[&candidate("STOP", r#"[{"text":"","thoughtSignature":"s"}]"#)]),
            answer(&["null"]),
            format!(r#"{{"candidates":[{good}],"promptFeedback":{{"blockReason":"SAFETY"}}}}"#),
            r#"{"promptFeedback":{"blockReason":"OTHER"}}"#.to_owned(),
            r#"{"candidates":{}}"#.to_owned(),
            answer(&[&good])[..40].to_owned(),
        ] {
            assert!(!KeepRule::Finished.allows(body.as_bytes()), "{body}");
        }
    }

    #[test]
    fn a_count_is_kept_when_there_is_one() {
        for (body, kept) in [
            (r#"{"totalTokens":7}"#, true),
            (r#"{"promptTokensDetails":[],"totalTokens": 0}"#, true),
            (r#"{"totalTokens":null}"#, false),
            ("{}", false),
            ("", false),
            (r#"{"error":{"code":429}}"#, false),
        ] {
            assert_eq!(KeepRule::Counted.allows(body.as_bytes()), kept, "{body}");
            assert!(!KeepRule::Never.allows(body.as_bytes()), "{body}");
        }
    }
}
