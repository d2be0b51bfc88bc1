//! The Gemini request that becomes of a draft. The client's own values are copied as they are written:
//! numbers keep their digits, texts their escapes, schemas and arguments the order of their keys.

mod config;
mod contents;
mod members;
mod parts;
mod results;
mod signed;
mod tools;

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::value::RawValue;

use super::draft::{ClientToolName, DraftRequest, Media, Piece, Tool, ToolChoice};
use super::json::push_string;
use super::names::{NamedTool, ToolNames, UpstreamNames};
use super::target::Target;
use super::text::Text;
use crate::error::{Error, Refusal, RefusalCode};
use crate::google::ProviderKind;
use members::Members;
use tools::Offer;

/// A Gemini request.
#[derive(Debug)]
pub struct Written {
    /// The JSON.
    pub body: Bytes,
    /// The paths of the client's fields that are left out.
    pub dropped: Vec<String>,
    /// The client's tools, for the answer.
    pub names: ToolNames,
    /// The last provider whose signatures are left out, since the target has another one.
    pub foreign: Option<ProviderKind>,
}

/// Writes a request that generates an answer.
pub fn write(draft: DraftRequest<'_>, target: &Target) -> Result<Written, Error> {
    let mut out = BytesMut::with_capacity(length(&draft));
    let (dropped, names, foreign) = request(draft, target, None, &mut out)?;
    Ok(Written { body: out.freeze(), dropped, names, foreign })
}

/// Writes a request that counts the tokens of a prompt.
pub fn write_count(draft: DraftRequest<'_>, target: &Target) -> Result<Written, Error> {
    let mut out = BytesMut::with_capacity(length(&draft) + 64 + target.model.len());
    out.put_slice(br#"{"generateContentRequest":"#);
    let (dropped, names, foreign) = request(draft, target, Some(&target.model), &mut out)?;
    out.put_u8(b'}');
    Ok(Written { body: out.freeze(), dropped, names, foreign })
}

/// Writes the request, with the model in it where the method wants it there.
fn request(
    mut draft: DraftRequest<'_>,
    target: &Target,
    model: Option<&str>,
    out: &mut BytesMut,
) -> Result<(Vec<String>, ToolNames, Option<ProviderKind>), Error> {
    let mut dropped = std::mem::take(&mut draft.dropped);
    let draft = &draft;
    let offer = Offer::of(draft, target, &mut dropped)?;
    let names = UpstreamNames::of_all(all_names(draft));
    let has_contents = contents::are_some(&draft.pieces, target);
    let system = || draft.system.iter().filter(|text| !text.is_empty());
    let has_system = system().next().is_some();
    if !has_contents && !has_system {
        // Google's own refusal names no field.
        let message =
            "The messages are empty. Gemini needs a text, an image or a result of a tool.";
        return Err(Refusal::error(RefusalCode::InvalidValue, draft.config.paths.input, message));
    }
    let mut request = Members::begin(out);
    if let Some(model) = model {
        push_string(&format!("models/{model}"), request.key("model"));
    }
    if has_contents && has_system {
        let out = request.key("systemInstruction");
        out.put_slice(br#"{"parts":"#);
        texts(system(), out);
        out.put_u8(b'}');
    }
    let out = request.key("contents");
    let foreign = if has_contents {
        contents::write(&draft.pieces, &names, target, out)
    } else {
        // Gemini needs a content, so that instructions alone are what the user says.
        out.put_slice(br#"[{"role":"user","parts":"#);
        texts(system(), out);
        out.put_slice(b"}]");
        None
    };
    offer.write(&names, &mut request)?;
    let has_functions = !offer.functions.is_empty();
    config::write(&draft.config, target, has_functions, &mut dropped, &mut request)?;
    for (key, value) in
        [("cachedContent", draft.cached_content), ("safetySettings", draft.safety_settings)]
    {
        if let Some(value) = value.map(RawValue::get).filter(|value| *value != "null") {
            request.written(key, value);
        }
    }
    request.end();
    Ok((dropped, tool_names(&offer, &names), foreign))
}

/// Writes texts as parts.
fn texts<'d>(texts: impl Iterator<Item = &'d Text<'d>>, out: &mut BytesMut) {
    out.put_u8(b'[');
    for (number, text) in texts.enumerate() {
        if number > 0 {
            out.put_u8(b',');
        }
        parts::text(text, None, out);
    }
    out.put_u8(b']');
}

/// Every tool that the request names.
fn all_names<'d, 'a>(
    draft: &'d DraftRequest<'a>,
) -> impl Iterator<Item = &'d ClientToolName<'a>> + Clone {
    let declared = draft.tools.iter().filter_map(|tool| match tool {
        Tool::Function(function) => Some(&function.name),
        Tool::Google { .. } => None,
    });
    let chosen = match &draft.choice {
        ToolChoice::Named { names, .. } => &names[..],
        _ => &[],
    };
    let called = draft.pieces.iter().filter_map(|piece| match piece {
        Piece::Call(call) => Some(&call.name),
        _ => None,
    });
    declared.chain(chosen).chain(called)
}

/// The client's tools, for the answer: those that are declared, and those of the history that have
/// another name upstream, since a model repeats what it has called.
fn tool_names(offer: &Offer<'_, '_>, names: &UpstreamNames<'_, '_>) -> ToolNames {
    let named = |client: &ClientToolName<'_>, upstream: &str, takes_text| NamedTool {
        upstream: upstream.to_owned(),
        client: client.to_owned_name(),
        takes_text,
    };
    let functions = &offer.functions;
    let declared = functions
        .iter()
        .map(|function| named(&function.name, names.of(&function.name), function.takes_text));
    let others = names.others().map(|(client, upstream)| named(client, upstream, false));
    ToolNames::new(declared.chain(others).collect())
}

/// About the length of the request, so that its buffer need not grow.
fn length(draft: &DraftRequest<'_>) -> usize {
    let system: usize = draft.system.iter().map(|part| text_length(part) + 16).sum();
    let pieces: usize = draft.pieces.iter().map(piece_length).sum();
    let tools: usize = draft.tools.iter().map(tool_length).sum();
    512 + system + pieces + tools
}

fn text_length(text: &Text<'_>) -> usize {
    match text {
        Text::Json(text) => text.quoted().len(),
        Text::Plain(text) => text.len() + text.len() / 16,
    }
}

fn media_length(media: &Media<'_>) -> usize {
    96 + match media {
        Media::Inline { mime, data, .. } => mime.len() + data.len(),
        Media::File { mime, uri } => mime.len() + uri.len(),
    }
}

fn piece_length(piece: &Piece<'_>) -> usize {
    // The part's braces and keys, and those of a content around it.
    64 + match piece {
        Piece::System(text) | Piece::UserText(text) => text_length(text),
        Piece::ModelText { text, signature } => {
            text_length(text) + signature.as_ref().map_or(0, |signature| signature.len() + 24)
        }
        Piece::UserMedia(media) | Piece::ModelMedia(media) => media_length(media),
        // The response to the call repeats its id and name.
        Piece::Call(call) => {
            let signature = call.signature.as_ref().map_or(64, |signature| signature.len() + 24);
            160 + 2 * (call.id.len() + call.name.name.len()) + call.args.len() + signature
        }
        Piece::Result(result) => {
            result.texts.iter().map(text_length).sum::<usize>()
                + result.media.iter().map(media_length).sum::<usize>()
        }
        Piece::Signature(signature) => signature.len(),
        Piece::EndOfModel => 0,
    }
}

fn tool_length(tool: &Tool<'_>) -> usize {
    match tool {
        Tool::Function(function) => {
            let description = function.description.as_ref().map_or(0, text_length);
            128 + description + function.schema.map_or(0, |schema| schema.get().len())
        }
        Tool::Google { options, .. } => 32 + options.map_or(0, |options| options.get().len()),
    }
}

#[cfg(test)]
mod tests;
