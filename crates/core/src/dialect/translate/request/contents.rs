//! The client's pieces as contents (`docs/reference/dialects.md` 2.1, 6.3): neighbours of one side are
//! one content, and each content with calls is followed by the responses to them.

use bytes::{BufMut, BytesMut};

use super::super::draft::{Piece, ToolResult};
use super::super::names::UpstreamNames;
use super::super::target::Target;
use super::parts;
use super::results::Step;
use super::signed::Signer;
use crate::google::ProviderKind;

/// Writes the contents of a conversation as a JSON array. Returns the last provider whose signatures are
/// left out.
pub(super) fn write<'d, 'a>(
    pieces: &'d [Piece<'a>],
    names: &'d UpstreamNames<'d, 'a>,
    target: &'d Target,
    out: &mut BytesMut,
) -> Option<ProviderKind> {
    let mut writer = Writer {
        contents: Contents::begin(out),
        signer: Signer::new(target),
        step: Step::default(),
        names,
        target,
    };
    let mut rest = pieces;
    while !rest.is_empty() {
        rest = writer.model(rest);
        rest = writer.user(rest);
    }
    writer.contents.end();
    writer.signer.foreign()
}

/// True if any content becomes of the pieces.
pub(super) fn are_some(pieces: &[Piece<'_>], target: &Target) -> bool {
    pieces.iter().any(|piece| side(piece, target).is_some())
}

/// Who says what a content holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Model,
    User,
}

/// The side of a piece that becomes a part. Empty texts become none, since Gemini refuses them.
fn side(piece: &Piece<'_>, target: &Target) -> Option<Side> {
    match piece {
        Piece::System(text) | Piece::UserText(text) => (!text.is_empty()).then_some(Side::User),
        Piece::UserMedia(_) | Piece::Result(_) => Some(Side::User),
        // Gemini itself sends empty texts that have a signature.
        Piece::ModelText { text, signature } => {
            let is_signed = signature.as_ref().is_some_and(|signature| !signature.is_empty());
            (!text.is_empty() || is_signed && !target.without_signatures).then_some(Side::Model)
        }
        Piece::ModelMedia(_) | Piece::Call(_) => Some(Side::Model),
        Piece::Signature(_) | Piece::EndOfModel => None,
    }
}

struct Writer<'o, 'd, 'a> {
    contents: Contents<'o>,
    signer: Signer<'d>,
    step: Step<'d, 'a>,
    names: &'d UpstreamNames<'d, 'a>,
    target: &'d Target,
}

impl<'d, 'a> Writer<'_, 'd, 'a> {
    /// Writes the model's parts at the beginning of `pieces`, and returns what follows them.
    fn model(&mut self, pieces: &'d [Piece<'a>]) -> &'d [Piece<'a>] {
        self.step.clear();
        for (at, piece) in pieces.iter().enumerate() {
            match (piece, side(piece, self.target)) {
                (_, Some(Side::User)) => return &pieces[at..],
                // The calls before an empty message are answered before what follows it.
                (Piece::EndOfModel, _) if !self.step.calls.is_empty() => return &pieces[at..],
                (Piece::Signature(text), _) => self.signer.note(text),
                (_, Some(Side::Model)) => self.model_part(piece),
                (_, None) => {}
            }
        }
        &[]
    }

    fn model_part(&mut self, piece: &'d Piece<'a>) {
        let family = self.target.family;
        let out = self.contents.part(Side::Model);
        match piece {
            Piece::ModelText { text, signature } => {
                let signature = self.signer.of_text(signature.as_deref());
                parts::text(text, signature, out);
            }
            Piece::ModelMedia(media) => parts::media(media, family, out),
            Piece::Call(call) => {
                let is_first = self.step.calls.is_empty();
                let own = call.signature.as_deref();
                let signature = self.signer.of_call(&call.id, own, is_first);
                let name = self.names.of(&call.name);
                parts::call(call, name, signature.as_deref(), family, out);
                self.step.calls.push(call);
            }
            _ => {}
        }
    }

    /// Writes the user's parts at the beginning of `pieces`, and returns what follows them.
    fn user(&mut self, pieces: &'d [Piece<'a>]) -> &'d [Piece<'a>] {
        let is_model = |piece| side(piece, self.target) == Some(Side::Model);
        let (pieces, rest) =
            pieces.split_at(pieces.iter().position(is_model).unwrap_or(pieces.len()));
        if !self.step.calls.is_empty() {
            self.signer.end_of_content();
        }
        for piece in pieces {
            match piece {
                Piece::Result(result) => self.step.results.push(result),
                Piece::Signature(text) => self.signer.note(text),
                piece if side(piece, self.target).is_some() => self.signer.end_of_content(),
                _ => {}
            }
        }
        self.step.pair();
        self.responses();
        self.others(pieces);
        rest
    }

    /// Writes one response to each call, and then the media that have no place in a response.
    fn responses(&mut self) {
        let family = self.target.family;
        for (call, result) in self.step.answered() {
            let name = self.names.of(&call.name);
            parts::response(call, name, result, family, self.contents.part(Side::User));
        }
        for (call, result) in self.step.answered() {
            let media = result.into_iter().flat_map(|result| &result.media);
            let mut media =
                media.filter(|media| !parts::is_within_response(media, family)).peekable();
            if media.peek().is_some() {
                parts::returned_by(self.names.of(&call.name), self.contents.part(Side::User));
            }
            for media in media {
                parts::media(media, family, self.contents.part(Side::User));
            }
        }
    }

    /// Writes what is no response, in the client's order.
    fn others(&mut self, pieces: &'d [Piece<'a>]) {
        let mut result_at = 0;
        for piece in pieces {
            match piece {
                Piece::UserText(text) if !text.is_empty() => {
                    parts::text(text, None, self.contents.part(Side::User));
                }
                Piece::System(text) if !text.is_empty() => {
                    parts::system(text, self.contents.part(Side::User));
                }
                Piece::UserMedia(media) => {
                    parts::media(media, self.target.family, self.contents.part(Side::User));
                }
                Piece::Result(result) => {
                    if self.step.is_orphan(result_at) {
                        self.orphan(result);
                    }
                    result_at += 1;
                }
                _ => {}
            }
        }
    }

    fn orphan(&mut self, result: &ToolResult<'_>) {
        parts::orphan(result, self.contents.part(Side::User));
        for media in &result.media {
            parts::media(media, self.target.family, self.contents.part(Side::User));
        }
    }
}

/// Writes contents, part by part.
struct Contents<'o> {
    out: &'o mut BytesMut,
    open: Option<Side>,
}

impl<'o> Contents<'o> {
    fn begin(out: &'o mut BytesMut) -> Self {
        out.put_u8(b'[');
        Self { out, open: None }
    }

    /// Begins a part of a side. The caller writes it.
    fn part(&mut self, side: Side) -> &mut BytesMut {
        if self.open == Some(side) {
            self.out.put_u8(b',');
            return self.out;
        }
        if self.open.is_some() {
            self.out.put_slice(b"]},");
        }
        self.out.put_slice(match side {
            Side::Model => br#"{"role":"model","parts":["#,
            Side::User => br#"{"role":"user","parts":["#,
        });
        self.open = Some(side);
        self.out
    }

    fn end(self) {
        self.out.put_slice(if self.open.is_some() { b"]}]" } else { b"]" });
    }
}
