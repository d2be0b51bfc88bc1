//! The register: a Durable Object, of which there is one in the world, for what all isolates must
//! agree on: whose turn it is to refresh, and what came of it.

use std::time::Duration;

use bytes::Bytes;
use code_assist_core::{FencingToken, LockRecord, LockResult, Timestamp};
use serde::{Deserialize, Serialize};
use worker::wasm_bindgen::JsValue;
use worker::{
    Date, DurableObject, Env, Error, Method, ObjectNamespace, Request, RequestInit, Response,
    Result, State, durable_object,
};

/// The way to the register, where it is bound.
#[derive(Debug)]
pub(crate) struct Register(ObjectNamespace);

impl Register {
    pub(crate) fn bound(env: &Env) -> Option<Self> {
        env.durable_object(BINDING).ok().map(Self)
    }

    pub(crate) async fn load(&self, key: &str) -> Result<Option<Bytes>> {
        let answer = self.ask(key, &Ask::Load).await?;
        Ok(answer.value.map(Bytes::from))
    }

    /// False when a younger turn has written before.
    pub(crate) async fn save(
        &self,
        key: &str,
        value: &[u8],
        ttl: Duration,
        fence: FencingToken,
    ) -> Result<bool> {
        let value = std::str::from_utf8(value).map_err(|_| "a value that is no text")?;
        let ask = Ask::Save { value: value.to_owned(), ttl: millis(ttl), fence: fence.0 };
        Ok(self.ask(key, &ask).await?.written)
    }

    pub(crate) async fn claim(&self, key: &str, how_long: Duration) -> Result<LockResult> {
        let answer = self.ask(key, &Ask::LockResult { how_long: millis(how_long) }).await?;
        Ok(answer.fence.map_or(LockResult::Held, |fence| LockResult::Acquired(FencingToken(fence))))
    }

    pub(crate) async fn release(&self, key: &str, fence: FencingToken) -> Result<()> {
        self.ask(key, &Ask::Release { fence: fence.0 }).await.map(drop)
    }

    /// One object for each key.
    async fn ask(&self, key: &str, ask: &Ask) -> Result<Answer> {
        let mut init = RequestInit::new();
        let text = serde_json::to_string(ask)?;
        init.with_method(Method::Post).with_body(Some(JsValue::from_str(&text)));
        let request = Request::new_with_init("https://register/", &init)?;
        let mut response = self.0.get_by_name(key)?.fetch_with_request(request).await?;
        Ok(serde_json::from_slice(&response.bytes().await?)?)
    }
}

/// The object. The runtime gives it one event at a time for as long as it waits for its storage.
#[durable_object]
#[derive(Debug)]
#[expect(unnameable_types, reason = "only the runtime names it")]
pub struct TurnRegister {
    state: State,
}

impl DurableObject for TurnRegister {
    fn new(state: State, _env: Env) -> Self {
        Self { state }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        let ask: Ask = serde_json::from_slice(&request.bytes().await?)?;
        let answer = self.answer(ask).await?;
        Response::ok(serde_json::to_string(&answer)?)
    }
}

impl TurnRegister {
    async fn answer(&self, ask: Ask) -> Result<Answer> {
        let clock = Timestamp(Date::now().as_millis());
        let mut turns: LockRecord = self.kept(TURNS).await?.unwrap_or_default();
        let before = turns;
        let mut answer = Answer::default();
        match ask {
            Ask::Load => {
                let entry: Option<Entry> = self.kept(ENTRY).await?;
                let alive = entry.filter(|entry| clock.0 < entry.until);
                answer.value = alive.map(|entry| entry.value);
            }
            Ask::Save { value, ttl, fence } => {
                answer.written = turns.write(FencingToken(fence));
                if answer.written {
                    self.keep(ENTRY, &Entry { value, until: clock.0.saturating_add(ttl) }).await?;
                }
            }
            Ask::LockResult { how_long } => {
                let claim = turns.claim(clock, Duration::from_millis(how_long));
                answer.fence = match claim {
                    LockResult::Acquired(fence) => Some(fence.0),
                    LockResult::NotShared | LockResult::Held => None,
                };
            }
            Ask::Release { fence } => turns.release(FencingToken(fence)),
        }
        if turns != before {
            self.keep(TURNS, &turns).await?;
        }
        Ok(answer)
    }

    async fn kept<T: for<'a> Deserialize<'a>>(&self, name: &str) -> Result<Option<T>> {
        let text: Option<String> = self.state.storage().get(name).await?;
        text.map(|text| serde_json::from_str(&text)).transpose().map_err(Error::from)
    }

    async fn keep<T: Serialize>(&self, name: &str, value: &T) -> Result<()> {
        self.state.storage().put(name, serde_json::to_string(value)?).await
    }
}

#[derive(Debug, Serialize, Deserialize)]
enum Ask {
    LockResult { how_long: u64 },
    Load,
    Release { fence: u64 },
    Save { value: String, ttl: u64, fence: u64 },
}

/// What each question asks for; the rest stays empty.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Answer {
    fence: Option<u64>,
    value: Option<String>,
    written: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    value: String,
    until: u64,
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

const BINDING: &str = "TURN_REGISTER";

const ENTRY: &str = "entry";
const TURNS: &str = "turns";
