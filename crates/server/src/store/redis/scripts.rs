//! Key names, and the scripts that the server runs as one step with its own clock. Each script is one
//! round trip.

use std::fmt;
use std::time::Duration;

use code_assist_core::{Caller, Day, FencingToken, ProcessId, Rate, RateStanding};
use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, RedisResult, Script};

/// The names of keys in the server, each a prefix and a key, as bytes.
#[derive(Debug)]
pub(super) struct KeyNames {
    prefix: String,
}

impl KeyNames {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// The prefix of all names.
    pub(super) fn all(&self) -> Vec<u8> {
        self.prefix.clone().into_bytes()
    }

    pub(super) fn entry(&self, key: &str) -> Vec<u8> {
        format!("{}kv:{key}", self.prefix).into_bytes()
    }

    /// The lock of an entry. The server's name for it stays `turn`, so that processes of different
    /// versions share locks.
    pub(super) fn lock(&self, key: &str) -> Vec<u8> {
        format!("{}turn:{key}", self.prefix).into_bytes()
    }

    /// The log of a caller's requests, and their total.
    pub(super) fn count(&self, caller: &Caller) -> (Vec<u8>, Vec<u8>) {
        let prefix = &self.prefix;
        let name = |what| format!("{prefix}{what}:{caller}").into_bytes();
        (name("rate"), name("rate-total"))
    }

    /// The cached answers by the time of their end, and the bytes that all of them take.
    fn answers(&self) -> (Vec<u8>, Vec<u8>) {
        let name = |what| format!("{}{what}", self.prefix).into_bytes();
        (name("answers"), name("answer-bytes"))
    }

    /// What a key has used on a day, by model: a hash. The key comes last, so that it may hold anything.
    pub(super) fn usage(&self, day: Day, key: &str) -> Vec<u8> {
        format!("{}usage:{day}:{key}", self.prefix).into_bytes()
    }

    /// The keys that have usage on a day: a set.
    pub(super) fn usage_keys(&self, day: Day) -> Vec<u8> {
        format!("{}usage-keys:{day}", self.prefix).into_bytes()
    }

    /// The days that have usage: a set.
    pub(super) fn usage_days(&self) -> Vec<u8> {
        format!("{}usage-days", self.prefix).into_bytes()
    }

    /// The number of a process's last batch of usage.
    pub(super) fn last_batch(&self, process: ProcessId) -> Vec<u8> {
        format!("{}usage-batch:{:016x}", self.prefix, process.0).into_bytes()
    }

    /// All tokens that a key has used on a day.
    pub(super) fn budget_day(&self, day: Day, key: &str) -> Vec<u8> {
        format!("{}budget-day:{day}:{key}", self.prefix).into_bytes()
    }

    /// What a key has used in the month of a day.
    pub(super) fn budget_month(&self, day: Day, key: &str) -> Vec<u8> {
        format!("{}budget-month:{}:{key}", self.prefix, day.month()).into_bytes()
    }

    /// The tokens of a key by the second.
    pub(super) fn budget_minute(&self, key: &str) -> Vec<u8> {
        format!("{}budget-minute:{key}", self.prefix).into_bytes()
    }

    /// What each process has reserved for a key.
    pub(super) fn budget_reserved(&self, key: &str) -> Vec<u8> {
        format!("{}budget-reserved:{key}", self.prefix).into_bytes()
    }

    /// The prefix of all counts of budgets.
    pub(super) fn budgets(&self) -> Vec<u8> {
        format!("{}budget-", self.prefix).into_bytes()
    }

    /// True for the name of something that belongs to usage and budgets.
    pub(super) fn is_usage(&self, name: &[u8]) -> bool {
        let rest = name.strip_prefix(self.prefix.as_bytes()).unwrap_or_default();
        [&b"usage:"[..], b"usage-", b"budget-"].iter().any(|begin| rest.starts_with(begin))
    }

    /// The key that a new connection writes to find out whether the server accepts writes.
    pub(super) fn probe(&self) -> Vec<u8> {
        format!("{}probe", self.prefix).into_bytes()
    }
}

/// An answer to be cached.
pub(super) struct Answer<'a> {
    pub(super) entry: &'a [u8],
    pub(super) value: &'a [u8],
    /// What it takes of the budget.
    pub(super) size: u64,
    pub(super) ttl: Duration,
}

/// The scripts. Each is called by its digest, since the server has its text.
pub(super) struct Scripts {
    claim: Script,
    count: Script,
    release: Script,
    renew: Script,
    save: Script,
    save_answer: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            claim: Script::new(CLAIM),
            count: Script::new(COUNT),
            release: Script::new(RELEASE),
            renew: Script::new(RENEW),
            save: Script::new(SAVE),
            save_answer: Script::new(SAVE_ANSWER),
        }
    }

    /// Loads all scripts into the server, so that no call needs a second round trip.
    pub(super) fn load(&self, pipeline: &mut Pipeline) {
        for text in [CLAIM, COUNT, RELEASE, RENEW, SAVE, SAVE_ANSWER] {
            pipeline.cmd("SCRIPT").arg("LOAD").arg(text).ignore();
        }
    }

    /// Takes the lock for `ttl`, unless another process holds it.
    pub(super) async fn claim(
        &self,
        lock: &[u8],
        ttl: Duration,
        connection: &mut MultiplexedConnection,
    ) -> RedisResult<Option<FencingToken>> {
        let fence: Option<u64> =
            self.claim.key(lock).arg(ttl_ms(ttl)).invoke_async(connection).await?;
        Ok(fence.map(FencingToken))
    }

    /// Extends the lock until `ttl` from now. False if it is another process's, or no lock any more.
    pub(super) async fn renew(
        &self,
        lock: &[u8],
        fence: FencingToken,
        ttl: Duration,
        connection: &mut MultiplexedConnection,
    ) -> RedisResult<bool> {
        self.renew.key(lock).arg(fence.0).arg(ttl_ms(ttl)).invoke_async(connection).await
    }

    pub(super) async fn release(
        &self,
        lock: &[u8],
        fence: FencingToken,
        connection: &mut MultiplexedConnection,
    ) -> RedisResult<()> {
        self.release.key(lock).arg(fence.0).invoke_async(connection).await
    }

    /// Writes an entry, unless the holder of a newer lock has. Returns whether it wrote.
    pub(super) async fn save(
        &self,
        lock: &[u8],
        entry: &[u8],
        fence: FencingToken,
        value: &[u8],
        ttl: Duration,
        connection: &mut MultiplexedConnection,
    ) -> RedisResult<bool> {
        let mut call = self.save.key(lock);
        call.key(entry).arg(fence.0).arg(value).arg(ttl_ms(ttl));
        call.invoke_async(connection).await
    }

    /// Writes an answer, in place of the oldest ones if the budget is used up.
    pub(super) async fn save_answer(
        &self,
        answer: &Answer<'_>,
        names: &KeyNames,
        budget: u64,
        connection: &mut MultiplexedConnection,
    ) -> RedisResult<()> {
        let (index, total) = names.answers();
        let mut call = self.save_answer.key(answer.entry);
        call.key(index).key(total).arg(answer.value).arg(ttl_ms(answer.ttl));
        call.arg(answer.size).arg(answer.size - answer.value.len() as u64).arg(budget);
        call.invoke_async(connection).await
    }

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

/// Writes an entry without a lock. An entry without time left is deleted, since `SET` refuses it.
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

/// A time to live in the range that the server accepts.
pub(super) fn ttl_ms(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).min(MAX_TTL_MS)
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX).min(MAX_TTL_MS * 1000)
}

/// A century. Added to the current time in microseconds, it is still exact in Lua's numbers (2^53).
const MAX_TTL_MS: u64 = 100 * 365 * 24 * 3600 * 1000;

/// Takes a lock. Its fencing token is the server's time in microseconds, or one more than the last
/// token or than the token of the last write, which a process with a clock ahead may have chosen. So
/// tokens grow even if the server has lost all data. An expiry that is further away than the lock's
/// time to live was set before the server's clock was put back, and is ignored.
const CLAIM: &str = "
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local length = ARGV[1] * 1000
local lock = redis.call('HMGET', KEYS[1], 'last', 'until', 'wrote')
local ends = tonumber(lock[2] or '0')
if now < ends and ends <= now + length then return false end
local past = math.max(tonumber(lock[1] or '0'), tonumber(lock[3] or '0'))
local fence = string.format('%.0f', math.max(past + 1, now))
redis.call('HSET', KEYS[1], 'last', fence, 'until', string.format('%.0f', now + length))
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', ARGV[1] + 86400000))
return fence
";

/// Extends a lock if its last token is this one and it was not released. An expired lock that no other
/// process has taken is extended too.
const RENEW: &str = "
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local lock = redis.call('HMGET', KEYS[1], 'last', 'until')
if lock[1] ~= ARGV[1] or not lock[2] then return 0 end
redis.call('HSET', KEYS[1], 'until', string.format('%.0f', now + ARGV[2] * 1000))
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', ARGV[2] + 86400000))
return 1
";

/// Releases a lock. If no write has used its token, the whole key is deleted, so that cached answers
/// leave no locks behind.
const RELEASE: &str = "
local lock = redis.call('HMGET', KEYS[1], 'last', 'wrote')
if lock[1] ~= ARGV[1] then return end
if lock[2] then redis.call('HDEL', KEYS[1], 'until') else redis.call('DEL', KEYS[1]) end
";

/// Writes an entry under a fencing token. The last token is kept for at least a day, after which a
/// late holder is not recognised.
const SAVE: &str = "
local wrote = tonumber(redis.call('HGET', KEYS[1], 'wrote') or '0')
if tonumber(ARGV[1]) < wrote then return 0 end
redis.call('HSET', KEYS[1], 'wrote', ARGV[1])
redis.call('PEXPIRE', KEYS[1], 172800000)
if ARGV[3] == '0' then redis.call('DEL', KEYS[2])
else redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3]) end
return 1
";

/// Writes an answer within the budget of all answers. They are in a sorted set by the time of their
/// end, each as `size name`, so that the set alone shows their sizes. Those that end first are removed first.
/// A step of the loop removes one answer; their number is bounded, since other commands wait meanwhile.
const SAVE_ANSWER: &str = "
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ttl, size, budget = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[5])
local total = tonumber(redis.call('GET', KEYS[3]) or nil)
if not total then
  total = 0
  for _, member in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
    total = total + tonumber(string.match(member, '^(%d+) '))
  end
end
local function member(bytes, name) return string.format('%.0f ', bytes) .. name end
local old = redis.call('STRLEN', KEYS[1])
if old > 0 then
  old = old + tonumber(ARGV[4])
  if redis.call('ZREM', KEYS[2], member(old, KEYS[1])) == 1 then total = total - old end
  redis.call('UNLINK', KEYS[1])
end
local fits = false
for _ = 1, 5000 do
  local first = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
  if not first[1] then
    total = 0
    fits = size <= budget
    break
  end
  local ended = tonumber(first[2]) <= now
  fits = total + size <= budget
  if fits and not ended then break end
  local bytes, name = string.match(first[1], '^(%d+) (.*)$')
  if not ended then redis.call('UNLINK', name) end
  redis.call('ZREM', KEYS[2], first[1])
  total = total - tonumber(bytes)
end
if fits then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  redis.call('ZADD', KEYS[2], string.format('%.0f', now + ttl), member(size, KEYS[1]))
  total = total + size
end
ttl = string.format('%.0f', math.max(ttl, redis.call('PTTL', KEYS[2])) + 1)
redis.call('PEXPIRE', KEYS[2], ttl)
redis.call('SET', KEYS[3], string.format('%.0f', total), 'PX', ttl)
";

/// Counts a request in a sliding window, with the algorithm of the core's rate limit: a log of entries
/// `begun at count`, oldest first.
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
