//! The codes of `google.rpc.Code` by name, by number and in prose, with their HTTP statuses
//! (<https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto>).
//!
//! Errors inside streams and whole answers have the code in any of these forms.

use http::StatusCode;
use serde_json::Value;

/// One of the codes that stand for an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RpcCode {
    /// The canonical name, such as `RESOURCE_EXHAUSTED`.
    pub(super) name: &'static str,
    number: u64,
    http: u16,
}

impl RpcCode {
    /// The HTTP status that `code.proto` gives.
    pub(super) fn http(self) -> StatusCode {
        StatusCode::from_u16(self.http).unwrap_or(StatusCode::BAD_GATEWAY)
    }

    /// The code with this name, in upper or lower case, with any separators or none:
    /// `ResourceExhausted` is gRPC's own spelling.
    pub(super) fn named(name: &str) -> Option<Self> {
        let letters = |name: &str| {
            let letters = name.bytes().filter(u8::is_ascii_alphabetic);
            letters.map(|byte| byte.to_ascii_uppercase()).collect::<Vec<u8>>()
        };
        // Python's gRPC writes `StatusCode.RESOURCE_EXHAUSTED`.
        let wanted = letters(name.rsplit('.').next().unwrap_or(name));
        let wanted = if wanted == b"CANCELED" { b"CANCELLED".to_vec() } else { wanted };
        RPC_CODES.into_iter().find(|code| letters(code.name) == wanted)
    }

    fn numbered(number: u64) -> Option<Self> {
        RPC_CODES.into_iter().find(|code| code.number == number)
    }

    /// The code that a text names, or else the one that its words stand for.
    pub(super) fn in_text(text: &str) -> Option<Self> {
        // A name in prose, such as `unknown` or `internal`, may be a plain word.
        let is_name = |word: &&str| {
            let mut capitals = word.bytes().filter(u8::is_ascii_uppercase);
            capitals.next().is_some() && (capitals.next().is_some() || word.contains('_'))
        };
        let mut words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        if let Some(code) = words.by_ref().filter(is_name).find_map(Self::named) {
            return Some(code);
        }
        let text = text.to_ascii_lowercase();
        let known = |(phrase, _): &&(&str, u64)| text.contains(phrase);
        PHRASES.iter().find(known).and_then(|(_, number)| Self::numbered(*number))
    }
}

/// The `code` or `status` of an error, as upstream wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WrittenCode {
    /// An HTTP status of a failure.
    Http(StatusCode),
    /// The name of a code.
    Name(RpcCode),
    /// The number of a code.
    Number(RpcCode),
}

impl WrittenCode {
    /// Reads a number, a string that holds one, or a name. `None` for anything else.
    pub(super) fn of(json: &str) -> Option<Self> {
        let number = match serde_json::from_str(json).ok()? {
            Value::String(text) => match text.trim().parse() {
                Ok(number) => number,
                Err(_) => {
                    let code = RpcCode::named(&text);
                    let code = code.or_else(|| RpcCode::in_text(&text.replace('_', " ")));
                    return code.map(Self::Name);
                }
            },
            Value::Number(number) => number.as_u64().or_else(|| whole(number.as_f64()?))?,
            _ => return None,
        };
        match u16::try_from(number).ok().and_then(|number| StatusCode::from_u16(number).ok()) {
            Some(http) if is_failure(http) => Some(Self::Http(http)),
            _ => RpcCode::numbered(number).map(Self::Number),
        }
    }

    pub(super) fn http(self) -> StatusCode {
        match self {
            Self::Http(http) => http,
            Self::Name(code) | Self::Number(code) => code.http(),
        }
    }

    pub(super) fn rpc(self) -> Option<RpcCode> {
        match self {
            Self::Http(_) => None,
            Self::Name(code) | Self::Number(code) => Some(code),
        }
    }
}

/// The number, if it is whole, such as `8.0`.
fn whole(number: f64) -> Option<u64> {
    (number.fract() == 0.0 && (0.0..1000.0).contains(&number)).then_some(number as u64)
}

/// True for a status that a failed request may have.
pub(super) fn is_failure(http: StatusCode) -> bool {
    http.is_client_error() || http.is_server_error()
}

const fn code(number: u64, name: &'static str, http: u16) -> RpcCode {
    RpcCode { name, number, http }
}

const RPC_CODES: [RpcCode; 16] = [
    code(1, "CANCELLED", 499),
    code(2, "UNKNOWN", 500),
    code(3, "INVALID_ARGUMENT", 400),
    code(4, "DEADLINE_EXCEEDED", 504),
    code(5, "NOT_FOUND", 404),
    code(6, "ALREADY_EXISTS", 409),
    code(7, "PERMISSION_DENIED", 403),
    code(8, "RESOURCE_EXHAUSTED", 429),
    code(9, "FAILED_PRECONDITION", 400),
    code(10, "ABORTED", 409),
    code(11, "OUT_OF_RANGE", 400),
    code(12, "UNIMPLEMENTED", 501),
    code(13, "INTERNAL", 500),
    code(14, "UNAVAILABLE", 503),
    code(15, "DATA_LOSS", 500),
    code(16, "UNAUTHENTICATED", 401),
];

/// Words of Google's messages, in lower case, with the code that they come with
/// (`docs/reference/protocol.md` 7.3).
const PHRASES: [(&str, u64); 21] = [
    ("unauthenticated", 16),
    ("invalid authentication credentials", 16),
    ("permission", 7),
    ("authentication scopes", 7),
    ("quota", 8),
    ("rate limit", 8),
    ("resource exhausted", 8),
    ("resource has been exhausted", 8),
    ("too many requests", 8),
    ("exhausted your capacity", 8),
    ("overloaded", 14),
    ("high demand", 14),
    ("no capacity", 14),
    ("unavailable", 14),
    ("deadline exceeded", 4),
    ("deadline expired", 4),
    ("timed out", 4),
    ("invalid argument", 3),
    ("api key not valid", 3),
    ("not found", 5),
    ("internal error", 13),
];
