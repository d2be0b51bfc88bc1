//! What the stand-in model says: deterministic, and shaped by what the request asks for.

use serde_json::{Map, Value, json};

use crate::proto::Node;

/// The answer to one generate call, before it is cut into events.
#[derive(Debug)]
pub(crate) struct ModelAnswer {
    thoughts: Option<String>,
    parts: Vec<Value>,
    finish: &'static str,
    citations: Option<Value>,
    blocked: bool,
    prompt_tokens: usize,
    model: String,
    signed: bool,
}

impl ModelAnswer {
    /// Makes up an answer; `seq` numbers calls so that ids differ.
    pub(crate) fn to(model: &str, request: &Node<'_>, seq: u64) -> Self {
        let prompt = Prompt::of(request);
        let config = request.field("generation_config");
        let thinking = config.and_then(|config| config.field("thinking_config"));
        let thoughts = thinking
            .is_some_and(|thinking| thinking.flag("include_thoughts"))
            .then(|| format!("**Considering the request**\n\n{}", prompt.summary()));
        let signed = thoughts.is_some() || !model.starts_with("gemini-2");
        let mut answer = Self {
            thoughts,
            parts: Vec::new(),
            finish: "STOP",
            citations: None,
            blocked: prompt.text.contains("block-this-prompt"),
            prompt_tokens: tokens(request),
            model: model.to_owned(),
            signed,
        };
        if let Some(call) = prompt.call(request, seq) {
            let mut part = json!({"functionCall": call});
            if signed {
                part["thoughtSignature"] = SIGNATURE.into();
            }
            answer.parts.push(part);
            return answer;
        }
        let mut text = prompt.reply(config);
        answer.limit(&mut text, config);
        if has_word(&prompt.text, "cite") {
            answer.citations = Some(json!({"citations": [{
                "startIndex": 0,
                "endIndex": text.chars().count(),
                "uri": "https://example.org/source",
                "title": "A source",
                "license": "",
                "publicationDate": {"year": 2024, "month": 1, "day": 15},
            }]}));
        }
        answer.parts.push(json!({"text": text}));
        answer
    }

    /// The `response` of a unary call.
    pub(crate) fn whole(&self, stamp: &ResponseStamp) -> Value {
        if self.blocked {
            return stamp.on(self.blocked_response(), &self.model);
        }
        let mut parts = Vec::new();
        if let Some(thoughts) = &self.thoughts {
            parts.push(json!({"text": thoughts, "thought": true}));
        }
        parts.extend(self.parts.iter().cloned());
        let candidate = self.last_candidate(parts, true);
        let response = json!({"candidates": [candidate], "usageMetadata": self.usage(usize::MAX)});
        stamp.on(response, &self.model)
    }

    /// The `response`s of a stream: thoughts, the text in `pieces` pieces, the end.
    pub(crate) fn pieces(&self, pieces: usize, stamp: &ResponseStamp) -> Vec<Value> {
        if self.blocked {
            return vec![stamp.on(self.blocked_response(), &self.model)];
        }
        let mut list = Vec::new();
        if let Some(thoughts) = &self.thoughts {
            let part = json!({"text": thoughts, "thought": true});
            list.push((vec![part], 0));
        }
        let mut said = 0;
        for part in &self.parts {
            let Some(text) = part["text"].as_str() else {
                list.push((vec![part.clone()], self.said_tokens()));
                continue;
            };
            for piece in split(text, pieces.max(1)) {
                said += piece.chars().count();
                list.push((vec![json!({"text": piece})], said.div_ceil(CHARS_A_TOKEN)));
            }
        }
        let last = list.len().saturating_sub(1);
        list.into_iter()
            .enumerate()
            .map(|(at, (parts, said))| {
                let candidate = self.last_candidate(parts, at == last);
                let response =
                    json!({"candidates": [candidate], "usageMetadata": self.usage(said)});
                stamp.on(response, &self.model)
            })
            .collect()
    }

    /// A tail without candidates that only repeats the totals (protocol.md 2.4).
    pub(crate) fn usage_only(&self, stamp: &ResponseStamp) -> Value {
        stamp.on(json!({"usageMetadata": self.usage(usize::MAX)}), &self.model)
    }

    fn limit(&mut self, text: &mut String, config: Option<&Node<'_>>) {
        let Some(config) = config else { return };
        for stop in config.list("stop_sequences").iter().filter_map(Node::as_text) {
            if let Some(at) = text.find(stop).filter(|_| !stop.is_empty()) {
                text.truncate(at);
            }
        }
        let most = config.integer("max_output_tokens").and_then(|most| usize::try_from(most).ok());
        let Some(most) = most.filter(|most| *most > 0) else {
            return;
        };
        let most = most.saturating_mul(CHARS_A_TOKEN);
        if let Some((at, _)) = text.char_indices().nth(most) {
            text.truncate(at);
            self.finish = "MAX_TOKENS";
        }
    }

    fn last_candidate(&self, mut parts: Vec<Value>, last: bool) -> Value {
        if last
            && self.signed
            && let Some(part) = parts.last_mut()
            && part.get("text").is_some()
            && !self.model.starts_with("gemini-2")
        {
            part["thoughtSignature"] = SIGNATURE.into();
        }
        let mut candidate = json!({"content": {"role": "model", "parts": parts}});
        if last {
            candidate["finishReason"] = self.finish.into();
            candidate["avgLogprobs"] = json!(-0.25);
            if let Some(citations) = &self.citations {
                candidate["citationMetadata"] = citations.clone();
            }
        }
        candidate
    }

    fn blocked_response(&self) -> Value {
        json!({
            "promptFeedback": {
                "blockReason": "PROHIBITED_CONTENT",
                "blockReasonMessage": "The prompt could not be submitted.",
            },
            "usageMetadata": {
                "promptTokenCount": self.prompt_tokens,
                "totalTokenCount": self.prompt_tokens,
                "trafficType": "ON_DEMAND",
            },
        })
    }

    /// Cumulative, as in the service: each event's numbers are the totals so far.
    fn usage(&self, said: usize) -> Value {
        let said = said.min(self.said_tokens());
        let thought =
            self.thoughts.as_ref().map_or(0, |text| text.chars().count().div_ceil(CHARS_A_TOKEN));
        let mut usage = json!({
            "promptTokenCount": self.prompt_tokens,
            "candidatesTokenCount": said,
            "totalTokenCount": self.prompt_tokens + said + thought,
            "trafficType": "ON_DEMAND",
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": self.prompt_tokens}],
            "candidatesTokensDetails": [{"modality": "TEXT", "tokenCount": said}],
        });
        if thought > 0 {
            usage["thoughtsTokenCount"] = thought.into();
        }
        usage
    }

    fn said_tokens(&self) -> usize {
        let chars = |part: &Value| match part["text"].as_str() {
            Some(text) => text.chars().count(),
            None => part.to_string().len(),
        };
        self.parts.iter().map(chars).sum::<usize>().div_ceil(CHARS_A_TOKEN)
    }
}

/// What marks one answer: when it was made and the id it goes by.
#[derive(Debug)]
pub(crate) struct ResponseStamp {
    pub(crate) create_time: String,
    pub(crate) response_id: String,
}

impl ResponseStamp {
    fn on(&self, mut response: Value, model: &str) -> Value {
        response["modelVersion"] = model.into();
        response["createTime"] = self.create_time.as_str().into();
        response["responseId"] = self.response_id.as_str().into();
        response
    }
}

/// A deterministic count: a quarter of the characters of all text in `contents`, rounded up.
pub(crate) fn tokens(request: &Node<'_>) -> usize {
    let texts = request.list("contents").iter().flat_map(|content| content.list("parts"));
    texts
        .filter_map(|part| part.text("text"))
        .map(|text| text.chars().count())
        .sum::<usize>()
        .div_ceil(CHARS_A_TOKEN)
}

/// A chunk with one inline image of `bytes` bytes of base64, as image models send them.
pub(crate) fn image(model: &str, bytes: usize) -> String {
    let data = "A".repeat(bytes / 4 * 4);
    format!(
        "{{\"response\":{{\"candidates\":[{{\"content\":{{\"role\":\"model\",\"parts\":\
         [{{\"inlineData\":{{\"mimeType\":\"image/png\",\"data\":\"{data}\"}}}}]}}}}],\
         \"modelVersion\":\"{model}\"}}}}"
    )
}

/// The turn that is to be answered.
struct Prompt {
    text: String,
    responses: Vec<(String, Value)>,
}

impl Prompt {
    fn of(request: &Node<'_>) -> Self {
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

    fn summary(&self) -> String {
        if self.responses.is_empty() {
            "I am reading what was asked and how to answer it.".to_owned()
        } else {
            "I have the function's answer and put it into words.".to_owned()
        }
    }

    fn reply(&self, config: Option<&Node<'_>>) -> String {
        let media = config.and_then(|config| config.text("response_mime_type"));
        let schema = config.and_then(|config| {
            config.field("response_schema").or_else(|| config.field("response_json_schema"))
        });
        match (media, schema) {
            (Some("application/json"), Some(schema)) => {
                let schema = schema.value();
                return Synthesis { root: &schema, said: self.said() }.of(&schema, 0).to_string();
            }
            (Some("application/json"), None) => {
                return json!({"answer": self.said()}).to_string();
            }
            (Some("text/x.enum"), Some(schema)) => {
                let schema = schema.value();
                return schema["enum"][0].as_str().unwrap_or_default().to_owned();
            }
            _ => {}
        }
        let mut text = self.said();
        if has_word(&self.text, "separator") {
            text.push_str(" Here is a raw line separator:\u{2028}and a paragraph one:\u{2029}.");
        }
        text
    }

    fn said(&self) -> String {
        if let Some((name, value)) = self.responses.first() {
            return format!("The function {name} answered: {value}");
        }
        let text: String = self.text.chars().take(ECHOED_CHARS).collect();
        format!("You said: {text}")
    }

    /// The call that the turn asks for: forced by mode ANY, else when it speaks of a function.
    fn call(&self, request: &Node<'_>, seq: u64) -> Option<Value> {
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
        let named =
            declared.iter().find(|one| self.speaks_of(one.text("name").unwrap_or_default()));
        let function = match named {
            Some(function) => function,
            None if mode == "ANY" || self.wants_a_tool() => declared.first()?,
            None => return None,
        };
        let schema = function
            .field("parameters")
            .or_else(|| function.field("parameters_json_schema"))
            .map_or(Value::Null, Node::value);
        let args = match &schema {
            Value::Object(_) => Synthesis { root: &schema, said: self.text.clone() }.of(&schema, 0),
            _ => json!({}),
        };
        let args = if args.is_object() { args } else { json!({}) };
        Some(json!({
            "id": format!("emulator-call-{seq}"),
            "name": function.text("name"),
            "args": args,
        }))
    }

    /// Whether a word of the function's name, such as `weather` of `getWeather`, is in the text.
    fn speaks_of(&self, name: &str) -> bool {
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

    fn wants_a_tool(&self) -> bool {
        ["call the function", "call a function", "use the tool", "use a tool", "call the tool"]
            .iter()
            .any(|phrase| self.text.to_lowercase().contains(phrase))
    }
}

/// Makes up a value that a schema allows, OpenAPI subset and JSON Schema alike.
struct Synthesis<'a> {
    root: &'a Value,
    said: String,
}

impl Synthesis<'_> {
    fn of(&self, schema: &Value, depth: usize) -> Value {
        if depth > DEEPEST {
            return Value::Null;
        }
        if let Some(constant) = schema.get("const") {
            return constant.clone();
        }
        if let Some(first) = schema["enum"].as_array().and_then(|values| values.first()) {
            return first.clone();
        }
        if let Some(path) = schema["$ref"].as_str().or_else(|| schema["ref"].as_str()) {
            let pointer = path.trim_start_matches('#');
            return self.root.pointer(pointer).map_or(Value::Null, |at| self.of(at, depth + 1));
        }
        for choice in ["anyOf", "any_of", "oneOf", "allOf"] {
            if let Some(first) = schema[choice].as_array().and_then(|all| all.first()) {
                return self.of(first, depth + 1);
            }
        }
        let kind = match &schema["type"] {
            Value::Array(kinds) => kinds.first().and_then(Value::as_str).unwrap_or_default(),
            kind => kind.as_str().unwrap_or_default(),
        };
        match kind.to_ascii_uppercase().as_str() {
            "ARRAY" => {
                let least = schema["minItems"].as_u64().or_else(|| schema["min_items"].as_u64());
                let most = schema["maxItems"].as_u64().or_else(|| schema["max_items"].as_u64());
                let many = least.unwrap_or(1).max(1).min(most.unwrap_or(u64::MAX));
                let many = usize::try_from(many).unwrap_or(1).min(1000);
                Value::Array((0..many).map(|_| self.of(&schema["items"], depth + 1)).collect())
            }
            "BOOLEAN" => true.into(),
            "INTEGER" => self.number(schema).round_to_integer(),
            "NULL" => Value::Null,
            "NUMBER" => self.number(schema).as_is(),
            "STRING" => self.string(schema).into(),
            _ if schema["properties"].is_object() || kind.eq_ignore_ascii_case("OBJECT") => {
                let mut made = Map::new();
                for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                    let required = schema["required"].as_array().is_some_and(|required| {
                        required.iter().any(|one| one.as_str() == Some(name))
                    });
                    // Optional members end recursion.
                    if required || depth < DEEPEST / 4 {
                        made.insert(name.clone(), self.of(property, depth + 1));
                    }
                }
                Value::Object(made)
            }
            _ => self.said.as_str().into(),
        }
    }

    fn number(&self, schema: &Value) -> Within {
        let bound = |names: [&str; 2]| names.iter().find_map(|name| schema[*name].as_f64());
        let least = bound(["minimum", "exclusiveMinimum"]);
        let most = bound(["maximum", "exclusiveMaximum"]);
        let open = |name: &str| if schema[name].is_number() { 1.0 } else { 0.0 };
        let mut number = 7.0;
        if let Some(most) = most {
            number = f64::min(number, most - open("exclusiveMaximum"));
        }
        if let Some(least) = least {
            number = f64::max(number, least + open("exclusiveMinimum"));
        }
        Within(number)
    }

    fn string(&self, schema: &Value) -> String {
        let made = match schema["format"].as_str() {
            Some("date-time") => "2024-01-15T10:30:00Z",
            Some("date") => "2024-01-15",
            Some("time") => "10:30:00Z",
            Some("email") => "someone@example.com",
            Some("uri" | "url") => "https://example.org/",
            Some("uuid") => "123e4567-e89b-42d3-a456-426614174000",
            _ => self.said.as_str(),
        };
        let bound = |names: [&str; 2]| {
            names.iter().find_map(|name| schema[*name].as_u64().map(|bound| bound as usize))
        };
        let least = bound(["minLength", "min_length"]).unwrap_or(0).min(ECHOED_CHARS);
        let most = bound(["maxLength", "max_length"]).unwrap_or(usize::MAX);
        let mut made: String = made.chars().take(most).collect();
        while made.chars().count() < least {
            made.push('x');
        }
        made
    }
}

struct Within(f64);

impl Within {
    fn as_is(&self) -> Value {
        json!(self.0)
    }

    fn round_to_integer(&self) -> Value {
        json!(self.0.round() as i64)
    }
}

fn has_word(text: &str, word: &str) -> bool {
    text.split(|letter: char| !letter.is_alphanumeric())
        .any(|found| found.eq_ignore_ascii_case(word))
}

/// Cuts a text into at most `pieces` pieces of about the same number of characters.
fn split(text: &str, pieces: usize) -> Vec<String> {
    let letters: Vec<char> = text.chars().collect();
    let size = letters.len().div_ceil(pieces).max(1);
    let mut cut: Vec<String> = letters.chunks(size).map(|piece| piece.iter().collect()).collect();
    if cut.is_empty() {
        cut.push(String::new());
    }
    cut
}

/// base64 of "emulator thought signature".
pub(crate) const SIGNATURE: &str = "ZW11bGF0b3IgdGhvdWdodCBzaWduYXR1cmU=";
const CHARS_A_TOKEN: usize = 4;
const ECHOED_CHARS: usize = 2000;
const DEEPEST: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    fn synthesised(schema: &Value) -> Value {
        Synthesis { root: schema, said: "hi".to_owned() }.of(schema, 0)
    }

    #[test]
    fn a_made_up_value_obeys_its_schema() {
        let schema = json!({"type": "OBJECT", "required": ["n", "tags"], "properties": {
            "n": {"type": "INTEGER", "minimum": 10},
            "tags": {"type": "ARRAY", "minItems": 2, "items": {"type": "STRING", "maxLength": 1}},
            "kind": {"type": "STRING", "enum": ["a", "b"]},
        }});
        assert_eq!(synthesised(&schema), json!({"n": 10, "tags": ["h", "h"], "kind": "a"}));
    }

    #[test]
    fn references_are_followed_and_recursion_ends() {
        let schema = json!({"$ref": "#/$defs/tree", "$defs": {"tree": {
            "type": "object", "required": ["name"],
            "properties": {"name": {"type": "string"}, "next": {"$ref": "#/$defs/tree"}},
        }}});
        assert_eq!(synthesised(&schema)["next"]["name"], "hi");
    }

    #[test]
    fn words_are_whole_words() {
        assert!(has_word("Please cite this.", "cite"));
        assert!(!has_word("an exciting city, recited", "cite"));
    }
}
