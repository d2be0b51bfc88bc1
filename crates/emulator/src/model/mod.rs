//! The model that answers generate calls, whatever provider carries them.

pub(crate) mod answer;
pub(crate) mod rules;
