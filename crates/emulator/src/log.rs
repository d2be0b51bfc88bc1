//! The log: every received request with its headers and body, and how its answer ended.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::request::Parts;
use serde::Serialize;
use sha2::Digest as _;

use crate::server::ReceivedBody;

/// The received requests, bounded in number and in bytes. The oldest are dropped first.
#[derive(Debug)]
pub(crate) struct Log {
    started: Instant,
    inner: Mutex<Records>,
}

impl Log {
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), inner: Mutex::default() }
    }

    /// Records the head of a request. The request counts as cancelled unless [`LogEntry::end`] is called.
    pub(crate) fn open(self: &Arc<Self>, rpc: &str, parts: &Parts) -> LogEntry {
        let mut headers = BTreeMap::<String, String>::new();
        for (name, value) in &parts.headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            let all = headers.entry(name.as_str().to_owned()).or_default();
            if !all.is_empty() {
                all.push_str(", ");
            }
            all.push_str(&value);
        }
        let at_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut inner = self.lock();
        inner.next += 1;
        let seq = inner.next;
        *inner.counts.entry(rpc.to_owned()).or_default() += 1;
        inner.records.push_back(RequestRecord {
            seq,
            at_ms,
            rpc: rpc.to_owned(),
            method: parts.method.to_string(),
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            http: format!("{:?}", parts.version),
            headers,
            body: Bytes::new(),
            body_len: 0,
            sha256: None,
            violation: None,
            status: None,
            ended: false,
            cancelled: false,
        });
        inner.trim();
        LogEntry { log: Arc::clone(self), seq, is_complete: false }
    }

    /// The log as a JSON array, oldest first.
    pub(crate) fn json(&self) -> String {
        let records: Vec<RequestRecord> = self.lock().records.iter().cloned().collect();
        let shown: Vec<RecordJson> = records.into_iter().map(RecordJson::from).collect();
        serde_json::to_string(&shown).expect("a tree of strings and numbers always prints")
    }

    /// The number of requests by RPC.
    pub(crate) fn counts(&self) -> BTreeMap<String, u64> {
        self.lock().counts.clone()
    }

    /// Deletes records and counts. Sequence numbers continue.
    pub(crate) fn clear(&self) {
        let mut inner = self.lock();
        inner.records.clear();
        inner.counts.clear();
        inner.bytes = 0;
    }

    fn lock(&self) -> MutexGuard<'_, Records> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The log's handle of one request. It lives as long as the answer.
#[derive(Debug)]
pub(crate) struct LogEntry {
    log: Arc<Log>,
    seq: u64,
    is_complete: bool,
}

impl LogEntry {
    pub(crate) fn seq(&self) -> u64 {
        self.seq
    }

    pub(crate) fn body(&self, body: &ReceivedBody) {
        let mut inner = self.log.lock();
        // Not found if the log was cleared meanwhile.
        let Some(record) = inner.find(self.seq) else {
            return;
        };
        // Of a body that was not kept, the first bytes say nothing.
        let kept = if body.sha256.is_some() { Bytes::new() } else { body.bytes.clone() };
        let kept_len = kept.len();
        record.body = kept;
        record.body_len = body.length;
        record.sha256 = body.sha256;
        inner.bytes += kept_len;
        inner.trim();
    }

    /// Records a header that must not have been sent.
    pub(crate) fn violation(&self, header: String) {
        if let Some(record) = self.log.lock().find(self.seq) {
            record.violation = Some(header);
        }
    }

    pub(crate) fn status(&self, status: u16) {
        if let Some(record) = self.log.lock().find(self.seq) {
            record.status = Some(status);
        }
    }

    /// Marks the answer, or the fault that a rule asked for, as complete.
    pub(crate) fn end(&mut self) {
        self.is_complete = true;
        if let Some(record) = self.log.lock().find(self.seq) {
            record.ended = true;
        }
    }
}

impl Drop for LogEntry {
    fn drop(&mut self) {
        if self.is_complete {
            return;
        }
        if let Some(record) = self.log.lock().find(self.seq) {
            record.ended = true;
            record.cancelled = true;
        }
    }
}

#[derive(Debug, Default)]
struct Records {
    next: u64,
    bytes: usize,
    counts: BTreeMap<String, u64>,
    records: VecDeque<RequestRecord>,
}

impl Records {
    fn find(&mut self, seq: u64) -> Option<&mut RequestRecord> {
        let first = self.records.front()?.seq;
        let place = usize::try_from(seq.checked_sub(first)?).ok()?;
        self.records.get_mut(place)
    }

    fn trim(&mut self) {
        while self.records.len() > RECORDS_KEPT || self.bytes > BYTES_KEPT {
            let Some(record) = self.records.pop_front() else {
                return;
            };
            self.bytes = self.bytes.saturating_sub(record.body.len());
        }
    }
}

#[derive(Clone, Debug)]
struct RequestRecord {
    seq: u64,
    at_ms: u64,
    rpc: String,
    method: String,
    path: String,
    query: String,
    http: String,
    headers: BTreeMap<String, String>,
    body: Bytes,
    body_len: u64,
    /// The digest of a body that was not kept.
    sha256: Option<[u8; 32]>,
    violation: Option<String>,
    status: Option<u16>,
    ended: bool,
    cancelled: bool,
}

/// The JSON form of a [`RequestRecord`].
#[derive(Serialize)]
struct RecordJson {
    seq: u64,
    at_ms: u64,
    rpc: String,
    method: String,
    path: String,
    query: String,
    http: String,
    headers: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
    body_len: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_sha256: Option<String>,
    /// A header that a proxy must not send.
    #[serde(skip_serializing_if = "Option::is_none")]
    violation: Option<String>,
    status: Option<u16>,
    ended: bool,
    cancelled: bool,
}

impl From<RequestRecord> for RecordJson {
    fn from(record: RequestRecord) -> Self {
        let bytes = record.body;
        let (mut body, mut body_base64, mut body_sha256) = (None, None, None);
        if let Some(sha256) = record.sha256 {
            body_sha256 = Some(hex(&sha256));
        } else if bytes.len() > BODY_SHOWN {
            body_sha256 = Some(hex(&sha2::Sha256::digest(&bytes)));
        } else if let Ok(text) = std::str::from_utf8(&bytes) {
            body = Some(text.to_owned());
        } else {
            body_base64 = Some(STANDARD.encode(&bytes));
        }
        Self {
            seq: record.seq,
            at_ms: record.at_ms,
            rpc: record.rpc,
            method: record.method,
            path: record.path,
            query: record.query,
            http: record.http,
            headers: record.headers,
            body,
            body_base64,
            body_len: record.body_len,
            body_sha256,
            violation: record.violation,
            status: record.status,
            ended: record.ended,
            cancelled: record.cancelled,
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bounds of the log; `docs/EMULATOR.md` states them.
const RECORDS_KEPT: usize = 10_000;
const BYTES_KEPT: usize = 256 << 20;
/// A longer body is shown as its digest.
pub(crate) const BODY_SHOWN: usize = 1 << 20;
