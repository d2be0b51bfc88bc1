// Measures the Worker: start-up, and processor time for each request inside workerd, beside three
// trivial JavaScript Workers. One forwards, one also logs a line, and one parses and wraps the request
// and unwraps the answer. All are driven in the same way, one after the other, in several rounds.
//
// usage: node measure.mjs [--rounds N] [--requests N] [--json FILE]

import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { Agent, createServer, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Miniflare } from "miniflare";
import { options } from "./dev.mjs";
import { sizes } from "./size.mjs";

const { values } = parseArgs({ options: { rounds: { type: "string", default: "3" }, requests: { type: "string", default: "3000" }, json: { type: "string" } } });
const [rounds, requests] = [Number(values.rounds), Number(values.requests)];
const events = 20;

const FORWARD = `export default { fetch(request, env) {
  const url = new URL(request.url);
  return fetch(env.CODE_ASSIST_ENDPOINT + "/v1internal:" + url.pathname.split(":").pop() + url.search, request);
} };`;

const LOG = FORWARD.replace("return fetch", "console.log(JSON.stringify({ url: request.url, at: Date.now(), what: 'x'.repeat(400) }));\n  return fetch");

const UNWRAP = `const unwrap = (event) => event.startsWith("data: ") ? "data: " + JSON.stringify(JSON.parse(event.slice(6)).response) : event;
export default { async fetch(request, env) {
  const url = new URL(request.url);
  const [, model, method] = url.pathname.match(/models\\/([^:]+):(\\w+)/);
  const body = JSON.stringify({ model, project: "p", request: await request.json() });
  const response = await fetch(env.CODE_ASSIST_ENDPOINT + "/v1internal:" + method + url.search, {
    method: "POST", body, headers: { "content-type": "application/json", authorization: "Bearer " + env.GOOGLE_CLOUD_ACCESS_TOKEN },
  });
  if (method === "generateContent") return Response.json((await response.json()).response);
  let rest = "";
  const events = new TransformStream({ transform(chunk, out) {
    const parts = (rest + chunk).split(/\\r?\\n\\r?\\n/);
    rest = parts.pop();
    for (const part of parts) out.enqueue(unwrap(part) + "\\n\\n");
  } });
  const stream = response.body.pipeThrough(new TextDecoderStream()).pipeThrough(events).pipeThrough(new TextEncoderStream());
  return new Response(stream, { headers: { "content-type": "text/event-stream" } });
} };`;

const answer = { response: { candidates: [{ content: { role: "model", parts: [{ text: "word ".repeat(400) }] }, finishReason: "STOP" }], responseId: "r" }, traceId: "t" };
const event = { response: { candidates: [{ content: { role: "model", parts: [{ text: "word ".repeat(8) }] } }], responseId: "r" }, traceId: "t" };
const last = { ...event, response: { ...event.response, candidates: [{ ...event.response.candidates[0], finishReason: "STOP" }] } };

/** Google without any delay: an answer of two kibibytes, or all events of a stream at once. */
const upstream = createServer((request, response) => {
  request.resume().on("end", () => {
    if (request.url.includes("stream")) {
      response.writeHead(200, { "content-type": "text/event-stream" });
      for (let n = 1; n <= events; n += 1) response.write(`data: ${JSON.stringify(n < events ? event : last)}\r\n\r\n`);
      response.end();
    } else {
      response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(answer));
    }
  });
});
await new Promise((listening) => upstream.listen(0, "127.0.0.1", listening));

const state = mkdtempSync(join(tmpdir(), "worker-measure-"));
const bindings = {
  CODE_ASSIST_ENDPOINT: `http://127.0.0.1:${upstream.address().port}`,
  GOOGLE_CLOUD_ACCESS_TOKEN: "ya29.measured",
  GEMINI_PROJECT_ID: "measured-project",
  VALIDATE_TOKENS_BEFORE_USE: "false",
};
const ours = { ...options({ bindings, host: "127.0.0.1", port: 0, state }), handleRuntimeStdio: (out, err) => (out.resume(), err.pipe(process.stderr)) };
const trivial = (script) => ({ ...ours, script, modules: true, modulesRoot: undefined, durableObjects: {}, kvNamespaces: [] });
const silent = { ...ours, bindings: { ...bindings, LOG_LEVEL: "error" } };
const contenders = {
  forward: { name: "forwards only (JavaScript)", worker: trivial(FORWARD) },
  log: { name: "forwards and logs a line (JavaScript)", worker: trivial(LOG) },
  parse: { name: "parses and unwraps (JavaScript)", worker: trivial(UNWRAP) },
  ours: { name: "code-assist-proxy", worker: ours },
  ours_silent: { name: "code-assist-proxy, LOG_LEVEL=error", worker: silent },
};

const agent = new Agent({ keepAlive: true, maxSockets: 16 });
const body = JSON.stringify({ contents: [{ role: "user", parts: [{ text: "word ".repeat(100) }] }] });
const ask = (origin, method) => new Promise((resolve, reject) => {
  const call = request(`${origin}/v1beta/models/gemini-2.5-flash:${method}`, { agent, method: "POST", headers: { "content-type": "application/json", "content-length": body.length } });
  call.on("response", (response) => {
    let length = 0;
    response.on("data", (chunk) => (length += chunk.length)).on("end", () => {
      if (response.statusCode === 200 && length > 1000) resolve();
      else reject(new Error(`${response.statusCode}, ${length} bytes`));
    });
  }).on("error", reject).end(body);
});

/** User and system time of the workerd that this process started, in microseconds (proc(5)). */
const ticks = 1e6 / Number(execFileSync("getconf", ["CLK_TCK"], { encoding: "utf8" }));
function cpu() {
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1].split(" ");
      if (Number(fields[1]) === process.pid && readFileSync(`/proc/${pid}/comm`, "utf8").startsWith("workerd")) {
        return (Number(fields[11]) + Number(fields[12])) * ticks;
      }
    } catch {
      // The process has ended meanwhile.
    }
  }
  throw new Error("workerd is not running");
}

async function load(origin, method, count) {
  let left = count;
  const before = cpu();
  await Promise.all(Array.from({ length: 8 }, async () => {
    while (left-- > 0) await ask(origin, method);
  }));
  return (cpu() - before) / count;
}

const measured = [];
for (let round = 0; round < rounds; round += 1) {
  measured.push({});
  for (const [key, { worker }] of Object.entries(contenders)) {
    const startedAt = performance.now();
    const miniflare = new Miniflare(worker);
    await miniflare.ready;
    const { origin } = await miniflare.unsafeGetDirectURL();
    await ask(origin, "generateContent");
    const first_ms = performance.now() - startedAt;
    // V8 optimises hot code in the background. This load keeps that out of the figures.
    await load(origin, "generateContent", requests / 2);
    const unary_us = await load(origin, "generateContent", requests);
    await load(origin, "streamGenerateContent?alt=sse", requests / 8);
    const stream_us = await load(origin, "streamGenerateContent?alt=sse", requests / 4);
    await miniflare.dispose();
    measured[round][key] = { first_ms, unary_us, stream_us };
  }
}
upstream.close();
agent.destroy();
rmSync(state, { recursive: true, force: true });

const { wasm, packed } = sizes();
if (values.json) {
  writeFileSync(values.json, `${JSON.stringify({ rounds: measured, wasm_bytes: wasm, wasm_gzip_bytes: packed }, null, 2)}\n`);
}

const all = (key, what) => measured.map((round) => round[key][what]);
const median = (list) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)];
const spread = (list) => `${Math.round(median(list))} (${Math.round(Math.min(...list))}-${Math.round(Math.max(...list))})`;
const ratio = (key, what) => (median(all(key, what)) / median(all("forward", what))).toFixed(2);
console.log(`\n${rounds} rounds of ${requests} requests; median (least-most)\n`);
console.log("| Worker | start to first answer, ms | CPU a request, µs | ratio | CPU a stream of 20 events, µs | ratio |");
console.log("|---|---|---|---|---|---|");
for (const [key, { name }] of Object.entries(contenders)) {
  const [first, unary, stream] = ["first_ms", "unary_us", "stream_us"].map((what) => spread(all(key, what)));
  console.log(`| ${name} | ${first} | ${unary} | ${ratio(key, "unary_us")} | ${stream} | ${ratio(key, "stream_us")} |`);
}
