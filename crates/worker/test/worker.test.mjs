// Tests of what only the Worker promises. crates/server/tests/conformance tests what both builds promise.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { afterEach, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { LOCKS, ask, google, isolates, lockObject, stream, wranglerToml } from "./world.mjs";

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

test("events that upstream sends 200 ms apart arrive 200 ms apart", async () => {
  const upstream = await using(google());
  const { origins } = await using(isolates(1, upstream.env));
  await (await ask(origins[0])).text();
  await upstream.script([{ match: { rpc: "streamGenerateContent" }, event_interval_ms: 200 }]);
  const response = await stream(origins[0], "one two three four five six seven");
  const arrivals = [];
  for await (const chunk of response.body) {
    if (Buffer.from(chunk).includes("data: ")) arrivals.push(performance.now());
  }
  const gaps = arrivals.slice(1).map((at, index) => at - arrivals[index]);
  assert.ok(gaps.length >= 3, `${gaps}`);
  assert.ok(gaps.every((gap) => gap > 120 && gap < 320), `${gaps}`);
});

test("200 cold requests to 20 fresh isolates cause one refresh and one discovery", async () => {
  const upstream = await using(google());
  await upstream.state({ token_delay_ms: 300 });
  const { origins } = await using(isolates(20, upstream.expired));
  const answers = await Promise.all(Array.from({ length: 200 }, (_, n) => ask(origins[n % 20], `number ${n}`)));
  assert.deepEqual(new Set(answers.map(({ status }) => status)), new Set([200]));
  await Promise.all(answers.map((answer) => answer.arrayBuffer()));
  const { token, loadCodeAssist, generateContent } = await upstream.counts();
  assert.deepEqual({ token, loadCodeAssist, generateContent }, { token: 1, loadCodeAssist: 1, generateContent: 200 });
});

test("a holder of two locks that dies delays 20 fresh isolates by the locks' lifetime of 5 s", async () => {
  const upstream = await using(google());
  const { origins } = await using(isolates(20, upstream.expired, { before: { "locks.js": LOCKS } }));
  const lock = lockObject(origins[0]);
  for (const key of ["oauth_token_cache", "project_id_cache"]) {
    assert.notEqual((await lock(key, { Claim: { how_long: 5000 } })).fence, null);
  }
  const begun = performance.now();
  const answers = await Promise.all(origins.map((origin, n) => ask(origin, `number ${n}`)));
  const waited = performance.now() - begun;
  assert.deepEqual(new Set(answers.map(({ status }) => status)), new Set([200]));
  assert.ok(waited > 4000 && waited < 8000, `${waited}`);
  const { token, loadCodeAssist } = await upstream.counts();
  assert.deepEqual({ token, loadCodeAssist }, { token: 1, loadCodeAssist: 1 });
});

test("a refresh that outlasts the lifetime of its lock is waited for by 10 fresh isolates", async () => {
  const upstream = await using(google());
  await upstream.state({ token_delay_ms: 8000 });
  const { origins } = await using(isolates(10, upstream.expired));
  const answers = await Promise.all(origins.map((origin, n) => ask(origin, `number ${n}`)));
  assert.deepEqual(new Set(answers.map(({ status }) => status)), new Set([200]));
  const { token, loadCodeAssist } = await upstream.counts();
  assert.deepEqual({ token, loadCodeAssist }, { token: 1, loadCodeAssist: 1 });
});

test("a lock object extends the lock of its holder and of no other isolate", async () => {
  const upstream = await using(google());
  const { origins: [origin] } = await using(isolates(1, upstream.env, { before: { "locks.js": LOCKS } }));
  const lock = lockObject(origin);
  const claim = async () => (await lock("key", { Claim: { how_long: 500 } })).fence;
  const renew = async (fence) => (await lock("key", { Renew: { fence, how_long: 500 } })).renewed;
  const first = await claim();
  for (let n = 0; n < 3; n += 1) {
    await sleep(300);
    assert.equal(await renew(first), true);
    assert.equal(await claim(), null, "it is held beyond its first lifetime");
  }
  await sleep(600);
  assert.equal(await renew(first), true, "no other isolate has taken it");
  await sleep(600);
  const second = await claim();
  assert.equal(await renew(first), false);
  assert.equal(await claim(), null, "the second holder keeps it");
  await lock("key", { Release: { fence: second } });
  assert.equal(await renew(second), false, "it was released");
  assert.ok((await claim()) > second);
});

test("without lock objects a burst of cold isolates is answered", async (t) => {
  const upstream = await using(google());
  await upstream.state({ token_delay_ms: 300 });
  const { origins } = await using(isolates(10, upstream.expired, { lockObject: false }));
  const answers = await Promise.all(Array.from({ length: 100 }, (_, n) => ask(origins[n % 10], `number ${n}`)));
  assert.deepEqual(new Set(answers.map(({ status }) => status)), new Set([200]));
  const { token } = await upstream.counts();
  t.diagnostic(`${token} refreshes by 10 isolates that lock over KV`);
  assert.ok(token >= 1 && token <= 10, `${token}`);
});

test("10,000 requests cost a few reads and writes of KV", async (t) => {
  const upstream = await using(google());
  const { origins: [origin], kv } = await using(isolates(1, upstream.expired, { lockObject: false, counting: true }));
  const one = async (n) => {
    const answer = await ask(origin, `number ${n}`);
    assert.equal(answer.status, 200);
    await answer.arrayBuffer();
  };
  await one(0);
  for (let sent = 1; sent < 10_000; ) {
    const batch = Array.from({ length: Math.min(64, 10_000 - sent) }, () => one(sent++));
    await Promise.all(batch);
  }
  for (let n = 0; n < 20; n += 1) await (await fetch(`${origin}/health`)).arrayBuffer();
  const counts = await (await fetch(`${origin}/__counts`)).json();
  t.diagnostic(`10,000 requests and 20 health checks: ${JSON.stringify(counts)}`);
  assert.ok(counts.get <= 10 && counts.put <= 4 && counts.list === 0 && counts.delete === 0, JSON.stringify(counts));
  const names = (await kv.list()).keys.map(({ name }) => name).sort();
  assert.deepEqual(names, ["oauth_token_cache", "oauth_token_cache:turn", "project_id_cache", "project_id_cache:turn"]);
});

test("entries in the format of other gateways are used as they are", async () => {
  const upstream = await using(google());
  const { origins: [origin], kv } = await using(isolates(1, upstream.expired));
  const { access_token } = JSON.parse(upstream.env.GCP_SERVICE_ACCOUNT);
  const now = Date.now();
  await kv.put("oauth_token_cache", JSON.stringify({
    access_token, expiry_date: now + 3_000_000, refresh_count: 4, last_used: now, created_at: now,
    token_type: "Bearer", scope: "https://www.googleapis.com/auth/cloud-platform",
  }));
  await kv.put("project_id_cache", JSON.stringify({
    project_id: "emulator-project", discovered_at: now, ttl: now + 3_000_000, source: "discovery", validation_count: 1,
  }));
  assert.equal((await ask(origin)).status, 200);
  const { token = 0, loadCodeAssist = 0 } = await upstream.counts();
  assert.deepEqual({ token, loadCodeAssist }, { token: 0, loadCodeAssist: 0 });
});

test("cron refreshes a token before it expires and leaves a fresh one alone", async () => {
  const upstream = await using(google("--token-lifetime", "240"));
  const { origins: [origin], cron, kv } = await using(isolates(1, upstream.expired));
  await cron();
  assert.equal((await upstream.counts()).token, 1);
  const stored = JSON.parse(await kv.get("oauth_token_cache"));
  assert.ok(stored.expiry_date > Date.now());
  await cron();
  assert.equal((await upstream.counts()).token, 1, "the token is fresh");
  assert.equal((await ask(origin)).status, 200);
  assert.equal((await upstream.counts()).token, 1, "no request had to wait for a refresh");
});

test("cron in a cold isolate refreshes a stored token that is about to expire", async () => {
  const upstream = await using(google());
  const { cron, kv } = await using(isolates(1, upstream.expired));
  const { access_token } = JSON.parse(upstream.env.GCP_SERVICE_ACCOUNT);
  await kv.put("oauth_token_cache", JSON.stringify({ access_token, expiry_date: Date.now() + 90_000, refresh_count: 1 }));
  await cron();
  const stored = JSON.parse(await kv.get("oauth_token_cache"));
  assert.equal((await upstream.counts()).token, 1);
  assert.ok(stored.expiry_date > Date.now() + 3_000_000, JSON.stringify(stored));
});

test("without KV the Worker serves from memory and reports that in its health", async () => {
  const upstream = await using(google());
  const { origins: [origin] } = await using(isolates(1, upstream.expired, { kv: false, lockObject: false }));
  assert.equal((await ask(origin)).status, 200);
  assert.equal((await (await fetch(`${origin}/health`)).json()).kv_status, "disconnected");
});

test("invalid settings are all reported and nothing is sent upstream", async () => {
  const upstream = await using(google());
  const bindings = { ...upstream.env, MAX_RETRY_ATTEMPTS: "many", LOG_LEVEL: "loud" };
  const { origins: [origin] } = await using(isolates(1, bindings));
  const answer = await ask(origin);
  const { error } = await answer.json();
  assert.equal(answer.status, 503);
  assert.equal(error.details[0].reason, "SETTINGS_INVALID");
  assert.match(error.message, /MAX_RETRY_ATTEMPTS.*LOG_LEVEL|LOG_LEVEL.*MAX_RETRY_ATTEMPTS/);
  assert.equal((await upstream.counts()).generateContent ?? 0, 0);
});

test("an encryption key is refused, since the Worker encrypts nothing itself", async () => {
  const upstream = await using(google());
  const { origins: [origin] } = await using(isolates(1, { ...upstream.env, KV_ENCRYPTION_KEY: "0f".repeat(32) }));
  const answer = await ask(origin);
  const { error } = await answer.json();
  assert.equal(answer.status, 503);
  assert.equal(error.details[0].reason, "SETTINGS_INVALID");
  assert.match(error.message, /KV_ENCRYPTION_KEY has no effect.*encrypts KV.*Remove the variable/);
  assert.doesNotMatch(error.message, /0f0f/);
  assert.equal((await upstream.counts()).generateContent ?? 0, 0);
});

test("numbers and booleans of wrangler.toml are settings too", async () => {
  const upstream = await using(google());
  const bindings = { ...upstream.env, MAX_REQUEST_BODY_BYTES: 1024, VALIDATE_TOKENS_BEFORE_USE: false };
  const { origins: [origin] } = await using(isolates(1, bindings));
  assert.equal((await ask(origin, "x".repeat(2000))).status, 413);
  assert.equal((await ask(origin)).status, 200);
  assert.equal((await upstream.counts()).tokeninfo ?? 0, 0);
});

test("without keys only loopback names are answered, with ALLOW_UNAUTHENTICATED every name", async () => {
  const upstream = await using(google());
  const bindings = { ...upstream.env, ALLOW_UNAUTHENTICATED: "true" };
  const [closed] = (await using(isolates(1, upstream.env))).origins;
  const [open] = (await using(isolates(1, bindings))).origins;
  const { request } = await import("node:http");
  const health = (origin) => new Promise((resolve, reject) => {
    const call = request(`${origin}/health/detailed`, { headers: { host: "proxy.example.workers.dev" } });
    call.on("response", (answer) => resolve(answer.resume().statusCode)).on("error", reject).end();
  });
  assert.equal(await health(closed), 403);
  assert.equal(await health(open), 200);
});

test("a client that leaves before the answer begins cancels the upstream call", async () => {
  const upstream = await using(google());
  const { origins: [origin], lines } = await using(isolates(1, upstream.env));
  await (await ask(origin)).text();
  await upstream.script([{ match: { rpc: "generateContent" }, times: 1, delay_ms: 5000 }]);
  const { connect } = await import("node:net");
  const { hostname, port } = new URL(origin);
  const socket = connect(Number(port), hostname);
  const body = JSON.stringify({ contents: [{ parts: [{ text: "Bye" }] }] });
  socket.write(`POST /v1beta/models/gemini-2.5-flash:generateContent HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
  await eventually(async () => (await upstream.counts()).generateContent === 2);
  // A reset, since workerd takes a FIN only for the end of what the client sends.
  socket.resetAndDestroy();
  await eventually(() => lines.some((line) => line.includes('"outcome":"client_gone"')));
});

test("the log lines of a request, and of the jobs that it starts, carry its id", async () => {
  const upstream = await using(google());
  await upstream.state({ token_status: 400, token_body: '{"error": "invalid_grant"}' });
  const { origins: [origin], lines } = await using(isolates(1, upstream.expired));
  const answer = await ask(origin);
  assert.equal(answer.status, 503);
  const id = answer.headers.get("x-request-id");
  const logged = (text) => lines.filter((line) => line.includes(text));
  await eventually(() => logged('"message":"request"').length === 1);
  for (const text of ['"message":"request"', '"message":"no access token: ', '"message":"no project: ']) {
    const [line] = logged(text);
    assert.equal(JSON.parse(line).request_id, id);
    assert.equal(line.match(/"request_id":/g).length, 1, line);
  }
});

test("wrangler accepts the deployment to staging and to production", () => {
  const folder = fileURLToPath(new URL("..", import.meta.url));
  for (const environment of ["staging", "production"]) {
    const out = spawnSync(
      "node_modules/.bin/wrangler",
      ["deploy", "--dry-run", "--env", environment, "--outdir", `build/dry-run-${environment}`],
      { cwd: folder, encoding: "utf8", timeout: 60_000, env: { ...process.env, CI: "1", WRANGLER_SEND_METRICS: "false" } },
    );
    assert.equal(out.status, 0, out.stdout + out.stderr);
    assert.match(out.stdout, /env\.GEMINI_CREDS_KV/);
    assert.match(out.stdout, /env\.TURN_REGISTER/);
  }
  assert.doesNotMatch(wranglerToml, /account_id|[0-9a-f]{32}/, "no account ids");
});

async function eventually(holds) {
  for (let tries = 0; tries < 200; tries += 1) {
    if (await holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  assert.fail(`never: ${holds}`);
}
