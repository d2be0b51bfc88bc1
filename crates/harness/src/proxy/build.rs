//! Which build of the proxy the tests run against.

/// One of the two builds of the same core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyBuild {
    /// The native binary.
    Native,
    /// The Cloudflare Worker, run by workerd.
    Worker,
}

impl ProxyBuild {
    /// The build that `CONFORMANCE_SUBJECT` names, else the native binary.
    pub fn under_test() -> Self {
        match std::env::var("CONFORMANCE_SUBJECT").as_deref() {
            Err(_) | Ok("native") => Self::Native,
            Ok("worker") => Self::Worker,
            Ok(other) => panic!("CONFORMANCE_SUBJECT is native or worker, not {other}"),
        }
    }
}
