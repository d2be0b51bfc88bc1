// Helpers of the Worker's tests: the emulator, and isolates under workerd. Each "isolate" is a Worker of
// its own in one workerd. All are bound to the same KV and the same lock objects.

import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { Miniflare } from "miniflare";
import { options } from "../dev.mjs";

const emulator = process.env.EMULATOR ?? fileURLToPath(new URL("../../../target/debug/code-assist-emulator", import.meta.url));

/** Starts the emulator on a free port. */
export async function google(...flags) {
  const child = spawn(emulator, ["--port", "0", ...flags], { stdio: ["ignore", "pipe", "inherit"] });
  const env = {};
  let base;
  for await (const line of createInterface({ input: child.stdout })) {
    base ??= line.match(/http:\/\/[\d.:]+/)?.[0];
    const [, name, value] = line.match(/^ {2}export (\w+)='?(.*?)'?$/) ?? [];
    if (name) env[name] = value;
    // The first variables are those of the proxy.
    else if (Object.keys(env).length > 0) break;
  }
  child.stdout.resume();
  const control = async (path, body) => {
    const response = await fetch(`${base}/__emulator/${path}`, body && { method: "POST", body: JSON.stringify(body) });
    if (!response.ok) throw new Error(`${path}: ${await response.text()}`);
    return response.json();
  };
  const login = env.GCP_SERVICE_ACCOUNT;
  return {
    base,
    env,
    /** The same credentials with an expired access token. */
    expired: { ...env, ...(login && { GCP_SERVICE_ACCOUNT: expired(login) }) },
    counts: () => control("counts"),
    script: (rules) => control("script", rules),
    state: (change) => control("state", change),
    stop: () => child.kill(),
  };
}

function expired(credentials) {
  return JSON.stringify({ ...JSON.parse(credentials), expiry_date: Date.now() - 60_000 });
}

/**
 * Starts cold isolates. The last module of `before` is the Worker that the runtime calls. `kept` is a folder of
 * the caller's for KV and the objects.
 */
export async function isolates(count, bindings, { lockObject = true, kv = true, counting = false, before = {}, kept } = {}) {
  const state = kept ?? mkdtempSync(join(tmpdir(), "worker-test-"));
  const host = "127.0.0.1";
  const home = "isolate-0";
  const { log, defaultPersistRoot, handleRuntimeStdio, cf, ...worker } = options({ bindings, host, port: 0, state });
  const lines = [];
  const module = ([name, contents]) => ({ type: "ESModule", path: join(worker.modulesRoot, name), contents });
  const workers = Array.from({ length: count }, (_, index) => ({
    ...worker,
    name: `isolate-${index}`,
    kvNamespaces: kv ? worker.kvNamespaces : [],
    durableObjects: lockObject
      ? { TURN_REGISTER: { className: "TurnRegister", scriptName: home, useSQLite: true } }
      : {},
    modules: [...Object.entries(counting ? { "counting.js": COUNTING } : before).map(module).reverse(), ...worker.modules],
  }));
  const miniflare = new Miniflare({
    defaultPersistRoot: state,
    cf,
    log,
    handleRuntimeStdio(...outputs) {
      for (const output of outputs) createInterface({ input: output }).on("line", (line) => lines.push(line));
    },
    workers,
  });
  await miniflare.ready;
  const origins = await Promise.all(workers.map(async ({ name }) => (await miniflare.unsafeGetDirectURL(name)).origin));
  return {
    origins,
    lines,
    kv: kv && (await miniflare.getKVNamespace("GEMINI_CREDS_KV", home)),
    cron: async () => (await miniflare.getWorker(home)).scheduled({ cron: "* * * * *" }),
    stop: async () => {
      await miniflare.dispose();
      if (!kept) rmSync(state, { recursive: true, force: true });
    },
  };
}

/** Sends a prompt to `generateContent`. */
export function ask(origin, text = "Hello") {
  return fetch(`${origin}/v1beta/models/gemini-2.5-flash:generateContent`, prompt(text));
}

/** Sends a prompt to `streamGenerateContent`. */
export function stream(origin, text = "Hello") {
  return fetch(`${origin}/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse`, prompt(text));
}

function prompt(text) {
  const body = JSON.stringify({ contents: [{ role: "user", parts: [{ text }] }] });
  return { method: "POST", headers: { "content-type": "application/json" }, body };
}

export const wranglerToml = readFileSync(new URL("../wrangler.toml", import.meta.url), "utf8");

/** The built Worker with a KV namespace that counts its calls. */
const COUNTING = `
import { WorkerEntrypoint } from "cloudflare:workers";
import Built from "./index.js";
export { TurnRegister } from "./index.js";
const counts = { get: 0, put: 0, list: 0, delete: 0 };
const counted = (kv) => Object.fromEntries(["get", "getWithMetadata", "put", "list", "delete"].map((name) => [
  name,
  (...args) => { counts[name === "getWithMetadata" ? "get" : name] += 1; return kv[name](...args); },
]));
export default class extends WorkerEntrypoint {
  fetch(request) {
    if (new URL(request.url).pathname === "/__counts") return Response.json(counts);
    const env = { ...this.env, GEMINI_CREDS_KV: counted(this.env.GEMINI_CREDS_KV) };
    return Built.prototype.fetch.call({ env, ctx: this.ctx }, request);
  }
}
`;

/** The built Worker, which also passes requests on to its lock objects, and to the usage object. */
export const LOCKS = `
import { WorkerEntrypoint } from "cloudflare:workers";
import Built from "./index.js";
export { TurnRegister } from "./index.js";
export default class extends WorkerEntrypoint {
  async fetch(request) {
    const [, kind, key] = new URL(request.url).pathname.match(/^\\/__(lock|usage)\\/(.*)$/) ?? [];
    if (!key) return Built.prototype.fetch.call({ env: this.env, ctx: this.ctx }, request);
    const object = this.env.TURN_REGISTER.getByName(key);
    const url = kind === "usage" ? "https://usage-object/usage" : "https://lock-object/";
    return object.fetch(url, { method: "POST", body: await request.text() });
  }
}
`;

/** Calls the lock object of a key by way of an isolate that runs `LOCKS`. */
export function lockObject(origin) {
  return async (key, call) => {
    const response = await fetch(`${origin}/__lock/${key}`, { method: "POST", body: JSON.stringify(call) });
    if (!response.ok) throw new Error(await response.text());
    return response.json();
  };
}

/** Calls the usage object by way of an isolate that runs `LOCKS`. */
export function usageObject(origin) {
  return async (call) => {
    const response = await fetch(`${origin}/__usage/usage`, { method: "POST", body: JSON.stringify(call) });
    if (!response.ok) throw new Error(await response.text());
    return response.json();
  };
}
