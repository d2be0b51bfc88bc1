//! Signatures in the fields that clients of OpenAI's and Anthropic's APIs bring back unread: the
//! `encrypted_content` of a reasoning item, the `signature` of a thinking block
//! (`docs/reference/dialects.md` 6.1).
//!
//! The form is `gs1.<b>.<t>.<raw>`. `<b>` is the provider, since another provider refuses the signature.
//! `<t>` is the kind of the part that it belongs to. `<raw>` is Google's own string.

use std::fmt;

use crate::google::ProviderKind;

/// A signature as a client carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carried<'a> {
    /// The provider that has made it. `None` for a letter that this version does not know.
    pub provider: Option<ProviderKind>,
    /// The kind of the part that it belongs to.
    pub kind: CarriedKind,
    /// Google's own string; empty for [`CarriedKind::None`].
    pub raw: &'a str,
}

/// The kind of the part that a signature belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CarriedKind {
    /// A call of a function.
    Call,
    /// A text.
    Text,
    /// There is no signature. Some clients drop a block without one, so that it gets an empty one.
    None,
}

impl<'a> Carried<'a> {
    /// Reads the form. `None` for what another service has signed.
    pub fn read(text: &'a str) -> Option<Self> {
        let mut fields = text.strip_prefix(PREFIX)?.splitn(3, '.');
        let provider = match fields.next()? {
            "c" => Some(ProviderKind::CodeAssist),
            "g" => Some(ProviderKind::GeminiApi),
            "v" => Some(ProviderKind::Vertex),
            _ => None,
        };
        let kind = match fields.next()? {
            "f" => CarriedKind::Call,
            "t" => CarriedKind::Text,
            "-" => CarriedKind::None,
            _ => return None,
        };
        Some(Self { provider, kind, raw: fields.next()? })
    }
}

impl fmt::Display for Carried<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let provider = match self.provider {
            Some(ProviderKind::CodeAssist) => "c",
            Some(ProviderKind::GeminiApi) => "g",
            Some(ProviderKind::Vertex) => "v",
            None => "-",
        };
        let kind = match self.kind {
            CarriedKind::Call => "f",
            CarriedKind::Text => "t",
            CarriedKind::None => "-",
        };
        write!(out, "{PREFIX}{provider}.{kind}.{}", self.raw)
    }
}

const PREFIX: &str = "gs1.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_carried_signature_is_read_as_it_was_written() {
        for provider in [
            Some(ProviderKind::CodeAssist),
            Some(ProviderKind::GeminiApi),
            Some(ProviderKind::Vertex),
            None,
        ] {
            for (kind, raw) in [
                (CarriedKind::Call, "CiQB+/x=="),
                (CarriedKind::Text, "a.b.c"),
                (CarriedKind::None, ""),
            ] {
                let carried = Carried { provider, kind, raw };
                assert_eq!(Carried::read(&carried.to_string()), Some(carried));
            }
        }
        let carried =
            Carried { provider: Some(ProviderKind::CodeAssist), kind: CarriedKind::Call, raw: "S" };
        assert_eq!(carried.to_string(), "gs1.c.f.S");
        let carried = Carried { kind: CarriedKind::None, raw: "", ..carried };
        assert_eq!(carried.to_string(), "gs1.c.-.");
    }

    #[test]
    fn what_another_service_has_signed_is_not_read() {
        for text in ["", "gs1", "gs1.", "gs1.c", "gs1.c.f", "gs1.c.x.S", "gs2.c.f.S", "EqQBCkYIBx"]
        {
            assert_eq!(Carried::read(text), None, "{text}");
        }
    }
}
