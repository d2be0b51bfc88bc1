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
    for Training { contender, log_format, loads } in TRAININGS {
        println!("    {}, log lines in {log_format}", contender.key());
        let instance = bed.start_with(*contender, &[("LOG_FORMAT", log_format)])?;
        for (bytes, load) in *loads {
            let words: Vec<&str> = load.split(' ').collect();
            let result = drive_sized(bed, &instance, *bytes, &words)?;
            println!("        {load}: {} done, {} failed", result.done, result.errors);
            if let Some(why) = result.first_error {
                return Err(BenchError(format!("{load}: {why}")));
            }
        }
        // The other providers judge paths and bodies themselves.
        if !matches!(contender, Contender::ProxyGeminiApi | Contender::ProxyVertex) {
            rare_requests(&instance)?;
        }
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

/// The loads that one configuration of the proxy gets.
struct Training {
    contender: Contender,
    log_format: &'static str,
    /// Each with the size of its request bodies.
    loads: &'static [(usize, &'static str)],
}

/// Both formats of log lines, both protocols to upstream, all providers, all dialects.
const TRAININGS: &[Training] = &[
    Training { contender: Contender::Proxy, log_format: "json", loads: ALL_LOADS },
    Training { contender: Contender::Proxy, log_format: "pretty", loads: SOME_LOADS },
    Training { contender: Contender::ProxyHttp1, log_format: "json", loads: ALL_LOADS },
    Training { contender: Contender::ProxyGeminiApi, log_format: "json", loads: SOME_LOADS },
    Training { contender: Contender::ProxyVertex, log_format: "json", loads: SOME_LOADS },
    Training { contender: Contender::ProxyOpenaiChat, log_format: "json", loads: SOME_LOADS },
    Training { contender: Contender::ProxyOpenaiResponses, log_format: "json", loads: SOME_LOADS },
    Training { contender: Contender::ProxyAnthropic, log_format: "json", loads: SOME_LOADS },
];

const ALL_LOADS: &[(usize, &str)] = &[
    (1024, "closed --connections 64 --seconds 3"),
    (1024, "open --rate 200 --seconds 2"),
    (1024, "open --rate 1000 --seconds 2"),
    (1024, "closed --connections 4 --seconds 2 --events 1000"),
    (1024, "streams --streams 60 --events 20 --interval-ms 50 --rate 30"),
    (100_000, "closed --connections 4 --seconds 1"),
    (LARGE_BODY, "burst --connections 1"),
];

/// What differs between providers, dialects and formats of log lines.
const SOME_LOADS: &[(usize, &str)] = &[
    (1024, "closed --connections 64 --seconds 2"),
    (1024, "open --rate 200 --seconds 1"),
    (1024, "closed --connections 4 --seconds 2 --events 100"),
    (100_000, "closed --connections 4 --seconds 1"),
    (LARGE_BODY, "burst --connections 1"),
];

const RARE_REQUESTS: usize = 50;

const STATUS_OK: &str = "status 200";
