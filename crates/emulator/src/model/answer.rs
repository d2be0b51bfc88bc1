//! The answer of the stand-in model, as `GenerateContentResponse` values. It depends on the request
//! and on nothing else, but for ids and times.

use serde_json::{Value, json};

use crate::model::AnswerForm;
use crate::model::prompt::{Prompt, has_word};
use crate::proto::Node;

/// The answer to one generate call, before a stream cuts it into events.
#[derive(Debug)]
pub(crate) struct ModelAnswer {
    form: AnswerForm,
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
    /// Answers a request; `seq` is the call's number and makes ids differ.
    pub(crate) fn to(form: AnswerForm, model: &str, request: &Node<'_>, seq: u64) -> Self {
        let prompt = Prompt::of(request);
        let config = request.field("generation_config");
        let thinking = config.and_then(|config| config.field("thinking_config"));
        let thoughts = thinking
            .is_some_and(|thinking| thinking.flag("include_thoughts"))
            .then(|| format!("**Considering the request**\n\n{}", prompt.thoughts()));
        let signed = thoughts.is_some() || !model.starts_with("gemini-2");
        let mut answer = Self {
            form,
            thoughts,
            parts: Vec::new(),
            finish: "STOP",
            citations: None,
            blocked: prompt.text.contains("block-this-prompt"),
            prompt_tokens: count_tokens(request),
            model: model.to_owned(),
            signed,
        };
        if let Some(call) = prompt.function_call(request, seq) {
            let mut part = json!({"functionCall": call});
            if signed {
                part["thoughtSignature"] = form.signature().into();
            }
            answer.parts.push(part);
            return answer;
        }
        let mut text = prompt.reply(config);
        answer.apply_limits(&mut text, config);
        if has_word(&prompt.text, "cite") {
            answer.citations = Some(form.citations(text.chars().count()));
        }
        answer.parts.push(json!({"text": text}));
        answer
    }

    /// The whole response, as a unary call gets it.
    pub(crate) fn whole(&self, stamp: &ResponseStamp) -> Value {
        if self.blocked {
            return self.mark(self.blocked_response(), stamp);
        }
        let mut parts = Vec::new();
        if let Some(thoughts) = &self.thoughts {
            parts.push(json!({"text": thoughts, "thought": true}));
        }
        parts.extend(self.parts.iter().cloned());
        let candidate = self.candidate(parts, true);
        let response = json!({"candidates": [candidate], "usageMetadata": self.usage(usize::MAX)});
        self.mark(response, stamp)
    }

    /// The responses of a stream: the thoughts, then the text in `pieces` pieces.
    pub(crate) fn pieces(&self, pieces: usize, stamp: &ResponseStamp) -> Vec<Value> {
        if self.blocked {
            return vec![self.mark(self.blocked_response(), stamp)];
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
                let candidate = self.candidate(parts, at == last);
                let response =
                    json!({"candidates": [candidate], "usageMetadata": self.usage(said)});
                self.mark(response, stamp)
            })
            .collect()
    }

    /// A last response of a stream without candidates: it repeats the usage
    /// (docs/reference/protocol.md 2.4).
    pub(crate) fn usage_only(&self, stamp: &ResponseStamp) -> Value {
        self.mark(json!({"usageMetadata": self.usage(usize::MAX)}), stamp)
    }

    /// The text of the answer without thoughts.
    pub(crate) fn text(&self) -> String {
        self.parts.iter().filter_map(|part| part["text"].as_str()).collect()
    }

    /// The function call of the answer.
    pub(crate) fn function_call(&self) -> Option<&Value> {
        self.parts.iter().find_map(|part| part.get("functionCall"))
    }

    fn mark(&self, mut response: Value, stamp: &ResponseStamp) -> Value {
        response["modelVersion"] = self.model.as_str().into();
        response["responseId"] = stamp.response_id.as_str().into();
        if self.form != AnswerForm::GeminiApi {
            response["createTime"] = stamp.create_time.as_str().into();
        }
        response
    }

    /// Cuts the text at the first stop sequence and at `maxOutputTokens`.
    fn apply_limits(&mut self, text: &mut String, config: Option<&Node<'_>>) {
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

    fn candidate(&self, mut parts: Vec<Value>, last: bool) -> Value {
        if last
            && self.signed
            && let Some(part) = parts.last_mut()
            && part.get("text").is_some()
            && !self.model.starts_with("gemini-2")
        {
            part["thoughtSignature"] = self.form.signature().into();
        }
        let mut candidate = json!({"content": {"role": "model", "parts": parts}});
        if self.form == AnswerForm::GeminiApi {
            candidate["index"] = 0.into();
        }
        if last {
            candidate["finishReason"] = self.finish.into();
            if self.form != AnswerForm::GeminiApi {
                candidate["avgLogprobs"] = json!(-0.25);
            }
            if let Some(citations) = &self.citations {
                candidate["citationMetadata"] = citations.clone();
            }
        }
        candidate
    }

    fn blocked_response(&self) -> Value {
        let mut feedback = json!({"blockReason": "PROHIBITED_CONTENT"});
        if self.form != AnswerForm::GeminiApi {
            feedback["blockReasonMessage"] = "The prompt could not be submitted.".into();
        }
        let mut usage = json!({
            "promptTokenCount": self.prompt_tokens,
            "totalTokenCount": self.prompt_tokens,
        });
        self.form.mark_tier(&mut usage);
        json!({"promptFeedback": feedback, "usageMetadata": usage})
    }

    /// The usage after `said` tokens of the answer. Google's numbers are cumulative: those of each
    /// event are the totals so far.
    fn usage(&self, said: usize) -> Value {
        let said = said.min(self.said_tokens());
        let thought =
            self.thoughts.as_ref().map_or(0, |text| text.chars().count().div_ceil(CHARS_A_TOKEN));
        let mut usage = json!({
            "promptTokenCount": self.prompt_tokens,
            "candidatesTokenCount": said,
            "totalTokenCount": self.prompt_tokens + said + thought,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": self.prompt_tokens}],
            "candidatesTokensDetails": [{"modality": "TEXT", "tokenCount": said}],
        });
        self.form.mark_tier(&mut usage);
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

/// When a response was made, and its id.
#[derive(Debug)]
pub(crate) struct ResponseStamp {
    pub(crate) create_time: String,
    pub(crate) response_id: String,
}

/// The token count of a request: a quarter of the characters of all text in `contents` and in
/// `systemInstruction`, rounded up.
pub(crate) fn count_tokens(request: &Node<'_>) -> usize {
    let system = request.field("system_instruction").into_iter();
    let contents = request.list("contents").iter().chain(system);
    contents
        .flat_map(|content| content.list("parts"))
        .filter_map(|part| part.text("text"))
        .map(|text| text.chars().count())
        .sum::<usize>()
        .div_ceil(CHARS_A_TOKEN)
}

/// A response with one inline image of `bytes` bytes of base64, as image models send it.
pub(crate) fn image_response(model: &str, bytes: usize) -> String {
    let data = "A".repeat(bytes / 4 * 4);
    format!(
        "{{\"candidates\":[{{\"content\":{{\"role\":\"model\",\"parts\":[{{\"inlineData\":\
         {{\"mimeType\":\"image/png\",\"data\":\"{data}\"}}}}]}}}}],\"modelVersion\":\"{model}\"}}"
    )
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

const CHARS_A_TOKEN: usize = 4;
