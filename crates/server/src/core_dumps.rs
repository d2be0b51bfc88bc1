//! No core files: a core file of this process would hold tokens, keys and prompts.
//!
//! The limit on their size is set to nothing. The collectors of crashes (systemd-coredump, apport) respect
//! it too. `prctl(PR_SET_DUMPABLE, 0)` would also keep other processes of this user from reading the
//! memory, but then `/proc/PID` belongs to root: monitoring and debuggers of the operator stop working,
//! and that user can read the credential file and the store anyway.

/// Forbids core files of this process. A system that refuses keeps its own limit.
pub(crate) fn forbid() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, setrlimit};

        let nothing = Rlimit { current: Some(0), maximum: Some(0) };
        if let Err(error) = setrlimit(Resource::Core, nothing) {
            tracing::warn!("core files cannot be forbidden: {error}");
        }
    }
}
