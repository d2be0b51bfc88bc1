//! `cloudcode-pa.googleapis.com`, the Code Assist API.

pub(crate) mod rpc;
