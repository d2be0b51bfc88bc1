//! Framing, smuggling and injection.

use code_assist_harness::http2::{Http2Connection, pseudo};
use code_assist_harness::{GoogleEmulator, TestProxy};

use crate::table::attacks;
use crate::unharmed::Attacked;

attacks! {
    "Framing, smuggling, injection"
    both {}
    native {
        http2_connection_headers: "HTTP/2 with `connection`, `transfer-encoding`, `te: gzip`, a name in upper case, CRLF in a value",
            "the stream or the connection is ended", because "the runtime handles connections";
    }
    proved {}
}

fn http2_connection_headers() -> Vec<Attacked> {
    let proxy = TestProxy::for_emulator(GoogleEmulator::start(), &[]);
    for field in [
        ("connection", "close"),
        ("transfer-encoding", "chunked"),
        ("te", "gzip"),
        ("X-Upper", "case"),
        ("x-split", "a\r\nx-other: b"),
    ] {
        let mut connection = Http2Connection::open(proxy.address());
        assert!(connection.head(1, &[&pseudo("GET", "/health")[..], &[field]].concat(), true));
        let answer = connection.answer(1);
        assert!(answer.is_refused(), "{field:?}: {answer:?}");
    }
    let mut honest = Http2Connection::open(proxy.address());
    assert!(honest.get(1, "/health"));
    assert_eq!(honest.answer(1).status(), 200);
    assert!(honest.get(3, "/nowhere"));
    assert_eq!(honest.answer(3).status(), 404);
    vec![proxy.into()]
}
