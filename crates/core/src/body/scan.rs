//! What an answer that is passed on says of its tokens. Only answers whose usage is counted for a key are scanned.

use std::io::Write as _;

use flate2::write::GzDecoder;
use http::HeaderMap;
use http::header::CONTENT_ENCODING;

use crate::context::RequestContext;
use crate::google::usage_scan::UsageScanner;
use crate::platform::Platform;

/// The scanner of an answer, behind the decoder of its encoding.
#[derive(Debug)]
pub(super) enum AnswerScan {
    Gzip(Box<GzDecoder<UsageScanner>>),
    Plain(Box<UsageScanner>),
}

impl AnswerScan {
    /// A scanner for an answer with these headers. `None` if its usage does not matter, or cannot be read.
    pub(super) fn new<P: Platform>(
        headers: &HeaderMap,
        context: &RequestContext<P>,
    ) -> Option<Self> {
        context.charged_holder()?;
        let scanner = UsageScanner::new(context.model.is_empty());
        let encoding = headers.get(CONTENT_ENCODING).map_or(&b""[..], |value| value.as_bytes());
        match encoding.trim_ascii() {
            b"" | b"identity" => Some(Self::Plain(Box::new(scanner))),
            b"gzip" => Some(Self::Gzip(Box::new(GzDecoder::new(scanner)))),
            _ => None,
        }
    }

    /// Looks at the next chunk.
    pub(super) fn push<P: Platform>(&mut self, chunk: &[u8], context: &mut RequestContext<P>) {
        let scanner = match self {
            Self::Plain(scanner) => {
                scanner.push(chunk);
                &mut **scanner
            }
            Self::Gzip(decoder) => {
                // What cannot be unpacked is estimated.
                let _ = decoder.write_all(chunk);
                // Bytes that were unpacked are given to the scanner with the next write, or by this.
                let _ = decoder.flush();
                decoder.get_mut()
            }
        };
        if let Some(model) = scanner.take_model() {
            context.model = model.into();
        }
        if let Some(usage) = scanner.usage() {
            context.usage = usage;
        }
    }
}
