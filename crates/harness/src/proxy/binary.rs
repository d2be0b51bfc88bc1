//! Where the binary under test lies.

use std::path::{Path, PathBuf};

/// The proxy's binary, which Cargo builds before the tests of its package run. `PROXY_BINARY` in the
/// environment is the path of another one: `cargo xtask dist` tests what it has packed.
///
/// `CARGO_BIN_EXE_code-assist-proxy` is known at compile time only to the package's own tests, not to
/// this library. Cargo sets it at run time too (1.94 and later); with an older Cargo the binary lies
/// one folder above the test executable: `target/PROFILE/deps/TEST` and `target/PROFILE/`.
///
/// # Panics
///
/// The binary is not there: a test that ran something else instead would prove nothing.
pub fn proxy_binary() -> PathBuf {
    let named = ["PROXY_BINARY", "CARGO_BIN_EXE_code-assist-proxy"];
    let binary = named.into_iter().find_map(std::env::var_os).map(PathBuf::from);
    let binary = binary.unwrap_or_else(|| {
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
