//! A table of attacks, each run over real sockets against the real binary.
//!
//! A row sends what an attacker sends, and asserts what holds. After it, the proxy must still work
//! ([`attacked`]). Each file has the rows of one topic. `docs/ATTACKS.md` is generated from all of them.
//! One row by its name, and all rows that hold for the Worker:
//!
//! ```text
//! cargo test -p code-assist-proxy --test attacks -- foreign_hosts
//! CONFORMANCE_SUBJECT=worker cargo test -p code-assist-proxy --test attacks -- both::
//! ```

mod admission;
mod attacked;
mod browsers;
mod connections;
mod copies;
mod dialects;
mod framing;
mod injection;
mod load;
mod machine;
mod memory;
mod operation;
mod other_callers;
mod strangers;
mod table;
mod tunnels;
mod uploads;
mod upstream;
mod upstream_http2;
mod vertex;

const TOPICS: &[&table::Topic] = &[
    &admission::ATTACKS,
    &strangers::ATTACKS,
    &browsers::ATTACKS,
    &framing::ATTACKS,
    &injection::ATTACKS,
    &connections::ATTACKS,
    &memory::ATTACKS,
    &other_callers::ATTACKS,
    &load::ATTACKS,
    &upstream::ATTACKS,
    &upstream_http2::ATTACKS,
    &copies::ATTACKS,
    &dialects::ATTACKS,
    &uploads::ATTACKS,
    &tunnels::ATTACKS,
    &vertex::ATTACKS,
    &operation::ATTACKS,
    &machine::ATTACKS,
];
