//! The model that answers generate calls, whatever provider carries them.

mod answer;
mod form;
mod prompt;
pub(crate) mod rules;
mod synthesis;

pub(crate) use answer::{ModelAnswer, ResponseStamp, count_tokens, image_response};
pub(crate) use form::AnswerForm;
