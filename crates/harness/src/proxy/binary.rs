//! Where the binary under test lies.

use std::path::{Path, PathBuf};

/// The proxy's binary, which Cargo builds before the tests of its package run.
///
/// `CARGO_BIN_EXE_code-assist-proxy` is known at compile time only to the package's own tests, not to
/// this library. Cargo sets it at run time too (1.94 and later); with an older Cargo the binary lies
/// one folder above the test executable: `target/PROFILE/deps/TEST` and `target/PROFILE/`.
///
/// # Panics
///
/// The binary is not there: a test that ran something else instead would prove nothing.
pub fn proxy_binary() -> PathBuf {
    let from_cargo = std::env::var_os("CARGO_BIN_EXE_code-assist-proxy").map(PathBuf::from);
    let binary = from_cargo.unwrap_or_else(|| {
        let test = std::env::current_exe().expect("the path of the test executable");
        let folder = test.parent().and_then(Path::parent).expect("target/PROFILE");
        folder.join(format!("code-assist-proxy{}", std::env::consts::EXE_SUFFIX))
    });
    assert!(
        binary.is_file(),
        "there is no proxy at {}: build it with `cargo build -p code-assist-proxy`",
        binary.display()
    );
    binary
}
