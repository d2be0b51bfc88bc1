//! An upstream that writes down what it has counted.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use code_assist_harness::{ReceivedRequest, ScriptedUpstream, UpstreamConnection};
use serde_json::{Value, json};

use super::plan::{Counted, Fate, Plan};

/// What both upstreams know.
#[derive(Debug, Default)]
pub(super) struct Book {
    state: Mutex<BookState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct BookState {
    counted: BTreeMap<&'static str, Counted>,
    /// Which upstreams were asked for a request, in order.
    tries: BTreeMap<u64, Vec<&'static str>>,
    /// Halted streams may go on.
    released: bool,
}

impl Book {
    /// Adds to the sums of a key.
    pub(super) fn add(&self, key: &'static str, counted: Counted) {
        self.state
            .lock()
            .expect("the test's own data is good")
            .counted
            .entry(key)
            .or_default()
            .add(counted);
    }

    pub(super) fn counted(&self) -> BTreeMap<&'static str, Counted> {
        self.state.lock().expect("the test's own data is good").counted.clone()
    }

    /// Waits until upstream has a request.
    pub(super) fn await_request(&self, id: u64) {
        let state = self.state.lock().expect("the test's own data is good");
        let known = |state: &mut BookState| !state.tries.contains_key(&id);
        let (_state, waited) = self
            .changed
            .wait_timeout_while(state, LONGEST, known)
            .expect("the test's own data is good");
        assert!(!waited.timed_out(), "{id} has not reached upstream");
    }

    /// How often upstream was asked for a request, and by how many upstreams.
    pub(super) fn tries(&self, id: u64) -> Vec<&'static str> {
        self.state
            .lock()
            .expect("the test's own data is good")
            .tries
            .get(&id)
            .cloned()
            .unwrap_or_default()
    }

    /// Lets the halted streams go on.
    pub(super) fn release(&self) {
        self.state.lock().expect("the test's own data is good").released = true;
        self.changed.notify_all();
    }

    fn await_release(&self) {
        let state = self.state.lock().expect("the test's own data is good");
        let halted = |state: &mut BookState| !state.released;
        drop(
            self.changed
                .wait_timeout_while(state, LONGEST, halted)
                .expect("the test's own data is good"),
        );
    }

    /// Notes a try: its number, and whether the same upstream was asked first.
    fn begin(&self, id: u64, name: &'static str) -> (usize, bool) {
        let mut state = self.state.lock().expect("the test's own data is good");
        let tries = state.tries.entry(id).or_default();
        tries.push(name);
        let begun = (tries.len(), tries[0] == name);
        drop(state);
        self.changed.notify_all();
        begun
    }
}

/// An upstream with this name. Code Assist wraps its answers, the Gemini API does not.
pub(super) fn start(name: &'static str, book: &Arc<Book>) -> ScriptedUpstream {
    let book = Arc::clone(book);
    ScriptedUpstream::new(move |request, connection| {
        let plan = Plan::read(request.text());
        let (tries, is_first) = book.begin(plan.id, name);
        Exchange { name, plan, book: &book, connection }.answer(request, tries, is_first);
    })
}

struct Exchange<'a> {
    name: &'static str,
    plan: Plan,
    book: &'a Book,
    connection: &'a mut UpstreamConnection,
}

impl Exchange<'_> {
    fn answer(mut self, request: &ReceivedRequest, tries: usize, is_first: bool) {
        let is_stream = request.head.contains(":streamGenerateContent");
        match self.plan.fate {
            Fate::Count => self.respond("200 OK", &json!({"totalTokens": 7})),
            Fate::Refused => self.fail(400, "INVALID_ARGUMENT"),
            Fate::Failover if is_first => self.fail(503, "UNAVAILABLE"),
            Fate::Retry(status) if tries == 1 => {
                self.fail(status, if status == 500 { "INTERNAL" } else { "UNAVAILABLE" });
            }
            Fate::LeaveEarly => {
                assert!(self.connection.is_closed_within(LONGEST), "the client has left");
                self.connection.close();
            }
            Fate::Empty if tries == 1 => {
                self.connection.begin_stream();
                self.connection.chunk(": no event\r\n\r\n");
                self.connection.end();
            }
            _ if is_stream => self.stream(),
            _ => {
                let events = self.plan.events();
                self.book.add(self.plan.key, self.plan.counted(events));
                let body = self.event(events, true);
                self.respond("200 OK", &body);
            }
        }
    }

    fn stream(&mut self) {
        let (events, at) = (self.plan.events(), self.plan.at());
        self.connection.begin_stream();
        for event in 1..=events {
            let text = self.event(event, event == events);
            self.connection.chunk(format!("data: {text}\r\n\r\n"));
            if event < at {
                continue;
            }
            match self.plan.fate {
                Fate::Cut => {
                    self.book.add(self.plan.key, self.plan.counted(event));
                    return self.connection.close();
                }
                Fate::Leave => {
                    assert!(self.connection.is_closed_within(LONGEST), "the client has left");
                    self.book.add(self.plan.key, self.plan.counted(event));
                    return self.connection.close();
                }
                Fate::Hold => self.book.await_release(),
                _ => {}
            }
        }
        self.book.add(self.plan.key, self.plan.counted(events));
        self.connection.end();
    }

    fn event(&self, event: u64, is_last: bool) -> Value {
        let mut candidate =
            json!({"content": {"role": "model", "parts": [{"text": self.plan.text(event)}]}});
        if is_last {
            candidate["finishReason"] = "STOP".into();
        }
        let usage = self.plan.counted(event).usage_metadata();
        self.wrapped(json!({"candidates": [candidate], "usageMetadata": usage}))
    }

    fn wrapped(&self, answer: Value) -> Value {
        if self.name == CODE_ASSIST { json!({"response": answer}) } else { answer }
    }

    fn fail(&mut self, code: u16, status: &str) {
        let error = json!({"error": {"code": code, "status": status, "message": "as planned"}});
        self.respond(&format!("{code} Planned"), &error);
    }

    fn respond(&mut self, status: &str, body: &Value) {
        let body = body.to_string();
        self.connection.write(format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
    }
}

pub(super) const CODE_ASSIST: &str = "code-assist";
pub(super) const GEMINI_API: &str = "gemini-api";

/// Only a test that fails waits for this time.
const LONGEST: Duration = Duration::from_secs(10);
