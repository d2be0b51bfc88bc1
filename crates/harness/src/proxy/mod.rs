//! The proxy under test: how it is set up, started, watched and ended.

mod binary;
mod build;
mod builder;
mod output;
mod process;
mod worker_host;

pub use binary::proxy_binary;
pub use build::ProxyBuild;
pub use builder::ProxyBuilder;
pub use process::Proxy;
