//! Loads for profile-guided optimisation (`cargo xtask pgo`). The compiler builds what does not run
//! here for size, so everything that may run often runs here.

use crate::BenchError;
use crate::load::send_once;
use crate::request::MODEL;
use crate::rounds::{LARGE_BODY, drive_sized};
use crate::testbed::{Contender, Instance, TestBed};

/// Sends all loads. A proxy writes its profile when it exits.
pub(crate) fn run(bed: &TestBed) -> Result<(), BenchError> {
    bed.remove_store();
    for (contender, settings) in CONFIGURATIONS {
        println!("    {} {settings:?}", contender.key());
        let instance = bed.start_with(*contender, settings)?;
        for (bytes, load) in LOADS {
            let words: Vec<&str> = load.split(' ').collect();
            let result = drive_sized(bed, &instance, *bytes, &words)?;
            println!("        {load}: {} done, {} failed", result.done, result.errors);
            if let Some(why) = result.first_error {
                return Err(BenchError(format!("{load}: {why}")));
            }
        }
        rare_requests(&instance)?;
        if !instance.stop() {
            return Err(BenchError(
                "the proxy was killed before it had written its profile".to_owned(),
            ));
        }
    }
    Ok(())
}

/// Requests of people and probes, and requests that are refused.
fn rare_requests(instance: &Instance) -> Result<(), BenchError> {
    let to = &instance.address;
    let malformed = "Content-Length: 2\r\n\r\n{]";
    let requests = [
        (200, "GET /health", "\r\n"),
        (200, "GET /metrics", "\r\n"),
        (200, "GET /v1beta/models", "\r\n"),
        (404, "GET /v1beta/nothing", "\r\n"),
        (400, &format!("POST /v1beta/models/{MODEL}:generateContent"), malformed),
    ];
    for (status, line, rest) in requests {
        let request = format!("{line} HTTP/1.1\r\nHost: {to}\r\n{rest}");
        for _ in 0..RARE_REQUESTS {
            let seen =
                send_once(to, request.as_bytes()).map_or_else(|why| why, |_| STATUS_OK.to_owned());
            if seen != format!("status {status}") {
                return Err(BenchError(format!("{line}: {seen}, not {status}")));
            }
        }
    }
    Ok(())
}

/// HTTP/2 upstream with both formats of log lines, and HTTP/1.1 upstream.
const CONFIGURATIONS: &[(Contender, &[(&str, &str)])] = &[
    (Contender::Proxy, &[("LOG_FORMAT", "pretty")]),
    (Contender::Proxy, &[("LOG_FORMAT", "json")]),
    (Contender::ProxyHttp1, &[("LOG_FORMAT", "json")]),
];

/// Sizes of bodies and loads.
const LOADS: &[(usize, &str)] = &[
    (1024, "closed --connections 64 --seconds 3"),
    (1024, "open --rate 200 --seconds 2"),
    (1024, "open --rate 1000 --seconds 2"),
    (1024, "closed --connections 4 --seconds 2 --events 1000"),
    (1024, "streams --streams 60 --events 20 --interval-ms 50 --rate 30"),
    (100_000, "closed --connections 4 --seconds 1"),
    (LARGE_BODY, "burst --connections 1"),
];

const RARE_REQUESTS: usize = 50;

const STATUS_OK: &str = "status 200";
