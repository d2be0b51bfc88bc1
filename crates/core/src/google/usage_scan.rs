//! The token counts in an answer that is passed on as it comes: they are found in its bytes, without reading it.

use std::io;

use memchr::memmem;
use serde_json::Value;

use super::usage::TokenUsage;

/// Finds the last counts in the bytes of an answer, in whatever chunks they come. It holds a few KiB at most.
///
/// The counts are the object behind a key `usageMetadata`, or `usage` in Google's other dialects. A quote within a
/// string of JSON is escaped, so that a text of the model's is not taken for counts.
#[derive(Debug, Default)]
pub(crate) struct UsageScanner {
    usage: Option<TokenUsage>,
    model: Option<String>,
    wants_model: bool,
    state: ScanState,
    /// The byte before the one that is looked at.
    last: u8,
    held: Vec<u8>,
    /// The beginning of the answer, until its model is found.
    begin: Vec<u8>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum ScanState {
    /// So many bytes of [`KEY`] have matched.
    Key(usize),
    /// Within the rest of the key.
    RestOfKey,
    /// Behind the key.
    Colon,
    /// Behind the colon.
    Brace,
    /// Within the object.
    Object { depth: usize, in_string: bool },
    #[default]
    Outside,
}

impl UsageScanner {
    /// A scanner that finds the model too, if its request did not name it in the path.
    pub(crate) fn new(wants_model: bool) -> Self {
        Self { wants_model, ..Self::default() }
    }

    /// The last counts.
    pub(crate) fn usage(&self) -> Option<TokenUsage> {
        self.usage
    }

    /// The model, once.
    pub(crate) fn take_model(&mut self) -> Option<String> {
        self.model.take()
    }

    /// Looks at the next chunk.
    pub(crate) fn push(&mut self, chunk: &[u8]) {
        if self.wants_model {
            self.find_model(chunk);
        }
        let mut at = 0;
        while at < chunk.len() {
            if self.state == ScanState::Outside {
                let next = memmem::find(&chunk[at..], KEY);
                // A key may begin at the end of this chunk and go on in the next one.
                let begin =
                    next.map_or(chunk.len().saturating_sub(KEY.len() - 1), |next| at + next);
                if begin > at {
                    self.last = chunk[begin - 1];
                    at = begin;
                }
                if at == chunk.len() {
                    return;
                }
            }
            self.step(chunk[at]);
            self.last = chunk[at];
            at += 1;
        }
    }

    /// Looks for the model, which may begin at the end of the chunk before.
    fn find_model(&mut self, chunk: &[u8]) {
        self.begin.extend_from_slice(&chunk[..chunk.len().min(LONGEST_BEGIN - self.begin.len())]);
        self.model = model_in(&self.begin);
        if self.model.is_some() || self.begin.len() == LONGEST_BEGIN {
            self.wants_model = false;
            self.begin = Vec::new();
        }
    }

    fn step(&mut self, byte: u8) {
        use ScanState as S;
        self.state = match self.state {
            S::Outside if byte == KEY[0] && self.last != b'\\' => S::Key(1),
            S::Outside => S::Outside,
            S::Key(matched) if byte == KEY[matched] => {
                self.held.clear();
                if matched + 1 == KEY.len() { S::RestOfKey } else { S::Key(matched + 1) }
            }
            S::Key(_) if byte == KEY[0] && self.last != b'\\' => S::Key(1),
            S::RestOfKey if byte == b'"' => {
                if [&b""[..], b"Metadata", b"_metadata"].contains(&&*self.held) {
                    S::Colon
                } else {
                    S::Outside
                }
            }
            S::RestOfKey if self.held.len() < LONGEST_REST => {
                self.held.push(byte);
                S::RestOfKey
            }
            S::Colon if byte == b':' => S::Brace,
            state @ (S::Colon | S::Brace) if byte.is_ascii_whitespace() => state,
            S::Brace if byte == b'{' => {
                self.held.clear();
                self.held.push(byte);
                S::Object { depth: 1, in_string: false }
            }
            S::Object { depth, in_string } if self.held.len() < LONGEST_OBJECT => {
                self.held.push(byte);
                match byte {
                    b'"' if self.last != b'\\' => S::Object { depth, in_string: !in_string },
                    b'{' if !in_string => S::Object { depth: depth + 1, in_string },
                    b'}' if !in_string && depth == 1 => {
                        self.read();
                        S::Outside
                    }
                    b'}' if !in_string => S::Object { depth: depth - 1, in_string },
                    _ => S::Object { depth, in_string },
                }
            }
            S::Key(_) | S::RestOfKey | S::Colon | S::Brace | S::Object { .. } => S::Outside,
        };
    }

    /// Reads the object that is held. Counts that it does not have stay as they were.
    fn read(&mut self) {
        let Ok(Value::Object(members)) = serde_json::from_slice(&self.held) else { return };
        let find = |names: &[&str]| names.iter().find_map(|name| members.get(*name)?.as_u64());
        let inner = |outer: &str, name: &str| members.get(outer)?.get(name)?.as_u64();
        let prompt = find(&[
            "promptTokenCount",
            "prompt_token_count",
            "total_input_tokens",
            "prompt_tokens",
            "input_tokens",
        ]);
        let output = find(&[
            "candidatesTokenCount",
            "candidates_token_count",
            "responseTokenCount",
            "total_output_tokens",
            "completion_tokens",
            "output_tokens",
        ]);
        let thoughts = find(&[
            "thoughtsTokenCount",
            "thoughts_token_count",
            "total_thought_tokens",
            "total_reasoning_tokens",
        ]);
        let cached =
            find(&["cachedContentTokenCount", "cached_content_token_count", "total_cached_tokens"]);
        let cached = cached.or_else(|| inner("prompt_tokens_details", "cached_tokens"));
        if prompt.or(output).is_none() {
            return;
        }
        let usage = self.usage.get_or_insert_default();
        usage.prompt = prompt.unwrap_or(usage.prompt);
        usage.output = output.unwrap_or(usage.output);
        usage.cached = cached.unwrap_or(usage.cached);
        // Google's endpoint for OpenAI's clients has thoughts in the total only.
        let total = find(&["total_tokens"]).filter(|_| prompt.is_some() && output.is_some());
        let beyond = total.map(|it| it.saturating_sub(usage.prompt).saturating_sub(usage.output));
        usage.thoughts = thoughts.or(beyond).unwrap_or(usage.thoughts);
    }
}

/// A decoder of a content encoding writes into the scanner.
impl io::Write for UsageScanner {
    fn write(&mut self, chunk: &[u8]) -> io::Result<usize> {
        self.push(chunk);
        Ok(chunk.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The value of the first `model` in a chunk.
fn model_in(chunk: &[u8]) -> Option<String> {
    let at = memmem::find(chunk, MODEL)?;
    if at > 0 && chunk[at - 1] == b'\\' {
        return None;
    }
    let rest = chunk[at + MODEL.len()..].trim_ascii_start();
    let rest = rest.strip_prefix(b":")?.trim_ascii_start().strip_prefix(b"\"")?;
    let name = &rest[..memchr::memchr(b'"', rest)?];
    let name = std::str::from_utf8(name).ok()?;
    let name = name.strip_prefix("models/").unwrap_or(name);
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-._/@".contains(c);
    (!name.is_empty() && name.len() <= LONGEST_MODEL && name.chars().all(is_name))
        .then(|| name.to_owned())
}

/// What every key of counts begins with.
const KEY: &[u8] = b"\"usage";

const MODEL: &[u8] = b"\"model\"";

/// In how many bytes of an answer its model is looked for.
const LONGEST_BEGIN: usize = 16 << 10;
const LONGEST_REST: usize = 16;
const LONGEST_OBJECT: usize = 4096;
const LONGEST_MODEL: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(text: &str, size: usize) -> Option<TokenUsage> {
        let mut scanner = UsageScanner::default();
        text.as_bytes().chunks(size).for_each(|chunk| scanner.push(chunk));
        scanner.usage()
    }

    #[test]
    fn the_last_counts_are_found_wherever_the_answer_is_cut() {
        let usage = TokenUsage { prompt: 7, output: 5, thoughts: 3, cached: 2 };
        for text in [
            r#"data: {"response":{"usageMetadata":{"promptTokenCount":7}}}

data: {"response":{"candidates":[{"content":{"parts":[{"text":"\"usageMetadata\":{\"promptTokenCount\":99}"}]}}],
"usageMetadata" : {"promptTokenCount":7,"candidatesTokenCount":5,"thoughtsTokenCount":3,"cachedContentTokenCount":2,"promptTokensDetails":[{"modality":"TEXT}\"","tokenCount":7}]},"usageX":1}}"#,
            r#"{"usage_metadata":{"prompt_token_count":7,"candidates_token_count":5,"thoughts_token_count":3,"cached_content_token_count":2}}"#,
            r#"data: {"usage":null} data: {"interaction":{"usage":{"total_tokens":15,"total_input_tokens":7,"total_output_tokens":5,"total_cached_tokens":2}}}"#,
            r#"{"usage":{"prompt_tokens":7,"completion_tokens":5,"total_tokens":15,"prompt_tokens_details":{"cached_tokens":2}}}"#,
        ] {
            for size in 1..=text.len() {
                assert_eq!(scan(text, size), Some(usage), "chunks of {size}: {text}");
            }
        }
    }

    #[test]
    fn text_that_looks_like_counts_is_none() {
        for text in [
            r#"{"text":"\"usageMetadata\":{\"promptTokenCount\":7}"}"#,
            r#"{"usageMetadata":7}"#,
            r#"{"usageMetadatas":{"promptTokenCount":7}}"#,
            r#"{"usage":{"trafficType":"ON_DEMAND"}}"#,
            r#"{"usage""#,
        ] {
            for size in 1..=text.len() {
                assert_eq!(scan(text, size), None, "chunks of {size}: {text}");
            }
        }
        let long = format!(r#"{{"usage":{{"a":"{}","input_tokens":1}}}}"#, "x".repeat(5000));
        assert_eq!(scan(&long, 100), None);
    }

    #[test]
    fn the_model_is_found_once() {
        let text = br#"{"id":1,"model" : "models/gemini-2.5-pro"}"#;
        for size in 1..=text.len() {
            let mut scanner = UsageScanner::new(true);
            text.chunks(size).for_each(|chunk| scanner.push(chunk));
            scanner.push(br#"{"model":"other"}"#);
            assert_eq!(scanner.take_model().as_deref(), Some("gemini-2.5-pro"), "{size}");
            assert_eq!(scanner.take_model(), None);
        }
        let mut scanner = UsageScanner::new(true);
        (0..40).for_each(|_| scanner.push(&[b' '; 1000]));
        scanner.push(text);
        assert_eq!((scanner.take_model(), scanner.begin.capacity()), (None, 0));
        assert_eq!(model_in(br#"{"text":"\"model\":\"x\""}"#), None);
        assert_eq!(model_in(br#"{"model":"a b"}"#), None);
    }
}
