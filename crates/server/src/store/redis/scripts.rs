//! What is one round trip: names of keys, and the scripts that the server runs as one step, by its
//! own clock.

use std::fmt;
use std::time::Duration;

use code_assist_core::caller::{Caller, Rate, RateStanding};
use code_assist_core::policy::lock::FencingToken;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, RedisResult, Script};

/// What things are called in the server. Names are bytes: a prefix and a key.
#[derive(Debug)]
pub(super) struct Names {
    prefix: String,
}

impl Names {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// What all of them begin with.
    pub(super) fn all(&self) -> Vec<u8> {
        self.prefix.clone().into_bytes()
    }

    /// An entry.
    pub(super) fn entry(&self, key: &str) -> Vec<u8> {
        format!("{}kv:{key}", self.prefix).into_bytes()
    }

    /// Whose turn an entry is.
    pub(super) fn turn(&self, key: &str) -> Vec<u8> {
        format!("{}turn:{key}", self.prefix).into_bytes()
    }

    /// A caller's requests, and how many they are.
    pub(super) fn count(&self, caller: &Caller) -> (Vec<u8>, Vec<u8>) {
        let prefix = &self.prefix;
        let name = |what| format!("{prefix}{what}:{caller}").into_bytes();
        (name("rate"), name("rate-total"))
    }

    /// What a new connection writes to learn whether it may.
    pub(super) fn probe(&self) -> Vec<u8> {
        format!("{}probe", self.prefix).into_bytes()
    }
}

/// The scripts. Each is sent by its digest; the server gets its text once.
pub(super) struct Scripts {
    claim: Script,
    count: Script,
    release: Script,
    save: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            claim: Script::new(CLAIM),
            count: Script::new(COUNT),
            release: Script::new(RELEASE),
            save: Script::new(SAVE),
        }
    }

    /// Makes the server know all of them, so that none costs a second round trip later.
    pub(super) fn load(&self, pipeline: &mut Pipeline) {
        for text in [CLAIM, COUNT, RELEASE, SAVE] {
            pipeline.cmd("SCRIPT").arg("LOAD").arg(text).ignore();
        }
    }

    /// A turn of `how_long`, unless somebody has one.
    pub(super) async fn claim(
        &self,
        turn: &[u8],
        how_long: Duration,
        connection: &mut MultiplexedConnection,
    ) -> RedisResult<Option<FencingToken>> {
        let fence: Option<u64> =
            self.claim.key(turn).arg(ttl_ms(how_long)).invoke_async(connection).await?;
        Ok(fence.map(FencingToken))
    }

    /// Ends a turn.
    pub(super) async fn release(
        &self,
        turn: &[u8],
        fence: FencingToken,
        connection: &mut MultiplexedConnection,
    ) -> RedisResult<()> {
        self.release.key(turn).arg(fence.0).invoke_async(connection).await
    }

    /// Writes, if no younger turn has. True if so.
    pub(super) async fn save(
        &self,
        turn: &[u8],
        entry: &[u8],
        fence: FencingToken,
        value: &[u8],
        ttl: Duration,
        connection: &mut MultiplexedConnection,
    ) -> RedisResult<bool> {
        let mut call = self.save.key(turn);
        call.key(entry).arg(fence.0).arg(value).arg(ttl_ms(ttl));
        call.invoke_async(connection).await
    }

    /// Counts a request.
    pub(super) async fn count(
        &self,
        log: &[u8],
        total: &[u8],
        rate: Rate,
        connection: &mut MultiplexedConnection,
    ) -> RedisResult<RateStanding> {
        let mut call = self.count.key(log);
        call.key(total).arg(rate.limit).arg(micros(rate.window)).arg(micros(rate.grain));
        let (refused, remaining, reset): (i64, u32, u64) = call.invoke_async(connection).await?;
        Ok(RateStanding {
            limit: rate.limit,
            remaining,
            reset: Duration::from_micros(reset),
            refused: u64::try_from(refused).ok().map(Duration::from_micros),
        })
    }
}

impl fmt::Debug for Scripts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scripts")
    }
}

/// Writes an entry as it is. `SET` knows no time to live of nothing.
pub(super) fn set(entry: &[u8], value: &[u8], ttl: Option<Duration>) -> Cmd {
    match ttl.map(ttl_ms) {
        Some(0) => {
            let mut cmd = redis::cmd("DEL");
            cmd.arg(entry);
            cmd
        }
        Some(ttl) => {
            let mut cmd = redis::cmd("SET");
            cmd.arg(entry).arg(value).arg("PX").arg(ttl);
            cmd
        }
        None => {
            let mut cmd = redis::cmd("SET");
            cmd.arg(entry).arg(value);
            cmd
        }
    }
}

/// A time to live as the server takes it. It refuses what ends after the end of its own time.
pub(super) fn ttl_ms(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).min(LONGEST_MS)
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX).min(LONGEST_MS * 1000)
}

/// A century. In microseconds, and added to the time, Lua's numbers still hold it exactly (2^53).
const LONGEST_MS: u64 = 100 * 365 * 24 * 3600 * 1000;

/// The number of a turn is the server's time in microseconds, or one more than the last or than
/// what wrote last (a process whose clock is ahead may have, without the server). So it grows even
/// when the server has lost everything. An end that is further away than a turn is long
/// was set by a clock that has been put back since.
const CLAIM: &str = "
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local length = ARGV[1] * 1000
local turn = redis.call('HMGET', KEYS[1], 'last', 'until', 'wrote')
local ends = tonumber(turn[2] or '0')
if now < ends and ends <= now + length then return false end
local past = math.max(tonumber(turn[1] or '0'), tonumber(turn[3] or '0'))
local fence = string.format('%.0f', math.max(past + 1, now))
redis.call('HSET', KEYS[1], 'last', fence, 'until', string.format('%.0f', now + length))
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', ARGV[1] + 86400000))
return fence
";

/// Where nothing was written with a fence there is nothing to remember: of every question that was
/// ever asked a turn would stay behind.
const RELEASE: &str = "
local turn = redis.call('HMGET', KEYS[1], 'last', 'wrote')
if turn[1] ~= ARGV[1] then return end
if turn[2] then redis.call('HDEL', KEYS[1], 'until') else redis.call('DEL', KEYS[1]) end
";

/// A holder that comes more than a day late is not known any more.
const SAVE: &str = "
local wrote = tonumber(redis.call('HGET', KEYS[1], 'wrote') or '0')
if tonumber(ARGV[1]) < wrote then return 0 end
redis.call('HSET', KEYS[1], 'wrote', ARGV[1])
redis.call('PEXPIRE', KEYS[1], 172800000)
if ARGV[3] == '0' then redis.call('DEL', KEYS[2])
else redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3]) end
return 1
";

/// `policy/limit.rs`, line for line: a log of entries `begun at count`, oldest first.
const COUNT: &str = "
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local limit, window, grain = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local function read(index)
  local text = redis.call('LINDEX', KEYS[1], index)
  if not text then return nil end
  local begun, at, count = string.match(text, '^(%d+) (%d+) (%d+)$')
  return tonumber(begun), tonumber(at), tonumber(count)
end
local function write(begun, at, count)
  return string.format('%.0f %.0f %.0f', begun, at, count)
end
local _, newest = read(-1)
if newest and newest > now + window then
  redis.call('DEL', KEYS[1], KEYS[2])
elseif newest and newest > now then
  now = newest
end
local total = tonumber(redis.call('GET', KEYS[2]) or nil)
if not total then
  total = 0
  for _, text in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
    total = total + tonumber(string.match(text, '(%d+)$'))
  end
end
local _, oldest, count = read(0)
while oldest and oldest + window <= now do
  redis.call('LPOP', KEYS[1])
  total = total - count
  _, oldest, count = read(0)
end
if not oldest then total = 0 end
local refused = -1
if oldest and total >= limit then
  refused = oldest + window - now
else
  total = total + 1
  local begun, at, count = read(-1)
  if at and (now - begun < grain or at == now) then
    redis.call('LSET', KEYS[1], -1, write(begun, now, count + 1))
  else
    redis.call('RPUSH', KEYS[1], write(now, now, 1))
  end
end
local _, last = read(-1)
local ttl = string.format('%.0f', math.ceil(window / 1000) + 1)
redis.call('PEXPIRE', KEYS[1], ttl)
redis.call('SET', KEYS[2], string.format('%.0f', total), 'PX', ttl)
return {refused, math.max(limit - total, 0), last + window - now}
";
