//! Requests in Code Assist's own protocol: the methods that a session of the Gemini CLI calls, and the
//! projects that their bodies name (`docs/reference/protocol.md` 2.4 to 2.9).

use std::ops::Range;

use bytes::Bytes;

use crate::json::{Cursor, JsonError, Splice, ValueKind, quote};
use crate::payload::Payload;

/// True for a method that a session of the Gemini CLI calls and that changes nothing of the account.
/// `suffix` is what follows the version in the path.
pub fn is_session_method(suffix: &str) -> bool {
    let Some(method) = suffix.strip_prefix(':') else { return false };
    SESSION_METHODS.contains(&method) || method.starts_with(TELEMETRY)
}

/// Finds the values that name a project: members of the body, and of an object in it. A project is
/// spelled in the protocol's own way or in the one of its JSON. The client's request to the model is
/// left out, since it may have any names in it. A null is no project.
pub fn named_projects(body: &[u8]) -> Result<Vec<Range<usize>>, JsonError> {
    let mut found = Vec::new();
    if body.is_empty() {
        return Ok(found);
    }
    let mut cursor = Cursor::new(body)?;
    let mut inside = cursor.object()?;
    while let Some(key) = cursor.key(&mut inside)? {
        if names_a_project(&key.value) {
            push_span(&mut found, &mut cursor)?;
        } else if *key.value != *MODEL_REQUEST && cursor.kind()? == ValueKind::Object {
            let mut members = cursor.object()?;
            while let Some(key) = cursor.key(&mut members)? {
                if names_a_project(&key.value) {
                    push_span(&mut found, &mut cursor)?;
                } else {
                    cursor.skip()?;
                }
            }
        } else {
            cursor.skip()?;
        }
    }
    cursor.end()?;
    Ok(found)
}

/// Puts `project` in place of the values that [`named_projects`] has found. Every other byte stays.
#[must_use]
pub fn in_project(body: &Bytes, named: Vec<Range<usize>>, project: &str) -> Payload {
    let mut quoted = Vec::with_capacity(project.len() + 2);
    quote(project, &mut quoted);
    let quoted = Bytes::from(quoted);
    let mut splice = Splice::default();
    for span in named {
        if body[span.clone()] != quoted {
            splice.replace(span, quoted.clone());
        }
    }
    splice.pieces(body, 0..body.len())
}

fn push_span(found: &mut Vec<Range<usize>>, cursor: &mut Cursor<'_>) -> Result<(), JsonError> {
    let is_null = cursor.kind()? == ValueKind::Null;
    let span = cursor.skip()?;
    if is_null {
        return Ok(());
    }
    if found.len() == MOST_PROJECTS {
        return Err(cursor.malformed("too many projects"));
    }
    found.push(span);
    Ok(())
}

fn names_a_project(key: &[u8]) -> bool {
    PROJECT_KEYS.contains(&key)
}

const SESSION_METHODS: [&str; 8] = [
    super::COUNT_TOKENS,
    super::GENERATE,
    super::STREAM,
    "fetchAdminControls",
    "getCodeAssistGlobalUserSetting",
    "listExperiments",
    "loadCodeAssist",
    "retrieveUserQuota",
];

/// How the names of all methods for telemetry begin, such as `recordCodeAssistMetrics`.
const TELEMETRY: &str = "record";

const PROJECT_KEYS: [&[u8]; 5] = [
    b"project",
    b"cloudaicompanionProject",
    b"cloudaicompanion_project",
    b"duetProject",
    b"duet_project",
];

/// The member with the client's request to the model.
const MODEL_REQUEST: &[u8] = b"request";

/// The Gemini CLI writes at most two. The bound keeps a hostile body from growing.
const MOST_PROJECTS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_methods_of_a_session_generate_or_change_nothing() {
        for suffix in [
            ":generateContent",
            ":streamGenerateContent",
            ":countTokens",
            ":loadCodeAssist",
            ":retrieveUserQuota",
            ":fetchAdminControls",
            ":getCodeAssistGlobalUserSetting",
            ":listExperiments",
            ":recordCodeAssistMetrics",
        ] {
            assert!(is_session_method(suffix), "{suffix}");
        }
        for suffix in [
            ":setCodeAssistGlobalUserSetting",
            ":onboardUser",
            ":fetchAvailableModels",
            ":generatecontent",
            ":generateContentX",
            ":Record",
            "/operations/1",
            "/generateContent",
        ] {
            assert!(!is_session_method(suffix), "{suffix}");
        }
    }

    #[test]
    fn projects_are_found_wherever_the_protocol_has_one() {
        let found = |body: &'static str| {
            let spans = named_projects(body.as_bytes()).unwrap();
            spans.into_iter().map(|span| &body[span]).collect::<Vec<_>>()
        };
        assert_eq!(found(""), [""; 0]);
        assert_eq!(found("{}"), [""; 0]);
        assert_eq!(found(r#"{"model":"m","project":"a","request":{}}"#), [r#""a""#]);
        assert_eq!(found(r#"{"pro\u006aect" : "a","project":"b"}"#), [r#""a""#, r#""b""#]);
        assert_eq!(
            found(r#"{"cloudaicompanionProject":"a","metadata":{"x":1,"duetProject":"b"}}"#),
            [r#""a""#, r#""b""#]
        );
        assert_eq!(
            found(r#"{"cloudaicompanion_project":["a"],"metadata":{"duet_project":{"id":1}}}"#),
            [r#"["a"]"#, r#"{"id":1}"#]
        );
        assert_eq!(found(r#"{"project":null,"metadata":{"duetProject":null}}"#), [""; 0]);
        assert_eq!(found(r#"{"metadata":[1],"other":{"project":"a"}}"#), [r#""a""#]);
        let of_the_client = r#"{"request":{"project":"a","contents":[{"project":"b"}]}}"#;
        assert_eq!(found(of_the_client), [""; 0], "the prompt is the client's own");
    }

    #[test]
    fn a_body_that_cannot_be_read_cannot_be_checked() {
        let many = format!("{{{}}}", vec![r#""project":"a""#; MOST_PROJECTS + 1].join(","));
        for body in ["[]", " ", r#"{"a":1}{"project":"x"}"#, "{'project':'x'}", "\u{feff}{}", &many]
        {
            assert!(named_projects(body.as_bytes()).is_err(), "{body}");
        }
    }
}
