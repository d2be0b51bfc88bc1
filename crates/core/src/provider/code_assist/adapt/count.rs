//! The request of Code Assist's countTokens, which has contents only: system instruction and tools
//! are folded into them.

use std::ops::Range;

use bytes::Bytes;

use super::fields::RequestField;
use super::system::FoldedSystem;
use super::{Adapter, ListSpan};
use crate::json::{JsonError, Splice, ValueKind};
use crate::payload::Payload;
use crate::provider::edits::BoundedPaths;

/// The countable fields of one object.
#[derive(Default)]
pub(super) struct Countable {
    contents: Option<ListSpan>,
    system: Option<FoldedSystem>,
    tools: Option<Range<usize>>,
    /// The paths of these three fields.
    pub(super) used: BoundedPaths,
    /// The `generateContentRequest`.
    pub(super) inner: Option<Box<Self>>,
}

impl Countable {
    /// `{"model":…,"contents":[…]}`, the only fields of Code Assist's countTokens
    /// (`docs/reference/protocol.md` 2.5).
    ///
    /// The system instruction and the tools become contents too, so that the count includes them.
    pub(super) fn into_request(self, body: &Bytes, splice: &mut Splice, model: &str) -> Payload {
        let model = quoted(&format!("models/{model}"));
        let mut request = Payload::default();
        let mut comma = "";
        request.push(format!(r#"{{"model":{model},"contents":["#));
        if let Some(contents) = self.contents.filter(|contents| contents.len > 0) {
            request.append(&splice.pieces(body, contents.inner));
            comma = ",";
        }
        if let Some(system) = self.system {
            request.push(format!("{comma}{}", system.before));
            request.append(&splice.pieces(body, system.span));
            request.push(system.after);
            comma = ",";
        }
        if let Some(tools) = self.tools {
            let text = quoted(&String::from_utf8_lossy(&body[tools]));
            request.push(format!(r#"{comma}{{"role":"user","parts":[{{"text":{text}}}]}}"#));
        }
        request.push("]}");
        request
    }
}

impl Adapter<'_> {
    /// The body of countTokens, or with `outermost` false its `generateContentRequest`. Of
    /// duplicate fields the last one counts.
    pub(super) fn countable(&mut self, outermost: bool) -> Result<Countable, JsonError> {
        let mut countable = Countable::default();
        let mut inside = self.cursor.object()?;
        while let Some(key) = self.cursor.key(&mut inside)? {
            self.enter(&key);
            let field = RequestField::named(&key.value);
            match field {
                RequestField::Contents => {
                    countable.contents = Some(self.list(Self::content, false)?)
                }
                RequestField::SystemInstruction => countable.system = self.system_instruction()?,
                RequestField::Tools => {
                    let tools = self.list(|this| this.cursor.skip().map(drop), false)?;
                    countable.tools = (tools.len > 0).then_some(tools.span);
                }
                RequestField::GenerateContentRequest if outermost => {
                    if self.cursor.kind()? == ValueKind::Null {
                        self.cursor.skip()?;
                    } else {
                        countable.inner = Some(Box::new(self.countable(false)?));
                    }
                }
                _ => {
                    self.cursor.skip()?;
                    self.drop_here();
                }
            }
            if let RequestField::Contents | RequestField::SystemInstruction | RequestField::Tools =
                field
            {
                countable.used.push(self.path.to_string());
            }
            self.leave();
        }
        Ok(countable)
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
