//! The answer's object, and what is in its items beside texts.

use bytes::{BufMut, BytesMut};

use crate::dialect::openai::responses::ResponsesPlan;
use crate::dialect::translate::citations::Citation;
use crate::dialect::translate::json::{push_number, push_string};
use crate::dialect::translate::usage::Usage;

/// What is known of an answer before its first item.
#[derive(Debug)]
pub(super) struct Head {
    /// Its id.
    pub(super) id: String,
    /// Seconds since 1970.
    pub(super) created: u64,
}

/// How an answer stands.
#[derive(Debug)]
pub(super) enum Outcome {
    InProgress,
    Completed,
    /// With the reason, in OpenAI's words.
    Incomplete(&'static str),
    Failed {
        code: &'static str,
        message: String,
    },
}

impl Outcome {
    /// The event that says so.
    pub(super) fn event(&self) -> &'static str {
        match self {
            Self::InProgress => "response.in_progress",
            Self::Completed => "response.completed",
            Self::Incomplete(_) => "response.incomplete",
            Self::Failed { .. } => "response.failed",
        }
    }

    fn status(&self) -> &'static [u8] {
        match self {
            Self::InProgress => b"in_progress",
            Self::Completed => b"completed",
            Self::Incomplete(_) => b"incomplete",
            Self::Failed { .. } => b"failed",
        }
    }
}

impl Head {
    /// Appends the object. `items` are JSON objects with commas between them.
    pub(super) fn push(
        &self,
        outcome: &Outcome,
        items: &[u8],
        usage: Option<Usage>,
        plan: &ResponsesPlan,
        out: &mut BytesMut,
    ) {
        out.put_slice(b"{\"id\":\"");
        out.put_slice(self.id.as_bytes());
        out.put_slice(b"\",\"object\":\"response\",\"created_at\":");
        push_number(self.created, out);
        out.put_slice(b",\"status\":\"");
        out.put_slice(outcome.status());
        // When it is completed is not known: a writer reads no clock.
        out.put_slice(b"\",\"completed_at\":null,\"error\":");
        if let Outcome::Failed { code, message } = outcome {
            out.put_slice(b"{\"code\":");
            push_string(code, out);
            out.put_slice(b",\"message\":");
            push_string(message, out);
            out.put_u8(b'}');
        } else {
            out.put_slice(b"null");
        }
        out.put_slice(b",\"incomplete_details\":");
        if let Outcome::Incomplete(reason) = outcome {
            out.put_slice(b"{\"reason\":");
            push_string(reason, out);
            out.put_u8(b'}');
        } else {
            out.put_slice(b"null");
        }
        out.put_slice(b",\"model\":");
        push_string(&plan.plan.model, out);
        out.put_slice(b",\"output\":[");
        out.put_slice(items);
        out.put_slice(b"],");
        out.put_slice(plan.echo.as_bytes());
        out.put_slice(b",\"usage\":");
        match usage {
            Some(usage) => usage.push_responses(out),
            None => out.put_slice(b"null"),
        }
        out.put_u8(b'}');
    }
}

/// The annotation of a message that begins at `message_start` of the answer's text.
pub(super) fn annotation(citation: &Citation, message_start: usize) -> BytesMut {
    let mut out = BytesMut::new();
    let position = |at: usize| u64::try_from(at.saturating_sub(message_start)).unwrap_or_default();
    out.put_slice(br#"{"type":"url_citation","start_index":"#);
    push_number(position(citation.start), &mut out);
    out.put_slice(b",\"end_index\":");
    push_number(position(citation.end), &mut out);
    out.put_slice(b",\"url\":");
    push_string(&citation.url, &mut out);
    out.put_slice(b",\"title\":");
    push_string(&citation.title, &mut out);
    out.put_u8(b'}');
    out
}
