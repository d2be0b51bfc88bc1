//! Thought signatures, by their hashes.

use std::hash::{DefaultHasher, Hasher};

use base64::Engine;
use base64::alphabet::{Alphabet, STANDARD, URL_SAFE};
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};

use crate::json::{Cursor, JsonError, JsonString, ValueKind};

/// A hash of a signature's decoded bytes: SDKs write them in the other alphabet of base64. It is the same
/// within a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SignatureHash(pub u64);

impl SignatureHash {
    /// The hash of a signature in standard or URL-safe base64, padded or not. What is neither is hashed as
    /// it is written.
    pub fn of(written: &[u8]) -> Self {
        let is_url_safe = memchr::memchr2(b'-', b'_', written).is_some();
        let engine = if is_url_safe { &ENGINE_URL_SAFE } else { &ENGINE_STANDARD };
        let len = written.iter().rposition(|&byte| byte != b'=').map_or(0, |last| last + 1);
        let mut hasher = DefaultHasher::new();
        let mut decoded = [0; CHUNK / 4 * 3];
        for chunk in written[..len].chunks(CHUNK) {
            let Ok(decoded_len) = engine.decode_slice(chunk, &mut decoded) else {
                hasher = DefaultHasher::new();
                hasher.write(written);
                break;
            };
            hasher.write(&decoded[..decoded_len]);
        }
        Self(hasher.finish())
    }

    /// Finds the signatures in an answer or event: Gemini's, one in Code Assist's wrapper, or an array of them.
    /// What is no JSON has none.
    pub fn in_answer(answer: &[u8], mut each: impl FnMut(Self)) {
        // Most events have none, and a search for the end of their key is much quicker than a scan.
        if memchr::memmem::find(answer, b"ignature\"").is_some() {
            let _ =
                Cursor::new(answer).and_then(|mut cursor| in_answer(&mut cursor, &mut each, true));
        }
    }
}

fn in_answer(
    cursor: &mut Cursor<'_>,
    each: &mut impl FnMut(SignatureHash),
    outermost: bool,
) -> Result<(), JsonError> {
    if outermost && cursor.kind()? == ValueKind::Array {
        let mut inside = cursor.array()?;
        while cursor.item(&mut inside)? {
            in_answer(cursor, each, false)?;
        }
        return Ok(());
    }
    members(cursor, |cursor, key| match key {
        b"response" => members(cursor, |cursor, key| in_response(cursor, key, each)),
        _ => in_response(cursor, key, each),
    })
}

fn in_response(
    cursor: &mut Cursor<'_>,
    key: &[u8],
    each: &mut impl FnMut(SignatureHash),
) -> Result<(), JsonError> {
    if key != b"candidates" || cursor.kind()? != ValueKind::Array {
        return cursor.skip().map(drop);
    }
    let mut candidates = cursor.array()?;
    while cursor.item(&mut candidates)? {
        members(cursor, |cursor, key| match key {
            b"content" => members(cursor, |cursor, key| match key {
                b"parts" if cursor.kind()? == ValueKind::Array => {
                    let mut parts = cursor.array()?;
                    while cursor.item(&mut parts)? {
                        members(cursor, |cursor, key| match key {
                            b"thoughtSignature" | b"thought_signature" => {
                                if let Some(signature) = cursor.string_or_skip()?
                                    && is_signature(&signature)
                                {
                                    each(SignatureHash::of(&signature.value));
                                }
                                Ok(())
                            }
                            _ => cursor.skip().map(drop),
                        })?;
                    }
                    Ok(())
                }
                _ => cursor.skip().map(drop),
            }),
            _ => cursor.skip().map(drop),
        })?;
    }
    Ok(())
}

/// Reads an object's members with `member`; steps over what is no object.
fn members<'a>(
    cursor: &mut Cursor<'a>,
    mut member: impl FnMut(&mut Cursor<'a>, &[u8]) -> Result<(), JsonError>,
) -> Result<(), JsonError> {
    if cursor.kind()? != ValueKind::Object {
        return cursor.skip().map(drop);
    }
    let mut inside = cursor.object()?;
    while let Some(key) = cursor.key(&mut inside)? {
        member(cursor, &key.value)?;
    }
    Ok(())
}

/// False for an empty string and for the placeholders, which any upstream takes or refuses by itself.
pub(super) fn is_signature(text: &JsonString<'_>) -> bool {
    let is_placeholder = [PLACEHOLDER, "context_engineering_is_the_way_to_go"]
        .iter()
        .any(|placeholder| *text.value == *placeholder.as_bytes());
    !text.value.is_empty() && !is_placeholder
}

/// Both APIs document it (`docs/reference/upstreams.md` 7.3).
const PLACEHOLDER: &str = "skip_thought_signature_validator";

const fn engine(alphabet: &Alphabet) -> GeneralPurpose {
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    GeneralPurpose::new(alphabet, config)
}

static ENGINE_STANDARD: GeneralPurpose = engine(&STANDARD);
static ENGINE_URL_SAFE: GeneralPurpose = engine(&URL_SAFE);

/// How many characters are decoded at once: whole groups of four, and no memory but the stack's.
const CHUNK: usize = 1024;
