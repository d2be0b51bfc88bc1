//! Embeddings for clients that speak OpenAI's API (`docs/reference/dialects.md` 6.9).
//!
//! A request becomes one or more calls of Google's, in order, and their answers become one answer. With
//! fewer `dimensions` than it has, a model may not normalise its vectors: they are passed on as they are.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::dialect::openai::values::{invalid, unsupported};
use crate::dialect::translate::json::{push_string, push_text};
use crate::dialect::translate::text::JsonText;
use crate::error::Error;
use crate::google::ProviderKind;

/// A request for embeddings.
#[derive(Debug, Clone)]
pub struct EmbeddingsRequest<'a> {
    /// The model's name as the client has sent it.
    pub model: Cow<'a, str>,
    /// The texts.
    inputs: Vec<JsonText<'a>>,
    /// The length of the vectors, as the client has written the number.
    dimensions: Option<&'a str>,
    encoding: Encoding,
    /// The fields that have no form in Google's request, for `x-proxy-dropped-fields`.
    pub dropped: Vec<String>,
}

/// How a vector is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    /// Little-endian `f32` in base64, for which OpenAI's SDKs ask by default.
    Base64,
    /// A list of numbers.
    Float,
}

/// Google's method for embeddings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmbeddingsMethod {
    /// The Gemini API's `batchEmbedContents`.
    BatchEmbedContents,
    /// Vertex AI's `predict`.
    Predict,
}

impl EmbeddingsMethod {
    /// The method at a provider; `None` for one that has none.
    pub fn of(provider: ProviderKind) -> Option<Self> {
        match provider {
            ProviderKind::CodeAssist => None,
            ProviderKind::GeminiApi => Some(Self::BatchEmbedContents),
            ProviderKind::Vertex => Some(Self::Predict),
        }
    }

    /// The name after the colon in the path.
    pub fn verb(self) -> &'static str {
        match self {
            Self::BatchEmbedContents => "batchEmbedContents",
            Self::Predict => "predict",
        }
    }

    /// How many texts one call takes. At Vertex AI some models take fewer: `gemini-embedding-001` a single
    /// one according to Google's documentation.
    fn most(self) -> usize {
        match self {
            Self::BatchEmbedContents => 100,
            Self::Predict => 250,
        }
    }
}

/// Reads a request.
pub fn read(body: &[u8]) -> Result<EmbeddingsRequest<'_>, Error> {
    let mut members: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_slice(body)
        .map_err(|error| Error::MalformedJson { detail: error.to_string() })?;
    members.retain(|_, value| value.get() != "null");
    let mut take = |name: &str| members.remove(name);
    let (model, input) = (take("model"), take("input"));
    let (dimensions, encoding) = (take("dimensions"), take("encoding_format"));
    // It names the end user to OpenAI, and nothing follows from it.
    take("user");

    let model = model.and_then(JsonText::of).filter(|model| !model.is_empty());
    let model = model.ok_or_else(|| invalid("model", "A model is required, as a string."))?;
    let input = input.ok_or_else(|| invalid("input", "An input is required."))?;
    let encoding = match encoding.map(RawValue::get) {
        None | Some(r#""float""#) => Encoding::Float,
        Some(r#""base64""#) => Encoding::Base64,
        Some(_) => {
            let message = "The encodings are float and base64.";
            return Err(unsupported("encoding_format", message));
        }
    };
    let dimensions = dimensions.map(RawValue::get);
    if dimensions.is_some_and(|text| text.parse::<u32>().ok().is_none_or(|number| number == 0)) {
        return Err(invalid("dimensions", "The number of dimensions is a positive whole number."));
    }
    Ok(EmbeddingsRequest {
        model: model.decoded(),
        inputs: inputs(input)?,
        dimensions,
        encoding,
        dropped: members.into_keys().map(Cow::into_owned).collect(),
    })
}

/// The texts of `input`: a string, or a list of strings.
fn inputs(input: &RawValue) -> Result<Vec<JsonText<'_>>, Error> {
    if let Some(text) = JsonText::of(input) {
        return Ok(vec![text]);
    }
    let list: Vec<&RawValue> = serde_json::from_str(input.get())
        .map_err(|_| invalid("input", "The input is a string or a list of strings."))?;
    if list.is_empty() || list.len() > MOST_INPUTS {
        return Err(invalid("input", format!("The list has 1 to {MOST_INPUTS} strings.")));
    }
    let text = |(at, value)| JsonText::of(value).ok_or_else(|| not_text(at, value));
    list.into_iter().enumerate().map(text).collect()
}

/// The error for an element of `input` that is no string.
fn not_text(at: usize, value: &RawValue) -> Error {
    let is_token = |byte: u8| byte.is_ascii_digit() || byte == b'[';
    let message = if value.get().bytes().next().is_some_and(is_token) {
        "Lists of tokens are those of OpenAI's models. Send the text."
    } else {
        "Each input is a string."
    };
    unsupported(format!("input[{at}]"), message)
}

impl EmbeddingsRequest<'_> {
    /// The places of the texts of each call, in order.
    pub fn batches(&self, method: EmbeddingsMethod) -> Vec<Range<usize>> {
        let most = method.most();
        let end = |start: usize| self.inputs.len().min(start + most);
        (0..self.inputs.len()).step_by(most).map(|start| start..end(start)).collect()
    }

    /// The body of the call for one batch. `model` is the bare id at the upstream.
    pub fn body(&self, method: EmbeddingsMethod, model: &str, batch: Range<usize>) -> Bytes {
        let texts = self.inputs.get(batch).unwrap_or_default();
        let length: usize = texts.iter().map(|text| text.quoted().len() + 128).sum();
        let mut out = BytesMut::with_capacity(64 + length);
        match method {
            EmbeddingsMethod::BatchEmbedContents => self.push_requests(model, texts, &mut out),
            EmbeddingsMethod::Predict => self.push_instances(texts, &mut out),
        }
        out.freeze()
    }

    fn push_requests(&self, model: &str, texts: &[JsonText<'_>], out: &mut BytesMut) {
        out.put_slice(br#"{"requests":["#);
        for (at, text) in texts.iter().enumerate() {
            if at > 0 {
                out.put_u8(b',');
            }
            out.put_slice(br#"{"model":"#);
            push_string(&format!("models/{model}"), out);
            out.put_slice(br#","content":{"parts":[{"text":"#);
            push_text(*text, out);
            out.put_slice(b"}]}");
            if let Some(dimensions) = self.dimensions {
                out.put_slice(br#","outputDimensionality":"#);
                out.put_slice(dimensions.as_bytes());
            }
            out.put_u8(b'}');
        }
        out.put_slice(b"]}");
    }

    fn push_instances(&self, texts: &[JsonText<'_>], out: &mut BytesMut) {
        out.put_slice(br#"{"instances":["#);
        for (at, text) in texts.iter().enumerate() {
            out.put_slice(if at > 0 { br#",{"content":"# } else { br#"{"content":"# });
            push_text(*text, out);
            out.put_u8(b'}');
        }
        out.put_u8(b']');
        if let Some(dimensions) = self.dimensions {
            out.put_slice(br#","parameters":{"outputDimensionality":"#);
            out.put_slice(dimensions.as_bytes());
            out.put_u8(b'}');
        }
        out.put_u8(b'}');
    }
}

/// Writes the answer from those of the calls.
#[derive(Debug)]
pub struct EmbeddingsWriter {
    encoding: Encoding,
    out: BytesMut,
    count: usize,
    tokens: u64,
}

impl EmbeddingsWriter {
    /// A writer for the answer to `request`.
    pub fn new(request: &EmbeddingsRequest<'_>) -> Self {
        let out = BytesMut::from(&br#"{"object":"list","data":["#[..]);
        Self { encoding: request.encoding, out, count: 0, tokens: 0 }
    }

    /// The tokens that upstream has counted so far.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Takes the answer to the call for a batch of `expected` texts.
    pub fn answer(
        &mut self,
        method: EmbeddingsMethod,
        answer: &[u8],
        expected: usize,
    ) -> Result<(), Error> {
        let malformed = |error: serde_json::Error| malformed(&error.to_string());
        let vectors: Vec<Vector<'_>> = match method {
            EmbeddingsMethod::BatchEmbedContents => {
                let answer: BatchAnswer<'_> = serde_json::from_slice(answer).map_err(malformed)?;
                // Only newer models count, so that there may be no count.
                self.tokens += lenient::<BatchUsage>(answer.usage_metadata).prompt_token_count;
                answer.embeddings
            }
            EmbeddingsMethod::Predict => {
                let answer: Predictions<'_> = serde_json::from_slice(answer).map_err(malformed)?;
                answer.predictions.into_iter().map(|prediction| prediction.embeddings).collect()
            }
        };
        if vectors.len() != expected {
            let what = format!("there are {} embeddings for {expected} texts", vectors.len());
            return Err(Error::UpstreamMalformed { what });
        }
        vectors.iter().try_for_each(|vector| self.push(vector))
    }

    /// The whole answer. `model` is the name that the client has sent.
    pub fn finish(mut self, model: &str) -> Bytes {
        self.out.put_slice(br#"],"model":"#);
        push_string(model, &mut self.out);
        let tokens = self.tokens;
        let usage = format!(r#","usage":{{"prompt_tokens":{tokens},"total_tokens":{tokens}}}}}"#);
        self.out.put_slice(usage.as_bytes());
        self.out.freeze()
    }

    fn push(&mut self, vector: &Vector<'_>) -> Result<(), Error> {
        let numbers = vector.numbers().ok_or_else(|| malformed("an embedding has no numbers"))?;
        let comma = if self.count > 0 { "," } else { "" };
        let start = format!(r#"{comma}{{"object":"embedding","index":{},"embedding":"#, self.count);
        self.out.put_slice(start.as_bytes());
        match self.encoding {
            Encoding::Base64 => {
                let number = |text: &str| text.parse::<f32>().ok().filter(|it| it.is_finite());
                let bytes = numbers.map(|text| number(text).map(f32::to_le_bytes));
                let bytes: Option<Vec<[u8; 4]>> = bytes.collect();
                let bytes = bytes.ok_or_else(|| malformed("an embedding has more than numbers"))?;
                self.out.put_u8(b'"');
                self.out.put_slice(STANDARD.encode(bytes.as_flattened()).as_bytes());
                self.out.put_u8(b'"');
            }
            Encoding::Float => {
                self.out.put_u8(b'[');
                for (at, number) in numbers.enumerate() {
                    if number.parse::<f64>().is_err() {
                        return Err(malformed("an embedding has more than numbers"));
                    }
                    if at > 0 {
                        self.out.put_u8(b',');
                    }
                    self.out.put_slice(number.as_bytes());
                }
                self.out.put_u8(b']');
            }
        }
        self.out.put_u8(b'}');
        self.count += 1;
        self.tokens += lenient::<Statistics>(vector.statistics).token_count;
        Ok(())
    }
}

fn malformed(what: &str) -> Error {
    Error::UpstreamMalformed { what: what.to_owned() }
}

/// Counts, or none: an answer is not refused for them.
fn lenient<T: DeserializeOwned + Default>(counts: Option<&RawValue>) -> T {
    counts.and_then(|counts| serde_json::from_str(counts.get()).ok()).unwrap_or_default()
}

/// An answer of `batchEmbedContents`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BatchAnswer<'a> {
    #[serde(default, borrow)]
    embeddings: Vec<Vector<'a>>,
    #[serde(borrow)]
    usage_metadata: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct BatchUsage {
    #[serde(default)]
    prompt_token_count: u64,
}

/// An answer of `predict`.
#[derive(Deserialize)]
struct Predictions<'a> {
    #[serde(default, borrow)]
    predictions: Vec<Prediction<'a>>,
}

#[derive(Deserialize)]
struct Prediction<'a> {
    #[serde(borrow)]
    embeddings: Vector<'a>,
}

#[derive(Deserialize)]
struct Vector<'a> {
    /// The numbers with upstream's digits.
    #[serde(borrow)]
    values: Option<&'a RawValue>,
    #[serde(borrow)]
    statistics: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
struct Statistics {
    #[serde(default)]
    token_count: u64,
}

impl<'a> Vector<'a> {
    /// The numbers as upstream has written them; `None` if `values` is no list, or an empty one.
    fn numbers(&self) -> Option<impl Iterator<Item = &'a str> + use<'a>> {
        let list = self.values?.get().strip_prefix('[')?.strip_suffix(']')?;
        let is_empty = list.trim_ascii().is_empty();
        (!is_empty).then(|| list.split(',').map(str::trim_ascii))
    }
}

/// OpenAI's own bound for one request.
const MOST_INPUTS: usize = 2048;

#[cfg(test)]
mod tests;
