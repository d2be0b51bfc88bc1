//! What the last turn of a request asks for, and the text or the function call that answers it.

use serde_json::{Value, json};

use crate::model::synthesis::instance_of;
use crate::proto::Node;

/// What the last content of a request says.
pub(super) struct Prompt {
    pub(super) text: String,
    /// Function responses, by name.
    responses: Vec<(String, Value)>,
}

impl Prompt {
    pub(super) fn of(request: &Node<'_>) -> Self {
        let mut prompt = Self { text: String::new(), responses: Vec::new() };
        let Some(last) = request.list("contents").last() else {
            return prompt;
        };
        for part in last.list("parts") {
            if let Some(text) = part.text("text") {
                text.clone_into(&mut prompt.text);
            }
            if let Some(response) = part.field("function_response") {
                let name = response.text("name").unwrap_or_default().to_owned();
                let value = response.field("response").map_or(Value::Null, Node::value);
                prompt.responses.push((name, value));
            }
        }
        prompt
    }

    /// The text of the thought part.
    pub(super) fn thoughts(&self) -> &'static str {
        if self.responses.is_empty() {
            "I am reading what was asked and how to answer it."
        } else {
            "I have the function's answer and put it into words."
        }
    }

    /// The text of the answer, in the format that the generation config asks for.
    pub(super) fn reply(&self, config: Option<&Node<'_>>) -> String {
        let media = config.and_then(|config| config.text("response_mime_type"));
        let schema = config.and_then(|config| {
            config.field("response_schema").or_else(|| config.field("response_json_schema"))
        });
        match (media, schema) {
            (Some("application/json"), Some(schema)) => {
                let schema = schema.value();
                return instance_of(&schema, &self.echo()).to_string();
            }
            (Some("application/json"), None) => {
                return json!({"answer": self.echo()}).to_string();
            }
            (Some("text/x.enum"), Some(schema)) => {
                let schema = schema.value();
                return schema["enum"][0].as_str().unwrap_or_default().to_owned();
            }
            _ => {}
        }
        let mut text = self.echo();
        if has_word(&self.text, "separator") {
            text.push_str(" Here is a raw line separator:\u{2028}and a paragraph one:\u{2029}.");
        }
        text
    }

    fn echo(&self) -> String {
        if let Some((name, value)) = self.responses.first() {
            return format!("The function {name} answered: {value}");
        }
        let text: String = self.text.chars().take(ECHOED_CHARS).collect();
        format!("You said: {text}")
    }

    /// The function call that answers the request: always under mode `ANY`, else when the text names
    /// a function.
    pub(super) fn function_call(&self, request: &Node<'_>, seq: u64) -> Option<Value> {
        if !self.responses.is_empty() {
            return None;
        }
        let calling =
            request.field("tool_config").and_then(|config| config.field("function_calling_config"));
        let mode = calling.and_then(|calling| calling.text("mode")).unwrap_or("AUTO");
        if mode == "NONE" {
            return None;
        }
        let allowed = calling.map_or(&[][..], |calling| calling.list("allowed_function_names"));
        let declared: Vec<&Node<'_>> = request
            .list("tools")
            .iter()
            .flat_map(|tool| tool.list("function_declarations"))
            .filter(|one| {
                let name = one.text("name");
                allowed.is_empty() || allowed.iter().any(|allowed| allowed.as_text() == name)
            })
            .collect();
        let named = declared.iter().find(|one| self.names(one.text("name").unwrap_or_default()));
        let function = match named {
            Some(function) => function,
            None if mode == "ANY" || self.asks_for_a_tool() => declared.first()?,
            None => return None,
        };
        let schema = function
            .field("parameters")
            .or_else(|| function.field("parameters_json_schema"))
            .map_or(Value::Null, Node::value);
        let args = match &schema {
            Value::Object(_) => instance_of(&schema, &self.text),
            _ => json!({}),
        };
        let args = if args.is_object() { args } else { json!({}) };
        Some(json!({
            "id": format!("emulator-call-{seq}"),
            "name": function.text("name"),
            "args": args,
        }))
    }

    /// Whether the text has the function's name or a word of it, such as `weather` of `getWeather`.
    fn names(&self, name: &str) -> bool {
        let mut word = String::new();
        let mut words = Vec::new();
        for letter in name.chars() {
            if (!letter.is_alphanumeric() || letter.is_uppercase()) && !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
            if letter.is_alphanumeric() {
                word.extend(letter.to_lowercase());
            }
        }
        words.push(word);
        let text = self.text.to_lowercase();
        words.iter().any(|word| word.len() > 4 && text.contains(word.as_str()))
            || self.text.contains(name)
    }

    fn asks_for_a_tool(&self) -> bool {
        ["call the function", "call a function", "use the tool", "use a tool", "call the tool"]
            .iter()
            .any(|phrase| self.text.to_lowercase().contains(phrase))
    }
}

/// Whether `word` stands in `text` as a whole word.
pub(super) fn has_word(text: &str, word: &str) -> bool {
    text.split(|letter: char| !letter.is_alphanumeric())
        .any(|found| found.eq_ignore_ascii_case(word))
}

/// The answer repeats the request's text up to this many characters.
pub(super) const ECHOED_CHARS: usize = 2000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_found_only_as_a_whole_word() {
        assert!(has_word("Please cite this.", "cite"));
        assert!(!has_word("an exciting city, recited", "cite"));
    }
}
