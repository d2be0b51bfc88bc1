// Tests of keys with budgets: the usage object, and isolates that count together.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { LOCKS, isolates, usageObject } from "./world.mjs";

const running = [];
/** Has a resource stopped when its test is over. */
const using = async (started) => {
  const resource = await started;
  running.push(resource);
  return resource;
};
afterEach(async () => {
  while (running.length) await running.pop().stop();
});

const folder = () => {
  const path = mkdtempSync(join(tmpdir(), "worker-usage-"));
  running.unshift({ stop: () => rmSync(path, { recursive: true, force: true }) });
  return path;
};
const today = () => new Date().toISOString().slice(0, 10);
const withLocks = { before: { "locks.js": LOCKS } };
const nothing = [0, 0, 0];
/** A request for ten tokens of a hundred a day. */
const reserve = (process, own = nothing, limits = [null, 100, null, null, null]) => ({
  Reserve: { process, key: "ada", limits, estimate: [10, 0, 1], own, day: today() },
});
const add = (process, number, tokens, reserved = []) => ({
  Add: { process, number, rows: [[today(), "ada", "gemini-2.5-flash", [1, tokens, 0, 0, 0, 3 * tokens]]], reserved },
});
const usage = (key = null) => ({ Usage: { since: "2000-01-01", until: "2999-12-31", key } });

test("the usage object grants ten of thirty concurrent requests of thirty isolates", async () => {
  const { origins: [origin] } = await using(isolates(1, {}, withLocks));
  const object = usageObject(origin);
  const answers = await Promise.all(Array.from({ length: 30 }, (_, n) => object(reserve(n + 1))));
  assert.equal(answers.filter(({ granted }) => granted).length, 10);
  assert.deepEqual((await object(reserve(31))).reserved, [100, 0, 10]);
});

test("the usage object adds a batch once and lists its rows by key", async () => {
  const { origins: [origin] } = await using(isolates(1, {}, withLocks));
  const object = usageObject(origin);
  for (const [process, number] of [[1, 1], [1, 1], [2, 1], [1, 2], [1, 1]]) await object(add(process, number, 5));
  const rows = [[today(), "ada", "gemini-2.5-flash", [3, 15, 0, 0, 0, 45]]];
  assert.deepEqual(await object(usage()), rows);
  assert.deepEqual(await object(usage("ada")), rows);
  assert.deepEqual(await object(usage("bob")), []);
  assert.deepEqual((await object(reserve(3))).used, [15, 15, 15, 45]);
});

test("a restart of the runtime keeps usage, the last minute and the batches, and forgets reservations", async () => {
  const kept = folder();
  const first = await isolates(1, {}, { ...withLocks, kept });
  const before = usageObject(first.origins[0]);
  await before(add(1, 7, 30, [["ada", [50, 0, 5]]]));
  assert.deepEqual((await before(reserve(2))).reserved, [50, 0, 5]);
  await first.stop();
  const { origins: [origin] } = await using(isolates(1, {}, { ...withLocks, kept }));
  const object = usageObject(origin);
  await object(add(1, 7, 30));
  const standing = await object(reserve(2));
  assert.deepEqual(standing.used, [30, 30, 30, 90]);
  assert.deepEqual(standing.reserved, nothing);
  assert.ok(standing.minute_frees_in > 0 && standing.minute_frees_in <= 61_000, `${standing.minute_frees_in}`);
});

test("the usage object lists and removes days of several years", async () => {
  const { origins: [origin] } = await using(isolates(1, {}, withLocks));
  const object = usageObject(origin);
  const day = (n) => new Date(Date.UTC(2024, 0, 1 + 10 * n)).toISOString().slice(0, 10);
  const rows = Array.from({ length: 100 }, (_, n) => [day(n), "ada", "m", [1, 1, 0, 0, 0, 0]]);
  await object({ Add: { process: 1, number: 1, rows, reserved: [] } });
  assert.deepEqual((await object(usage())).map(([day]) => day), rows.map(([day]) => day));
  await object({ Remove: { before: day(60) } });
  assert.deepEqual((await object(usage())).map(([day]) => day), rows.slice(60).map(([day]) => day));
  assert.deepEqual(await object({ Usage: { since: day(70), until: day(71), key: null } }), rows.slice(70, 72));
  assert.deepEqual(await object({ Usage: { since: day(71), until: day(70), key: null } }), []);
});

/** An upstream that counts 300 tokens for each request, after a while. */
async function upstream(delay = 0) {
  const seen = { requests: 0 };
  const usageMetadata = { promptTokenCount: 100, cachedContentTokenCount: 40, candidatesTokenCount: 150, thoughtsTokenCount: 50, totalTokenCount: 300 };
  const candidates = [{ content: { role: "model", parts: [{ text: "Hi" }] }, finishReason: "STOP" }];
  const answer = JSON.stringify({ response: { candidates, usageMetadata } });
  const server = createServer((request, response) => {
    request.resume().on("end", async () => {
      seen.requests += 1;
      await sleep(delay);
      const isStream = request.url.includes("alt=sse");
      response.setHeader("content-type", isStream ? "text/event-stream" : "application/json");
      response.end(isStream ? `data: ${answer}\r\n\r\n` : answer);
    });
  });
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  const env = {
    CODE_ASSIST_ENDPOINT: `http://127.0.0.1:${server.address().port}`,
    GOOGLE_CLOUD_ACCESS_TOKEN: "ya29.test",
    GEMINI_PROJECT_ID: "test-project",
    VALIDATE_TOKENS_BEFORE_USE: "false",
    ENABLE_RESPONSE_CACHE: "false",
  };
  return { env, seen, stop: () => (server.closeAllConnections(), server.close()) };
}

const keyOf = (id) => `cap_${id}_0123456789abcdef`;
const table = (id, more = {}) => ({ id, hash: `sha256:${createHash("sha256").update(keyOf(id)).digest("hex")}`, ...more });
const tables = (...key) => ({ PROXY_KEYS_JSON: JSON.stringify({ key, price: [{ model: "*", input: 1, cached: 0.5, output: 2 }] }) });
const asks = (origin, id, { model = "gemini-2.5-flash", method = "generateContent", text = "Hello" } = {}) =>
  fetch(`${origin}/v1beta/models/${model}:${method}`, {
    method: "POST",
    headers: { "content-type": "application/json", "x-goog-api-key": keyOf(id) },
    body: JSON.stringify({ contents: [{ role: "user", parts: [{ text }] }] }),
  });
const get = (origin, path, id) => fetch(origin + path, { headers: { "x-goog-api-key": keyOf(id) } });
const reasonOf = async (answer) => (await answer.json()).error.details[0].reason;

test("of thirty concurrent requests to three isolates a budget for ten lets ten begin", async () => {
  const google = await using(upstream(400));
  const { origins } = await using(isolates(3, { ...google.env, ...tables(table("ada", { tokens_per_day: 2900 })) }));
  const answers = await Promise.all(Array.from({ length: 30 }, (_, n) => asks(origins[n % 3], "ada", { text: `number ${n}` })));
  const refused = answers.filter(({ status }) => status === 429);
  assert.deepEqual(answers.filter(({ status }) => status === 200).length, 10, `${answers.map(({ status }) => status)}`);
  assert.equal(refused.length, 20);
  for (const answer of refused) assert.equal(await reasonOf(answer), "BUDGET_EXHAUSTED");
  assert.equal(google.seen.requests, 10);
});

test("what several isolates have used is summed up by /usage, and outlives a restart", async () => {
  const google = await using(upstream());
  const kept = folder();
  const bindings = { ...google.env, ...tables(table("ada", { tokens_per_day: 10_000 }), table("bob"), table("eve", { admin: true })) };
  const first = await isolates(2, bindings, { kept });
  for (let n = 0; n < 6; n += 1) await (await asks(first.origins[n % 2], n % 3 ? "ada" : "bob", { text: `number ${n}` })).arrayBuffer();
  await (await asks(first.origins[0], "bob", { method: "streamGenerateContent?alt=sse" })).arrayBuffer();
  const rows = [["ada", 4], ["bob", 3]].map(([key, requests]) => ({
    key, requests, prompt_tokens: 100 * requests, cached_tokens: 40 * requests,
    output_tokens: 150 * requests, thought_tokens: 50 * requests, cost: 0.00048 * requests,
  }));
  const rounded = (rows) => rows.map((row) => ({ ...row, cost: Number(row.cost.toFixed(9)) }));
  const read = async (origin, id) => rounded((await (await get(origin, "/usage?by=key", id)).json()).rows);
  await eventually(async () => (await read(first.origins[1], "eve")).reduce((sum, row) => sum + row.requests, 0) === 7);
  assert.deepEqual(await read(first.origins[1], "eve"), rounded(rows));
  assert.deepEqual(await read(first.origins[0], "ada"), rounded(rows.slice(0, 1)));
  await first.stop();
  const { origins: [origin] } = await using(isolates(2, bindings, { kept }));
  assert.deepEqual(await read(origin, "eve"), rounded(rows));
});

test("a request that runs for longer than ten seconds keeps its place among all isolates", async () => {
  const google = await using(upstream(14_000));
  const { origins } = await using(isolates(2, { ...google.env, QUEUE_TIMEOUT_MS: "1000", ...tables(table("ada", { max_concurrent: 1 })) }));
  const long = asks(origins[0], "ada");
  await sleep(12_000);
  const second = await asks(origins[1], "ada", { text: "meanwhile" });
  assert.notEqual(second.status, 200, "the first one still runs");
  assert.equal((await long).status, 200);
  assert.equal(google.seen.requests, 1);
});

test("an expired key is 401, and a model that a key may not use 403", async () => {
  const google = await using(upstream());
  const bindings = { ...google.env, ...tables(table("ada", { models: ["gemini-2.5-flash"] }), table("bob", { expires: "2020-01-01T00:00:00Z" })) };
  const { origins: [origin] } = await using(isolates(1, bindings));
  const expired = await asks(origin, "bob");
  assert.deepEqual([expired.status, await reasonOf(expired)], [401, "API_KEY_EXPIRED"]);
  const other = await asks(origin, "ada", { model: "gemini-2.5-pro" });
  assert.deepEqual([other.status, await reasonOf(other)], [403, "MODEL_NOT_ALLOWED"]);
  assert.equal((await asks(origin, "ada")).status, 200);
  assert.equal(google.seen.requests, 1);
});

test("without a Durable Object a limit of tokens is refused, and a key without limits works", async () => {
  const google = await using(upstream());
  const limited = { ...google.env, ...tables(table("ada", { tokens_per_day: 100 })) };
  const [closed] = (await using(isolates(1, limited, { lockObject: false }))).origins;
  const answer = await asks(closed, "ada");
  assert.equal(answer.status, 503);
  assert.match((await answer.json()).error.message, /key ada.*TURN_REGISTER/);
  const { origins: [open], lines } = await using(isolates(1, { ...google.env, ...tables(table("ada")) }, { lockObject: false }));
  assert.equal((await asks(open, "ada")).status, 200);
  assert.equal(lines.filter((line) => line.includes("the usage of keys is not stored")).length, 1);
});

test("a key that is no JSON login of its own is refused", async () => {
  const google = await using(upstream());
  const { origins: [origin] } = await using(isolates(1, { ...google.env, ...tables(table("ada", { credentials: "/etc/ada.json" })) }));
  const answer = await asks(origin, "ada");
  assert.equal(answer.status, 503);
  assert.match((await answer.json()).error.message, /a Worker has no files/);
});

async function eventually(holds) {
  for (let tries = 0; tries < 200; tries += 1) {
    if (await holds()) return;
    await sleep(25);
  }
  assert.fail(`never: ${holds}`);
}
