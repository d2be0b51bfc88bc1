//! The lock object: a Durable Object for each key, on which all isolates agree. It grants a distributed
//! lock, and it keeps the value that the holder of the lock has written.
//!
//! One more object of the same class counts usage (`usage_object`). A class of its own would need a migration,
//! past which Cloudflare rolls no deployment back.
//!
//! Four things are a contract with what is deployed, so renaming them needs a migration: the binding
//! `TURN_REGISTER`, the class `TurnRegister`, the storage keys with their JSON, and the JSON of
//! requests and answers, since isolates of two versions may call the same object.

use std::time::Duration;

use bytes::Bytes;
use code_assist_core::{FencingToken, LockRecord, LockResult, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use worker::wasm_bindgen::JsValue;
use worker::{
    Date, DurableObject, Env, Error, Method, ObjectNamespace, Request, RequestInit, Response,
    Result, State, durable_object,
};

use crate::usage_object::{USAGE_PATH, UsageRecords};

/// The binding to the lock objects.
#[derive(Debug)]
pub(crate) struct LockObject(ObjectNamespace);

impl LockObject {
    /// `None` where nothing is bound.
    pub(crate) fn bound(env: &Env) -> Option<Self> {
        objects(env).map(Self)
    }

    pub(crate) async fn load(&self, key: &str) -> Result<Option<Bytes>> {
        let answer = self.call(key, &LockRequest::Load).await?;
        Ok(answer.value.map(Bytes::from))
    }

    /// False if a later holder of the lock has written already.
    pub(crate) async fn save(
        &self,
        key: &str,
        value: &[u8],
        ttl: Duration,
        fence: FencingToken,
    ) -> Result<bool> {
        let value = std::str::from_utf8(value).map_err(|_| "the value is not UTF-8")?;
        let request =
            LockRequest::Save { value: value.to_owned(), ttl: millis(ttl), fence: fence.0 };
        Ok(self.call(key, &request).await?.written)
    }

    pub(crate) async fn claim(&self, key: &str, how_long: Duration) -> Result<LockResult> {
        let answer = self.call(key, &LockRequest::Claim { how_long: millis(how_long) }).await?;
        Ok(answer.fence.map_or(LockResult::Held, |fence| LockResult::Acquired(FencingToken(fence))))
    }

    /// False if the lock is another holder's, or was released.
    pub(crate) async fn renew(
        &self,
        key: &str,
        fence: FencingToken,
        how_long: Duration,
    ) -> Result<bool> {
        let request = LockRequest::Renew { fence: fence.0, how_long: millis(how_long) };
        Ok(self.call(key, &request).await?.renewed)
    }

    pub(crate) async fn release(&self, key: &str, fence: FencingToken) -> Result<()> {
        self.call(key, &LockRequest::Release { fence: fence.0 }).await.map(drop)
    }

    async fn call(&self, key: &str, request: &LockRequest) -> Result<LockAnswer> {
        post(&self.0, key, LOCK_URL, request).await
    }
}

/// The objects of the class. `None` where nothing is bound.
pub(crate) fn objects(env: &Env) -> Option<ObjectNamespace> {
    env.durable_object(BINDING).ok()
}

/// Calls the object of this name.
pub(crate) async fn post<T: Serialize, A: DeserializeOwned>(
    objects: &ObjectNamespace,
    name: &str,
    url: &str,
    request: &T,
) -> Result<A> {
    let mut init = RequestInit::new();
    let text = serde_json::to_string(request)?;
    init.with_method(Method::Post).with_body(Some(JsValue::from_str(&text)));
    let http_request = Request::new_with_init(url, &init)?;
    let mut response = objects.get_by_name(name)?.fetch_with_request(http_request).await?;
    Ok(serde_json::from_slice(&response.bytes().await?)?)
}

/// The class of the objects. While one waits for its storage, the runtime delivers no other event to
/// it.
#[durable_object]
#[derive(Debug)]
#[expect(unnameable_types, reason = "only the runtime uses it")]
pub struct TurnRegister {
    state: State,
    usage: UsageRecords,
}

impl DurableObject for TurnRegister {
    fn new(state: State, _env: Env) -> Self {
        Self { state, usage: UsageRecords::default() }
    }

    async fn fetch(&self, mut http_request: Request) -> Result<Response> {
        if http_request.path() == USAGE_PATH {
            let request = http_request.bytes().await?;
            let storage = self.state.storage();
            return Response::ok(self.usage.answer(&storage, &request).await?);
        }
        let request: LockRequest = serde_json::from_slice(&http_request.bytes().await?)?;
        let answer = self.answer(request).await?;
        Response::ok(serde_json::to_string(&answer)?)
    }
}

impl TurnRegister {
    async fn answer(&self, request: LockRequest) -> Result<LockAnswer> {
        let clock = Timestamp(Date::now().as_millis());
        let mut record: LockRecord = self.read(TURNS).await?.unwrap_or_default();
        let before = record;
        let mut answer = LockAnswer::default();
        match request {
            LockRequest::Load => {
                let entry: Option<StoredEntry> = self.read(ENTRY).await?;
                let alive = entry.filter(|entry| clock.0 < entry.until);
                answer.value = alive.map(|entry| entry.value);
            }
            LockRequest::Save { value, ttl, fence } => {
                answer.written = record.write(FencingToken(fence));
                if answer.written {
                    self.write(ENTRY, &StoredEntry { value, until: clock.0.saturating_add(ttl) })
                        .await?;
                }
            }
            LockRequest::Claim { how_long } => {
                let claim = record.claim(clock, Duration::from_millis(how_long));
                answer.fence = match claim {
                    LockResult::Acquired(fence) => Some(fence.0),
                    LockResult::NotShared | LockResult::Held => None,
                };
            }
            LockRequest::Renew { fence, how_long } => {
                let how_long = Duration::from_millis(how_long);
                answer.renewed = record.renew(clock, FencingToken(fence), how_long);
            }
            LockRequest::Release { fence } => record.release(FencingToken(fence)),
        }
        if record != before {
            self.write(TURNS, &record).await?;
        }
        Ok(answer)
    }

    async fn read<T: for<'a> Deserialize<'a>>(&self, name: &str) -> Result<Option<T>> {
        let text: Option<String> = self.state.storage().get(name).await?;
        text.map(|text| serde_json::from_str(&text)).transpose().map_err(Error::from)
    }

    async fn write<T: Serialize>(&self, name: &str, value: &T) -> Result<()> {
        self.state.storage().put(name, serde_json::to_string(value)?).await
    }
}

#[derive(Debug, Serialize, Deserialize)]
enum LockRequest {
    Claim { how_long: u64 },
    Load,
    Release { fence: u64 },
    Renew { fence: u64, how_long: u64 },
    Save { value: String, ttl: u64, fence: u64 },
}

/// The answer. Each request fills one field.
#[derive(Debug, Default, Serialize, Deserialize)]
struct LockAnswer {
    fence: Option<u64>,
    /// Absent in the answers of older versions, which know no renewal.
    #[serde(default)]
    renewed: bool,
    value: Option<String>,
    written: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredEntry {
    value: String,
    until: u64,
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The name in `wrangler.toml`.
const BINDING: &str = "TURN_REGISTER";

/// Only the path counts.
const LOCK_URL: &str = "https://lock-object/";

// Storage keys.
const ENTRY: &str = "entry";
const TURNS: &str = "turns";
