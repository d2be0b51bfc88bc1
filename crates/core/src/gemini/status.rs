//! `google.rpc.Status` JSON: the one shape of every error that a client sees.
