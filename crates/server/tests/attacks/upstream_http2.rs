//! An upstream that speaks HTTP/2, and does what no library does.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use code_assist_harness::http2::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PUSH_PROMISE,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, frame, head_block, pseudo,
};
use code_assist_harness::samples::{GENERATE, HELLO, WHOLE};
use code_assist_harness::{TestProxy, TlsStream, authority, tls_upstream};

use crate::attacked::Attacked;
use crate::table::attacks;
use crate::upstream::at_once;

attacks! {
    "Upstreams that speak HTTP/2"
    both {}
    native {
        upstream_http2_floods: "PING, SETTINGS, empty DATA, WINDOW_UPDATE or CONTINUATION without end, in place of an answer",
            "502, 503 or 504; at most nine requests; bounded memory", because "the runtime calls upstream";
        upstream_http2_refusals: "GOAWAY or a reset for each request, for ever; no stream allowed; a window that never opens",
            "502, 503 or 504 within the timeouts; at most nine requests", because "the runtime calls upstream";
        upstream_http2_lies: "PUSH_PROMISE, a head of 160 KB, DATA without a head, DATA beyond or below the announced length, a stream that was never opened, a frame beyond the size allowed, padding longer than the frame",
            "502, 503 or 504; at most nine requests", because "the runtime calls upstream";
        upstream_http2_trailers: "trailers with `:status` and `set-cookie`", "502, or the answer without them",
            because "the runtime calls upstream";
    }
    proved {
        refusals_of_all_streams: "REFUSED_STREAM for each request, for ever", "502 after a bounded number of requests",
            by "crates/server/tests/serve/http2_breaks.rs::a_peer_that_refuses_every_stream_gets_a_bounded_number_of_requests";
        silence_before_settings: "a TLS connection on which no SETTINGS come", "an error within the timeout",
            by "crates/server/src/http_client/tests/http2.rs::a_peer_that_sends_no_settings_is_an_error";
        silence_of_a_connection: "a connection that goes silent while it is used", "found by a PING",
            by "crates/server/src/http_client/tests/http2.rs::a_silent_connection_is_detected_by_ping";
    }
}

fn upstream_http2_floods() -> Vec<Attacked> {
    let floods = [
        frame(PING, 0, 0, &[7; 8]).repeat(1000),
        frame(SETTINGS, 0, 0, &[]).repeat(1000),
        frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()).repeat(1000),
        frame(CONTINUATION, 0, 1, &head_block(&[("x-long", &"x".repeat(16_000))])),
        frame(DATA, 0, 1, &[]).repeat(1000),
    ];
    at_once(floods.map(|flood| {
        move || {
            let begins = matches!(flood[3], CONTINUATION | DATA);
            let attack = Attack::new(move |stream, id| {
                let flags = if flood[3] == DATA { END_HEADERS } else { 0 };
                if begins {
                    write(stream, HEADERS, flags, id, &head_block(&[(":status", "200")]));
                }
                // The frames name stream 1: each attack has a connection of its own.
                let started = Instant::now();
                while started.elapsed() < Duration::from_secs(3) {
                    if stream.write_all(&flood).is_err() {
                        return;
                    }
                }
            });
            attack.run(&[502, 503, 504])
        }
    }))
}

fn upstream_http2_refusals() -> Vec<Attacked> {
    let no_streams = [0, 3, 0, 0, 0, 0];
    let no_window = [0, 4, 0, 0, 0, 0];
    let attacks = [
        Attack::new(|stream, _| write(stream, GOAWAY, 0, 0, &[0; 8])),
        Attack::new(|stream, _| write(stream, GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 11])),
        Attack::new(|stream, id| write(stream, RST_STREAM, 0, id, &11_u32.to_be_bytes())),
        Attack::new(|stream, id| write(stream, RST_STREAM, 0, id, &13_u32.to_be_bytes())),
        // A request that was under way before the SETTINGS is refused.
        Attack::new(|stream, id| write(stream, RST_STREAM, 0, id, &7_u32.to_be_bytes()))
            .with_settings(&no_streams),
        Attack::new(|_, _| std::thread::sleep(Duration::from_secs(5))).with_settings(&no_window),
    ];
    at_once(attacks.map(|attack| move || attack.run(&[502, 503, 504])))
}

fn upstream_http2_lies() -> Vec<Attacked> {
    let attacks = [
        Attack::new(|stream, id| {
            let promised = [&2_u32.to_be_bytes()[..], &head_block(&pseudo("GET", "/x"))].concat();
            write(stream, PUSH_PROMISE, END_HEADERS, id, &promised);
            write(stream, HEADERS, END_HEADERS, 2, &head_block(&[(":status", "200")]));
        }),
        Attack::new(|stream, id| {
            let field = head_block(&[("x-long", &"x".repeat(16_000))]);
            write(stream, HEADERS, 0, id, &head_block(&[(":status", "200")]));
            for _ in 0..10 {
                write(stream, CONTINUATION, 0, id, &field);
            }
            write(stream, CONTINUATION, END_HEADERS, id, &[]);
            write(stream, DATA, END_STREAM, id, WHOLE.as_bytes());
        }),
        Attack::new(|stream, id| write(stream, DATA, END_STREAM, id, WHOLE.as_bytes())),
        Attack::new(|stream, id| length(stream, id, "5")),
        Attack::new(|stream, id| length(stream, id, "5000")),
        Attack::new(|stream, _| {
            write(stream, HEADERS, END_HEADERS, 99, &head_block(&[(":status", "200")]));
        }),
        Attack::new(|stream, id| {
            write(stream, HEADERS, END_HEADERS, id, &head_block(&[(":status", "200")]));
            write(stream, DATA, 0, id, &[b' '; 1 << 20]);
        }),
        Attack::new(|stream, id| {
            write(stream, HEADERS, END_HEADERS, id, &head_block(&[(":status", "200")]));
            write(stream, DATA, END_STREAM | 8, id, &[200, b'x']);
        }),
        Attack::new(|stream, id| {
            write(stream, HEADERS, END_HEADERS | END_STREAM, id, &[0xff; 16]);
        }),
        Attack::new(|stream, id| {
            write(stream, HEADERS, END_HEADERS, id, &head_block(&[("no-status", "x")]));
            write(stream, DATA, END_STREAM, id, WHOLE.as_bytes());
        }),
    ];
    at_once(attacks.map(|attack| move || attack.run(&[502, 503, 504])))
}

fn upstream_http2_trailers() -> Vec<Attacked> {
    let attacks = [(":status", "404"), ("set-cookie", "a=b")].map(|field| {
        Attack::new(move |stream, id| {
            write(stream, HEADERS, END_HEADERS, id, &head_block(&[(":status", "200")]));
            write(stream, DATA, 0, id, WHOLE.as_bytes());
            write(stream, HEADERS, END_HEADERS | END_STREAM, id, &head_block(&[field]));
        })
    });
    at_once(attacks.map(|attack| move || attack.run(&[200, 502])))
}

/// What upstream does on a connection with the request of this stream.
type Reaction = dyn Fn(&mut TlsStream, u32) + Send + Sync;

/// What upstream does in place of an answer.
struct Attack {
    react: Box<Reaction>,
    settings: Vec<u8>,
}

impl Attack {
    fn new(react: impl Fn(&mut TlsStream, u32) + Send + Sync + 'static) -> Self {
        Self { react: Box::new(react), settings: Vec::new() }
    }

    /// The same with these settings in the first frame.
    fn with_settings(self, settings: &[u8]) -> Self {
        Self { settings: settings.to_vec(), ..self }
    }

    /// Sends one request through a proxy to this upstream, and asserts how it ends.
    #[track_caller]
    fn run(self, statuses: &[u16]) -> Attacked {
        let requests = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&requests);
        let upstream = tls_upstream(&["h2"], move |mut stream| {
            let _ = self.serve(&mut stream, &count);
        });
        let endpoint = upstream.url().replace("http://", "https://");
        let authority = authority();
        let settings = [
            ("SSL_CERT_FILE", &*authority),
            ("CONNECTION_TIMEOUT_MS", "1000"),
            ("FIRST_BYTE_TIMEOUT_MS", "1000"),
            ("STREAM_IDLE_TIMEOUT_MS", "1000"),
        ];
        let proxy = TestProxy::for_endpoints(&[endpoint], &settings);
        let started = Instant::now();
        let answer = proxy.post(GENERATE, HELLO);
        let took = started.elapsed();
        assert!(statuses.contains(&answer.status()), "{} {}", answer.status(), answer.text());
        assert_eq!(answer.head.find("set-cookie"), None);
        assert!(took < Duration::from_secs(8), "{took:?}");
        let requests = requests.load(Ordering::SeqCst);
        // None, if the peer allows no stream before the request is sent.
        assert!(requests <= 9, "{requests} requests");
        Attacked::without_upstream(proxy)
    }

    fn serve(&self, stream: &mut TlsStream, requests: &AtomicUsize) -> std::io::Result<()> {
        stream.read_exact(&mut [0; 24])?;
        stream.write_all(&frame(SETTINGS, 0, 0, &self.settings))?;
        loop {
            let mut head = [0; 9];
            stream.read_exact(&mut head)?;
            let [l0, l1, l2, kind, flags, id @ ..] = head;
            let mut payload = vec![0; u32::from_be_bytes([0, l0, l1, l2]) as usize];
            stream.read_exact(&mut payload)?;
            match kind {
                SETTINGS if flags & ACK == 0 => stream.write_all(&frame(SETTINGS, ACK, 0, &[]))?,
                PING if flags & ACK == 0 => stream.write_all(&frame(PING, ACK, 0, &payload))?,
                HEADERS => {
                    requests.fetch_add(1, Ordering::SeqCst);
                    (self.react)(stream, u32::from_be_bytes(id));
                    stream.flush()?;
                }
                _ => {}
            }
        }
    }
}

/// An answer that announces another length.
fn length(stream: &mut TlsStream, id: u32, length: &str) {
    let fields = [(":status", "200"), ("content-length", length)];
    write(stream, HEADERS, END_HEADERS, id, &head_block(&fields));
    write(stream, DATA, END_STREAM, id, WHOLE.as_bytes());
}

/// Writes a frame. A proxy that has closed the connection is no failure here.
fn write(stream: &mut TlsStream, kind: u8, flags: u8, id: u32, payload: &[u8]) {
    let _ = stream.write_all(&frame(kind, flags, id, payload));
}
