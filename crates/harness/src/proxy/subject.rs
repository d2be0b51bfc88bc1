//! What is put to the test.

/// One of the two builds of the same core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// The binary.
    Native,
    /// The Worker, as workerd runs it.
    Worker,
}

impl Subject {
    /// What `CONFORMANCE_SUBJECT` says, else the native binary.
    pub(crate) fn chosen() -> Self {
        match std::env::var("CONFORMANCE_SUBJECT").as_deref() {
            Err(_) | Ok("native") => Self::Native,
            Ok("worker") => Self::Worker,
            Ok(other) => panic!("CONFORMANCE_SUBJECT is native or worker, not {other}"),
        }
    }
}
