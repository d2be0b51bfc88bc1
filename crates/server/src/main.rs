//! The native shell of `code-assist-proxy`.

#[cfg_attr(not(test), expect(dead_code, reason = "no command uses it yet"))]
mod store;

fn main() {}
