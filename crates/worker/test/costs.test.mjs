// Compares the cost of a request, the cost of an event and the size of the Worker with the budgets in
// `costs.json`.
//
// Times differ among machines, so the test counts what takes the time: calls across the border between
// WebAssembly and JavaScript, awaited promises, and timers. `COSTS_WRITE=1 cargo xtask worker test`
// writes new budgets.

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { sizes } from "../size.mjs";
import { ask, isolates, stream } from "./world.mjs";

const file = new URL("../costs.json", import.meta.url);
const budgets = JSON.parse(readFileSync(file, "utf8"));
const writes = process.env.COSTS_WRITE === "1";

test("a request and an event stay within their budgets", async (t) => {
  const upstream = await google();
  const bindings = {
    CODE_ASSIST_ENDPOINT: `http://127.0.0.1:${upstream.address().port}`,
    GOOGLE_CLOUD_ACCESS_TOKEN: "ya29.counted",
    GEMINI_PROJECT_ID: "counted-project",
    VALIDATE_TOKENS_BEFORE_USE: "false",
  };
  const { origins: [origin], stop } = await isolates(1, bindings, { before: COUNTED });
  try {
    const counts = async () => (await fetch(`${origin}/__counts`)).json();
    const cost = async (times, run) => {
      await run();
      await run();
      const before = await counts();
      for (let n = 0; n < times; n += 1) await run();
      const after = await counts();
      return Object.fromEntries(Object.keys(after).map((name) => [name, (after[name] - before[name]) / times]));
    };
    // So many requests use up whole batches of random numbers.
    const request = await cost(64, async () => (await ask(origin)).arrayBuffer());
    // The median, since on a busy machine two events may arrive together.
    const streamed = async (events) => {
      const runs = [];
      for (let n = 0; n < 3; n += 1) runs.push(await cost(1, async () => (await stream(origin, events)).arrayBuffer()));
      const median = (name) => runs.map((run) => run[name]).sort((a, b) => a - b)[1];
      return Object.fromEntries(Object.keys(runs[0]).map((name) => [name, median(name)]));
    };
    const [long, short] = [await streamed("20"), await streamed("4")];
    const event = Object.fromEntries(Object.keys(long).map((name) => [name, (long[name] - short[name]) / 16]));
    const rounded = (cost) => Object.fromEntries(Object.entries(cost).map(([name, count]) => [name, Math.round(count * 100) / 100]));
    assertBudget("request", rounded(request), t);
    assertBudget("event", rounded(event), t);
  } finally {
    await stop();
    upstream.close();
    upstream.closeAllConnections();
  }
});

test("the size of the Worker stays within its budget", (t) => {
  const { wasm, packed } = sizes();
  t.diagnostic(`${wasm} bytes of wasm, ${packed} compressed with the JavaScript`);
  if (writes) {
    // The sizes of different compilers differ by some percent.
    const withSlack = (bytes) => Math.ceil((bytes * 1.05) / 1024) * 1024;
    budgets.bytes = { wasm: withSlack(wasm), packed: withSlack(packed) };
    save();
  }
  assert.ok(wasm <= budgets.bytes.wasm, `${wasm} bytes of wasm, of ${budgets.bytes.wasm}`);
  assert.ok(packed <= budgets.bytes.packed, `${packed} bytes compressed, of ${budgets.bytes.packed}`);
});

/** Fails for a higher cost, and for a lower one too: a budget with slack does not see a regression. */
function assertBudget(what, cost, t) {
  t.diagnostic(`one ${what}: ${JSON.stringify(cost)}`);
  if (writes) {
    budgets[what] = cost;
    save();
  }
  for (const [name, budget] of Object.entries(budgets[what])) {
    const most = 0.03 * budget + 0.01;
    assert.ok(
      Math.abs(cost[name] - budget) <= most,
      `${name} of one ${what}: ${cost[name]}, and the budget is ${budget}. \`COSTS_WRITE=1 cargo xtask worker test\` writes a new one`,
    );
  }
}

function save() {
  writeFileSync(file, `${JSON.stringify(budgets, null, 2)}\n`);
}

/** Starts an upstream. It sends a whole answer, or as many events as the prompt says, one at a time. */
async function google() {
  const part = (text, finishReason) => ({ response: { candidates: [{ content: { role: "model", parts: [{ text }] }, finishReason }] } });
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const chunk of request) body += chunk;
    if (!request.url.includes("stream")) {
      response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(part("Hello", "STOP")));
      return;
    }
    const events = Number(JSON.parse(body).request.contents[0].parts[0].text);
    response.writeHead(200, { "content-type": "text/event-stream" });
    for (let n = 1; n <= events; n += 1) {
      response.write(`data: ${JSON.stringify(part("word", n === events ? "STOP" : undefined))}\r\n\r\n`);
      await pause(APART);
    }
    response.end();
  });
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  return server;
}

/** In milliseconds: so far apart that no two events are read together. */
const APART = 40;

/** Modules in front of the built Worker that count everything that crosses the border. */
const COUNTED = {
  "counting.js": `
    const counts = (globalThis.counts = { calls_out: 0, calls_in: 0, promises: 0, timers: 0 });
    const counted = (object, name) => Object.fromEntries(Object.entries(object).map(([key, value]) => [
      key,
      typeof value === "function" ? function (...args) { counts[name] += 1; return value.apply(this, args); } : value,
    ]));
    const { Instance } = WebAssembly;
    WebAssembly.Instance = function (module, imports) {
      const out = Object.fromEntries(Object.entries(imports).map(([from, all]) => [from, counted(all, "calls_out")]));
      return { exports: counted(new Instance(module, out).exports, "calls_in") };
    };
    const { then } = Promise.prototype;
    Promise.prototype.then = function (...args) { counts.promises += 1; return then.apply(this, args); };
    const { setTimeout } = globalThis;
    globalThis.setTimeout = (...args) => { counts.timers += 1; return setTimeout(...args); };
  `,
  "counted.js": `
    import "./counting.js";
    import { WorkerEntrypoint } from "cloudflare:workers";
    import Built from "./index.js";
    export { TurnRegister } from "./index.js";
    export default class extends WorkerEntrypoint {
      fetch(request) {
        if (new URL(request.url).pathname === "/__counts") return Response.json(globalThis.counts);
        return Built.prototype.fetch.call({ env: this.env, ctx: this.ctx }, request);
      }
    }
  `,
};
