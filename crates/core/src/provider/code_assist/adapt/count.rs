//! What upstream's countTokens takes, and how the rest is folded into it.

use std::ops::Range;

use bytes::Bytes;

use super::fields::Root;
use super::member_filter::Paths;
use super::system::Folded;
use super::{Listed, Rewriting};
use crate::json::{JsonError, Splice, ValueKind};
use crate::payload::Payload;

/// What there is to count in one object.
#[derive(Default)]
pub(super) struct Countable {
    contents: Option<Listed>,
    system: Option<Folded>,
    tools: Option<Range<usize>>,
    /// Where the three were found.
    pub(super) used: Paths,
    /// The `generateContentRequest`.
    pub(super) inner: Option<Box<Self>>,
}

impl Countable {
    /// `{"model":…,"contents":[…]}`: all that upstream's countTokens takes (`protocol.md` 2.5).
    ///
    /// The system instruction and the tools follow as contents of their own, so that the count is
    /// not silently too low.
    pub(super) fn into_request(self, body: &Bytes, splice: &mut Splice, model: &str) -> Payload {
        let model = quoted(&format!("models/{model}"));
        let mut request = Payload::default();
        let mut comma = "";
        request.push(format!(r#"{{"model":{model},"contents":["#));
        if let Some(contents) = self.contents.filter(|contents| contents.len > 0) {
            request.append(splice.pieces(body, contents.inner));
            comma = ",";
        }
        if let Some(system) = self.system {
            request.push(format!("{comma}{}", system.before));
            request.append(splice.pieces(body, system.span));
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

impl Rewriting<'_> {
    /// A body of countTokens, or with `outermost` false its `generateContentRequest`. Of a field
    /// that is there twice the last one counts.
    pub(super) fn countable(&mut self, outermost: bool) -> Result<Countable, JsonError> {
        let mut countable = Countable::default();
        let mut inside = self.cursor.object()?;
        while let Some(key) = self.cursor.key(&mut inside)? {
            self.enter(&key);
            let field = Root::named(&key.value);
            match field {
                Root::Contents => countable.contents = Some(self.list(Self::content, false)?),
                Root::SystemInstruction => countable.system = self.system_instruction()?,
                Root::Tools => {
                    let tools = self.list(|this| this.cursor.skip().map(drop), false)?;
                    countable.tools = (tools.len > 0).then_some(tools.span);
                }
                Root::GenerateContentRequest if outermost => {
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
            if let Root::Contents | Root::SystemInstruction | Root::Tools = field {
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
