//! Parts of the core for its own property tests, fuzz targets and cost counts. Nothing here is a
//! promise: the feature `internals` is off in every build of the product.

/// Admission of callers.
pub mod access {
    pub use crate::access::*;
}

/// What clients speak.
pub mod dialect {
    pub use crate::dialect::{Dialect, anthropic, gemini, openai, route, translate};
}

/// What all Google APIs share.
pub mod google {
    pub use crate::google::{ProviderKind, credentials, error};
}

/// Clients' bodies.
pub mod intake {
    pub use crate::intake::upload;
}

/// JSON as bytes.
pub mod json {
    pub use crate::json::*;
}

/// The policies.
pub mod policy {
    pub use crate::policy::{
        breaker, cache, endpoint, in_flight, key_guesses, lease, memory, quota, rate_limit, token,
    };
}

/// What upstreams speak.
pub mod provider {
    pub use crate::provider::{code_assist, facts, vertex, vertex_client};

    /// The public Gemini API.
    pub mod gemini_api {
        pub use crate::provider::gemini_api::observer;
    }
}

/// Small texts of a request.
pub mod request_texts {
    pub use crate::request_texts::*;
}

/// Server-sent events.
pub mod sse {
    pub use crate::sse::*;
}

/// The sizes of what lives as long as a request.
pub mod sizes {
    use crate::body::Events;
    use crate::context::RequestContext;
    use crate::platform::Platform;

    /// The size of a stream's state.
    pub const fn events<P: Platform>() -> usize {
        size_of::<Events<P>>()
    }

    /// The size of a request's context.
    pub const fn context<P: Platform>() -> usize {
        size_of::<RequestContext<P>>()
    }
}
