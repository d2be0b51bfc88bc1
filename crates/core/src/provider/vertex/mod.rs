//! The provider Vertex AI (`docs/reference/upstreams.md` 1.2, 1.3, 3 to 5).

pub mod adapt;
#[cfg_attr(not(test), expect(dead_code, reason = "no upstream is made of it yet"))]
pub(crate) mod answer;
pub mod models;
pub mod path;
#[cfg_attr(not(test), expect(dead_code, reason = "no upstream is made of it yet"))]
pub(crate) mod stream;
