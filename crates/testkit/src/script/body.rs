//! The bodies of upstream's replies.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use code_assist_core::{BodyError, Platform as _};
use http_body::{Body, Frame};

use super::{Piece, ScriptedPlatform, ScriptedTimer};

/// Counts an exchange as open until the reply's body, or the future that waits for its head, is
/// dropped.
#[derive(Debug)]
pub(super) struct Exchange {
    script: ScriptedPlatform,
}

impl Exchange {
    pub(super) fn new(script: &ScriptedPlatform) -> Self {
        let mut state = script.state();
        state.exchanges += 1;
        state.most_exchanges = state.most_exchanges.max(state.exchanges);
        Self { script: script.clone() }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.script.state().exchanges -= 1;
    }
}

/// A body that follows the script of its reply.
#[derive(Debug)]
pub struct ScriptedBody {
    pub(super) script: ScriptedPlatform,
    pub(super) pieces: std::vec::IntoIter<Piece>,
    pub(super) silence: Option<ScriptedTimer>,
    pub(super) ended: bool,
    pub(super) _exchange: Exchange,
}

impl Body for ScriptedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            if let Some(silence) = &mut self.silence {
                if Pin::new(silence).poll(cx).is_pending() {
                    return Poll::Pending;
                }
                self.silence = None;
            }
            match self.pieces.next() {
                None => {
                    self.ended = true;
                    return Poll::Ready(None);
                }
                Some(Piece::Break(why)) => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(BodyError::Disconnected(why))));
                }
                Some(Piece::Data(data)) if data.is_empty() => {}
                Some(Piece::Data(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Some(Piece::Silence(how_long)) => {
                    let timer = self.script.timer(how_long);
                    self.silence = Some(timer);
                }
            }
        }
    }
}

impl Drop for ScriptedBody {
    fn drop(&mut self) {
        if !self.ended && self.pieces.len() > 0 {
            self.script.state().cancelled += 1;
        }
    }
}
