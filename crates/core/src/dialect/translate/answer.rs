//! What the writers of answers share.

use std::sync::Arc;

use super::names::ToolNames;
use super::request::Written;
use super::target::{SignatureRecall, Target};
use crate::google::ProviderKind;

/// What a request's answer needs to know of the request.
#[derive(Debug, Clone)]
pub struct AnswerPlan {
    /// The model's name as the client has sent it.
    pub model: Arc<str>,
    /// The client's tools.
    pub names: ToolNames,
    /// Of several calls only the first one is given to the client (`parallel_tool_calls: false`).
    pub one_call: bool,
    /// The API that gives the answer, and its signatures.
    pub provider: ProviderKind,
}

impl AnswerPlan {
    /// The plan of the answer to a request that is written for `target`.
    pub fn new(model: Arc<str>, one_call: bool, written: &Written, target: &Target) -> Self {
        Self { model, names: written.names.clone(), one_call, provider: target.provider }
    }
}

/// What a new answer begins with, since a writer draws no random numbers and reads no clock.
#[derive(Debug, Clone)]
pub struct Birth {
    /// 32 random bytes, from which its ids are derived.
    pub seed: [u8; 32],
    /// Seconds since 1970.
    pub now: u64,
    /// Where the signatures of its calls are remembered.
    pub signatures: SignatureRecall,
}
