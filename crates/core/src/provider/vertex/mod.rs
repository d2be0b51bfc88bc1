//! The provider Vertex AI (`docs/reference/upstreams.md` 1.2, 1.3, 3 to 5).

pub mod adapt;
pub mod answer;
pub mod models;
pub mod path;
pub(crate) mod stream;
