//! The scripts of usage and budgets. All names and values are arguments, and never a script's text.

use std::fmt;

use code_assist_core::{Cost, SharedReservation, UsageBatch};
use redis::{Pipeline, Script, ScriptInvocation};

use super::scripts::KeyNames;
use super::usage::Counter;

/// The scripts. Each is called by its digest, since the server has its text.
pub(super) struct BudgetScripts {
    add: Script,
    reserve: Script,
}

impl BudgetScripts {
    pub(super) fn new() -> Self {
        Self { add: Script::new(ADD), reserve: Script::new(RESERVE) }
    }

    /// Loads the scripts into the server.
    pub(super) fn load(pipeline: &mut Pipeline) {
        for text in [ADD, RESERVE] {
            pipeline.cmd("SCRIPT").arg("LOAD").arg(text).ignore();
        }
    }

    /// Adds a batch, once for each number of a process.
    pub(super) fn add(&self, batch: &UsageBatch, names: &KeyNames) -> ScriptInvocation<'_> {
        let UsageBatch { process, number, rows, reserved } = batch;
        let mut call = self.add.key(names.last_batch(*process));
        call.key(names.usage_days());
        call.arg(process.0).arg(*number).arg(rows.len()).arg(reserved.len());
        for row in rows {
            call.key(names.usage(row.day, &row.key)).key(names.usage_keys(row.day));
            call.key(names.budget_day(row.day, &row.key));
            call.key(names.budget_month(row.day, &row.key)).key(names.budget_minute(&row.key));
            call.arg(row.day.to_string()).arg(&*row.key).arg(&*row.model);
            call.arg(amount(row.charge.tokens()));
            for (counter, letter) in Counter::ALL {
                call.arg(letter.to_string()).arg(amount(counter.of(row)));
            }
        }
        for (key, held) in reserved {
            call.key(names.budget_reserved(key));
            call.arg(amount(held.tokens)).arg(amount(held.cost.0)).arg(amount(held.calls));
        }
        call
    }

    /// Asks whether a request may begin.
    pub(super) fn reserve(
        &self,
        request: &SharedReservation,
        names: &KeyNames,
    ) -> ScriptInvocation<'_> {
        let SharedReservation { process, key, limits, estimate, own, day } = request;
        let mut call = self.reserve.key(names.budget_day(*day, key));
        call.key(names.budget_month(*day, key)).key(names.budget_minute(key));
        call.key(names.budget_reserved(key)).arg(process.0);
        for held in [own, estimate] {
            call.arg(amount(held.tokens)).arg(amount(held.cost.0)).arg(amount(held.calls));
        }
        let limits = [
            limits.cost_per_month.map(|Cost(cost)| cost),
            limits.tokens_per_month,
            limits.tokens_per_day,
            limits.tokens_per_minute,
            limits.max_concurrent,
        ];
        for limit in limits {
            call.arg(limit.map_or_else(String::new, |limit| limit.to_string()));
        }
        call
    }
}

impl fmt::Debug for BudgetScripts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BudgetScripts")
    }
}

/// The server's counters are signed.
fn amount(number: u64) -> u64 {
    number.min(i64::MAX as u64)
}

/// Adds a batch: each row to its day's counters, and to day, month and minute of its key. A counter that
/// would overflow stays at its greatest value. The number comes first and the rest cannot fail, so that no
/// batch is carried out in part and then again: a key that another program has written counts nothing.
///
/// The seconds of a minute are removed when a new one begins. A reservation of nothing is removed.
const ADD: &str = "
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local process, number, rows, reserved = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local last = tonumber(redis.call('GET', KEYS[1]) or '0') or 0
if number <= last then return end
redis.call('SET', KEYS[1], ARGV[2], 'EX', 604800)
local function add(key, name, amount, ttl)
  if amount == '0' then return false end
  local sum = redis.pcall('HINCRBY', key, name, amount)
  if type(sum) == 'table' then redis.pcall('HSET', key, name, '9223372036854775807') end
  redis.pcall('EXPIRE', key, ttl)
  return sum == tonumber(amount)
end
local k, a = 3, 5
for _ = 1, rows do
  local usage, users, day, month, minute = KEYS[k], KEYS[k + 1], KEYS[k + 2], KEYS[k + 3], KEYS[k + 4]
  local model, tokens = ARGV[a + 2], ARGV[a + 3]
  redis.pcall('SADD', KEYS[2], ARGV[a])
  redis.pcall('SADD', users, ARGV[a + 1])
  redis.pcall('EXPIRE', users, 319680000)
  for i = a + 4, a + 14, 2 do
    add(usage, ARGV[i] .. model, ARGV[i + 1], 319680000)
  end
  add(day, 'tokens', tokens, 259200)
  add(month, 'tokens', tokens, 3456000)
  add(month, 'cost', ARGV[a + 15], 3456000)
  if add(minute, time[1], tokens, 122) then
    for _, second in ipairs(redis.call('HKEYS', minute)) do
      second = tonumber(second) or 0
      if (second + 61) * 1000 <= now or second > time[1] + 61 then
        redis.call('HDEL', minute, string.format('%.0f', second))
      end
    end
  end
  k, a = k + 5, a + 16
end
for _ = 1, reserved do
  local key, tokens, cost, calls = KEYS[k], ARGV[a], ARGV[a + 1], ARGV[a + 2]
  if tokens == '0' and cost == '0' and calls == '0' then
    redis.pcall('HDEL', key, process)
  else
    local held = string.format('%.0f ', now) .. tokens .. ' ' .. cost .. ' ' .. calls
    redis.pcall('HSET', key, process, held)
    redis.pcall('PEXPIRE', key, 20000)
  end
  k, a = k + 1, a + 3
end
";

/// Decides as the core's `judge` does, with what all processes have used and reserved. A process that has
/// not renewed its reservation for ten seconds has died. A time that is further ahead was written before the
/// server's clock was put back. A second counts until the 61st one after it has begun, since its tokens may
/// be from its end.
const RESERVE: &str = "
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function whole(text) return tonumber(text or '0') or 0 end
local day = whole(redis.call('HGET', KEYS[1], 'tokens'))
local month = redis.call('HMGET', KEYS[2], 'tokens', 'cost')
local month_tokens, month_cost = whole(month[1]), whole(month[2])
local minute, oldest = 0, nil
local seconds = redis.call('HGETALL', KEYS[3])
for i = 1, #seconds, 2 do
  local second = whole(seconds[i])
  if (second + 61) * 1000 > now and second <= time[1] + 61 then
    minute = minute + whole(seconds[i + 1])
    if not oldest or second < oldest then oldest = second end
  end
end
local own_tokens, own_cost, own_calls = whole(ARGV[2]), whole(ARGV[3]), whole(ARGV[4])
local more_tokens, more_cost, more_calls = whole(ARGV[5]), whole(ARGV[6]), whole(ARGV[7])
local tokens, cost, calls = own_tokens, own_cost, own_calls
local all = redis.call('HGETALL', KEYS[4])
for i = 1, #all, 2 do
  if all[i] ~= ARGV[1] then
    local at, t, c, n = string.match(all[i + 1], '^(%d+) (%d+) (%d+) (%d+)$')
    at = whole(at)
    if at + 10000 > now and at < now + 10000 then
      tokens, cost, calls = tokens + whole(t), cost + whole(c), calls + whole(n)
    else
      redis.call('HDEL', KEYS[4], all[i])
    end
  end
end
local function fits(limit, used, held, wanted)
  if limit == '' then return true end
  limit = whole(limit)
  local is_alone = calls == 0 and held == 0
  return used < limit and (is_alone or used + held + wanted <= limit)
end
local granted = fits(ARGV[8], month_cost, cost, more_cost)
  and fits(ARGV[9], month_tokens, tokens, more_tokens)
  and fits(ARGV[10], day, tokens, more_tokens)
  and fits(ARGV[11], minute, tokens, more_tokens)
  and (ARGV[12] == '' or calls < whole(ARGV[12]))
if granted then
  own_tokens, own_cost, own_calls = own_tokens + more_tokens, own_cost + more_cost, own_calls + more_calls
end
if own_tokens > 0 or own_cost > 0 or own_calls > 0 then
  local held = string.format('%.0f %.0f %.0f %.0f', now, own_tokens, own_cost, own_calls)
  redis.call('HSET', KEYS[4], ARGV[1], held)
  redis.call('PEXPIRE', KEYS[4], 20000)
else
  redis.call('HDEL', KEYS[4], ARGV[1])
end
local frees = oldest and math.min((oldest + 61) * 1000 - now, 61000) or 0
local answer = {granted and 1 or 0, minute, day, month_tokens, month_cost, tokens, cost, calls, frees}
for i, number in ipairs(answer) do answer[i] = string.format('%.0f', number) end
return answer
";
