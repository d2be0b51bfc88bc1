//! An upstream that follows the plan in each request, and clients that check the answers.

use std::collections::{BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use code_assist_harness::{Connection, Proxy, ScriptedUpstream, UpstreamConnection, get, post};
use serde_json::{Value, json};

use crate::plan::{Fault, Plan, Random, read};

/// An upstream that follows the plan in each request, with chunks cut at random. One model is
/// overloaded all the time; `overloaded` counts its calls.
pub(crate) fn upstream(overloaded: Arc<AtomicU64>) -> ScriptedUpstream {
    let tries = Mutex::<HashMap<u64, ()>>::default();
    ScriptedUpstream::raw(move |stream| {
        let mut connection = UpstreamConnection::new(stream);
        while connection.is_open() {
            let Some(request) = connection.request() else { return };
            if request.text().contains(OVERLOADED) {
                overloaded.fetch_add(1, Relaxed);
                connection.write(whole("503 Service Unavailable", NO_CAPACITY));
                continue;
            }
            let Some(plan) = Plan::find(request.text()) else {
                connection.write(whole("200 OK", r#"{"buckets":[]}"#));
                continue;
            };
            let again = if once(plan.fault) {
                let mut tries = tries.lock().expect("no panic under the lock");
                // A request comes twice at most.
                tries.remove(&plan.id).is_some() || tries.insert(plan.id, ()).is_some()
            } else {
                false
            };
            match plan.fault {
                Fault::ClosedOnce if !again => connection.close(),
                Fault::ErrorOnce if !again => {
                    connection.write(whole("500 Internal Server Error", INTERNAL));
                }
                Fault::ThrottledOnce if !again => {
                    connection.write(whole("429 Too Many Requests", THROTTLED));
                }
                Fault::Refused => connection.write(whole("400 Bad Request", REFUSED)),
                _ if request.head.contains(":stream") => stream_out(&plan, &mut connection),
                _ if request.head.contains(":count") => {
                    connection
                        .write(whole("200 OK", &json!({"totalTokens": plan.count()}).to_string()));
                }
                _ => connection.write(whole("200 OK", &event(&plan, 0, true))),
            }
        }
    })
}

/// The results of all clients.
#[derive(Debug, Default)]
pub(crate) struct Sums {
    pub(crate) requests: u64,
    pub(crate) streams: u64,
    pub(crate) events: u64,
    pub(crate) answers: u64,
    pub(crate) counts: u64,
    pub(crate) lists: u64,
    /// Requests for the overloaded model, and those that the proxy refused itself.
    pub(crate) overloaded: u64,
    pub(crate) rested: u64,
    pub(crate) faults: u64,
    pub(crate) gone: u64,
    pub(crate) wrong: Vec<String>,
    met: BTreeSet<Fault>,
}

impl Sums {
    pub(crate) fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.streams += other.streams;
        self.events += other.events;
        self.answers += other.answers;
        self.counts += other.counts;
        self.lists += other.lists;
        self.overloaded += other.overloaded;
        self.rested += other.rested;
        self.faults += other.faults;
        self.gone += other.gone;
        self.wrong.extend(other.wrong);
        self.met.extend(other.met);
    }

    pub(crate) fn all_faults(&self) -> bool {
        Fault::ALL.iter().all(|fault| self.met.contains(fault))
    }
}

/// One client: one request after the other, on kept and on new connections.
pub(crate) struct Driver<'a> {
    proxy: &'a Proxy,
    random: Random,
    next: u64,
    connection: Option<Connection>,
    pub(crate) sums: Sums,
}

impl<'a> Driver<'a> {
    pub(crate) fn new(proxy: &'a Proxy, number: u64, random: Random) -> Self {
        // No two drivers have the same numbers.
        let next = (number + 1) * 1_000_000_000;
        Self { proxy, random, next, connection: None, sums: Sums::default() }
    }

    pub(crate) fn run_until(&mut self, end: Instant) {
        while Instant::now() < end {
            self.sums.requests += 1;
            let kind = self.random.below(22);
            let (what, plan) = match kind {
                0..12 => ("stream", self.plan(&Fault::ALL)),
                12..16 => ("answer", self.plan(&Fault::OF_WHOLE)),
                16..19 => ("count", self.plan(&[Fault::None])),
                19..21 => ("overloaded", self.plan(&[Fault::None])),
                _ => ("list", self.plan(&[Fault::None])),
            };
            let connection = match self.connection.take() {
                Some(kept) if self.random.below(3) > 0 => kept,
                _ => self.proxy.connect(),
            };
            let attempt = AssertUnwindSafe(|| match what {
                "stream" => self.stream(connection, &plan),
                "answer" => self.answer(connection, &plan),
                "count" => self.count(connection, &plan),
                "overloaded" => self.overloaded(connection, &plan),
                _ => self.list(connection),
            });
            let wrong = match catch_unwind(attempt) {
                Ok(Ok(())) => continue,
                Ok(Err(wrong)) => wrong,
                Err(_) => "the answer could not be read".to_owned(),
            };
            let whose = if plan.fault == Fault::None { what } else { "fault" };
            self.sums.wrong.push(format!("{whose}: {what} {plan:?}: {wrong}"));
        }
    }

    fn plan(&mut self, faults: &[Fault]) -> Plan {
        self.next += 1;
        // Seven of eight requests have no fault.
        let fault = match self.random.below(8) {
            0 => faults[self.random.below(faults.len())],
            _ => Fault::None,
        };
        let events = 1 + self.random.below(12) as u64;
        let at = self.random.below(events as usize) as u64;
        self.sums.faults += u64::from(fault != Fault::None);
        self.sums.met.insert(fault);
        Plan { id: self.next, events, fault, at }
    }

    fn stream(&mut self, mut connection: Connection, plan: &Plan) -> Result<(), String> {
        let in_array = self.random.below(3) == 0;
        let method = if in_array { ARRAY } else { STREAM };
        connection.write(post(&path(plan, method), &[], body(plan, 1)));
        self.sums.streams += 1;
        let head = connection.head();
        if plan.fault == Fault::ClosedOnce && head.status == 502 {
            let text = String::from_utf8(connection.body(&head)).map_err(|why| why.to_string())?;
            return carried_out_once(&text);
        }
        let broken = matches!(plan.fault, Fault::Cut | Fault::ErrorEvent | Fault::Silent);
        // A fault before the first event is an HTTP error.
        let wanted = match (plan.fault, plan.at) {
            (Fault::Refused, _) => 400,
            (Fault::Cut, 0) => 502,
            (Fault::ErrorEvent, 0) => 503,
            (Fault::Silent, 0) => 504,
            _ => 200,
        };
        if head.status != wanted {
            return Err(format!("{} and not {wanted}", head.status));
        }
        if plan.fault == Fault::Gone {
            self.sums.gone += 1;
            return Ok(());
        }
        let text = String::from_utf8(connection.body(&head)).map_err(|why| why.to_string())?;
        self.connection = Some(connection);
        if wanted != 200 {
            return if text.contains("\"error\"") { Ok(()) } else { Err(text) };
        }
        let (events, error) = if in_array { elements(&text)? } else { framed(&text)? };
        let count = if broken { plan.at } else { plan.events };
        for (place, event) in events.iter().enumerate() {
            let output = text_of(event);
            if read(output) != Some((plan.id, place as u64)) {
                return Err(format!("at {place} came {output:.100}"));
            }
        }
        if events.len() as u64 != count {
            return Err(format!("{} events and not {count}", events.len()));
        }
        self.sums.events += count;
        let code = match plan.fault {
            Fault::Cut => json!(502),
            Fault::ErrorEvent => json!(503),
            Fault::Silent => json!(504),
            _ => Value::Null,
        };
        if error["code"] == code { Ok(()) } else { Err(format!("it ended with {error}")) }
    }

    fn answer(&mut self, mut connection: Connection, plan: &Plan) -> Result<(), String> {
        // Every other request is repeatable, and sent twice.
        let temperature = self.random.below(2);
        self.sums.answers += 1;
        for round in 0..2 - temperature {
            let answer = connection.send(post(&path(plan, GENERATE), &[], body(plan, temperature)));
            if plan.fault == Fault::ClosedOnce && answer.status() == 502 {
                return carried_out_once(&answer.text());
            }
            if plan.fault == Fault::Refused {
                if answer.status() != 400 {
                    return Err(format!("{} and not 400", answer.status()));
                }
                continue;
            }
            if answer.status() != 200 || read(text_of(&answer.json())) != Some((plan.id, 0)) {
                return Err(format!("{} {:.200}", answer.status(), answer.text()));
            }
            let wanted = match (temperature, round) {
                (0, 0) => &["MISS"][..],
                (0, _) => &["HIT", "COALESCED"],
                _ => &["BYPASS"],
            };
            if !wanted.contains(&answer.header("x-cache")) {
                return Err(format!("{} in round {round}", answer.header("x-cache")));
            }
        }
        self.connection = Some(connection);
        Ok(())
    }

    fn count(&mut self, mut connection: Connection, plan: &Plan) -> Result<(), String> {
        let answer = connection.send(post(&path(plan, COUNT), &[], body(plan, 1)));
        self.connection = Some(connection);
        self.sums.counts += 1;
        let right = answer.status() == 200 && answer.json()["totalTokens"] == plan.count();
        if right { Ok(()) } else { Err(format!("{} {}", answer.status(), answer.text())) }
    }

    /// A request for the model that is overloaded all the time.
    fn overloaded(&mut self, mut connection: Connection, plan: &Plan) -> Result<(), String> {
        let path = format!("/v1beta/models/{OVERLOADED}:generateContent");
        let answer = connection.send(post(&path, &[], body(plan, 1)));
        self.connection = Some(connection);
        self.sums.overloaded += 1;
        let is_rest = answer.reason() == "CIRCUIT_OPEN";
        self.sums.rested += u64::from(is_rest);
        let right = answer.status() == 503 && (is_rest || answer.text() == NO_CAPACITY);
        if right { Ok(()) } else { Err(format!("{} {}", answer.status(), answer.text())) }
    }

    fn list(&mut self, mut connection: Connection) -> Result<(), String> {
        let answer = connection.send(get("/v1beta/models", &[]));
        self.connection = Some(connection);
        self.sums.lists += 1;
        let right = answer.status() == 200 && answer.text().contains("models/gemini-2.5-flash");
        if right { Ok(()) } else { Err(format!("{} {}", answer.status(), answer.text())) }
    }
}

/// Writes a plan's stream in chunks cut at random.
fn stream_out(plan: &Plan, connection: &mut UpstreamConnection) {
    let mut random = Random::new(plan.id);
    connection.begin_stream();
    for place in 0..plan.events {
        let mut bytes = format!("data: {}\r\n\r\n", event(plan, place, place + 1 == plan.events));
        let fault_now = place == plan.at;
        match plan.fault {
            Fault::Cut if fault_now => bytes.truncate(bytes.floor_char_boundary(bytes.len() / 2)),
            Fault::ErrorEvent if fault_now => bytes = format!("data: {UNAVAILABLE}\r\n\r\n"),
            _ => {}
        }
        if plan.fault == Fault::Silent && fault_now {
            connection.is_closed_within(Duration::from_secs(20));
            return connection.close();
        }
        let mut rest = bytes.as_bytes();
        while !rest.is_empty() {
            let size = 1 + random.below(rest.len().min(4000));
            let (chunk, left) = rest.split_at(size);
            connection.chunk(chunk);
            rest = left;
        }
        if plan.fault == Fault::Cut && fault_now {
            // Time for the proxy to read the whole events.
            thread::sleep(Duration::from_millis(5));
            return connection.close();
        }
        if random.below(4) == 0 {
            thread::sleep(Duration::from_millis(random.below(8) as u64));
        }
    }
    connection.end();
}

fn event(plan: &Plan, place: u64, last: bool) -> String {
    let mut candidate =
        json!({"content": {"role": "model", "parts": [{"text": plan.piece(place)}]}});
    if last {
        candidate["finishReason"] = json!("STOP");
    }
    json!({"response": {"candidates": [candidate]}, "traceId": plan.id.to_string()}).to_string()
}

fn text_of(event: &Value) -> &str {
    event["candidates"][0]["content"]["parts"][0]["text"].as_str().unwrap_or("nothing")
}

/// The events of a stream, and the error that it ended with.
fn framed(text: &str) -> Result<(Vec<Value>, Value), String> {
    let mut events = Vec::new();
    let mut error = Value::Null;
    for block in text.split("\r\n\r\n") {
        // Only the bare error follows an error event.
        let payload = match block.strip_prefix("data: ") {
            Some(payload) if error.is_null() => payload,
            None if block.is_empty() || !error.is_null() => continue,
            _ => return Err(format!("no event: {block:.100}")),
        };
        let mut value: Value = serde_json::from_str(payload).map_err(|why| why.to_string())?;
        match value.get("error") {
            Some(_) => error = value["error"].take(),
            None => events.push(value),
        }
    }
    Ok((events, error))
}

fn elements(text: &str) -> Result<(Vec<Value>, Value), String> {
    let mut all: Vec<Value> = serde_json::from_str(text).map_err(|why| why.to_string())?;
    let error = match all.last_mut() {
        Some(last) if last.get("error").is_some() => last["error"].take(),
        _ => Value::Null,
    };
    if !error.is_null() {
        all.pop();
    }
    Ok((all, error))
}

fn body(plan: &Plan, temperature: usize) -> String {
    let contents = json!([{"role": "user", "parts": [{"text": plan.text()}]}]);
    json!({"contents": contents, "generationConfig": {"temperature": temperature}}).to_string()
}

fn whole(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// Faults of the first try only.
fn once(fault: Fault) -> bool {
    matches!(fault, Fault::ClosedOnce | Fault::ErrorOnce | Fault::ThrottledOnce)
}

/// The path for a method, with the model that the plan's number picks.
fn path(plan: &Plan, method: &str) -> String {
    let model = HEALTHY[(plan.id % HEALTHY.len() as u64) as usize];
    format!("/v1beta/models/{model}:{method}")
}

/// The first try's connection broke, so that no second try was allowed.
fn carried_out_once(text: &str) -> Result<(), String> {
    if text.contains("UPSTREAM_DISCONNECTED") { Ok(()) } else { Err(text.to_owned()) }
}

const HEALTHY: [&str; 4] =
    ["gemini-2.5-flash", "gemini-2.5-flash-lite", "gemini-2.5-pro", "gemini-3-flash-preview"];
/// The model that is overloaded all the time.
pub(crate) const OVERLOADED: &str = "gemini-3-pro-preview";

const GENERATE: &str = "generateContent";
const STREAM: &str = "streamGenerateContent?alt=sse";
const ARRAY: &str = "streamGenerateContent";
const COUNT: &str = "countTokens";

const NO_CAPACITY: &str = r#"{"error":{"code":503,"message":"The model is overloaded.","status":"UNAVAILABLE","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"MODEL_CAPACITY_EXHAUSTED","domain":"cloudcode-pa.googleapis.com"}]}}"#;

const INTERNAL: &str =
    r#"{"error":{"code":500,"message":"Internal error encountered.","status":"INTERNAL"}}"#;
const REFUSED: &str =
    r#"{"error":{"code":400,"message":"as planned","status":"INVALID_ARGUMENT"}}"#;
const THROTTLED: &str = r#"{"error":{"code":429,"message":"Slow down.","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"0.02s"}]}}"#;
const UNAVAILABLE: &str = r#"{"error":{"code":503,"message":"as planned","status":"UNAVAILABLE"}}"#;
