// Runs the built Worker under workerd, as `cargo xtask worker dev` does: settings from the
// environment, KV and the register kept on disk, cron every minute, calls to loopback allowed.
//
// usage: node dev.mjs [--host ADDRESS] [--port N] [--state DIR]
// Prints `listening on http://HOST:PORT`, then what the Worker logs. Ends on SIGTERM and on SIGINT.

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { Log, LogLevel, Miniflare, supportedCompatibilityDate } from "miniflare";

const here = (name) => fileURLToPath(new URL(name, import.meta.url));

/** What `wrangler.toml` says of the runtime. This workerd may be older than the date asked for. */
function runtime() {
  const toml = readFileSync(here("wrangler.toml"), "utf8");
  const [, date] = toml.match(/^compatibility_date = "([\d-]+)"/m);
  const [, flags] = toml.match(/^compatibility_flags = (\[.*\])/m);
  const compatibilityDate = date < supportedCompatibilityDate ? date : supportedCompatibilityDate;
  return { compatibilityDate, compatibilityFlags: JSON.parse(flags) };
}

/** The settings that the environment has, under the names that `.dev.vars.example` lists. */
function settings() {
  const example = readFileSync(here(".dev.vars.example"), "utf8");
  const names = Array.from(example.matchAll(/^# ?([A-Z][A-Z0-9_]*)=/gm), ([, name]) => name);
  return Object.fromEntries(names.filter((name) => process.env[name]).map((name) => [name, process.env[name]]));
}

export function options({ bindings, host, port, state, register = true }) {
  return {
    ...runtime(),
    name: "code-assist-proxy",
    modules: [
      { type: "ESModule", path: here("build/index.js") },
      { type: "CompiledWasm", path: here("build/index_bg.wasm") },
    ],
    modulesRoot: here("build"),
    bindings,
    kvNamespaces: ["GEMINI_CREDS_KV"],
    durableObjects: register ? { TURN_REGISTER: { className: "TurnRegister", useSQLite: true } } : {},
    defaultPersistRoot: state,
    // Clients reach the Worker itself, and not a gateway of the simulator's before it.
    unsafeDirectSockets: [{ host, port }],
    // No look-up of where in the world this is.
    cf: false,
    log: new Log(LogLevel.WARN),
    handleRuntimeStdio(stdout, stderr) {
      stdout.pipe(process.stdout);
      stderr.pipe(process.stderr);
    },
  };
}

async function main() {
  const { values } = parseArgs({
    options: {
      host: { type: "string", default: "127.0.0.1" },
      port: { type: "string", default: process.env.PORT || "8787" },
      state: { type: "string", default: here(".state") },
    },
  });
  const { host, state } = values;
  const began = performance.now();
  const miniflare = new Miniflare(options({ bindings: settings(), host, port: Number(values.port), state }));
  await miniflare.ready;
  const { origin } = await miniflare.unsafeGetDirectURL();
  console.log(`listening on ${origin}`);
  console.log(`  started in ${Math.round(performance.now() - began)} ms; KV in ${state}`);

  const worker = await miniflare.getWorker();
  const cron = setInterval(() => worker.scheduled({ cron: "* * * * *" }).catch(() => {}), 60_000);
  endOnSignal(async () => {
    clearInterval(cron);
    await miniflare.dispose();
  });
}

/** Tidies up and ends well when it is told to stop. Miniflare's own hook would end with an error. */
export function endOnSignal(tidy) {
  let ending;
  for (const signal of ["SIGINT", "SIGTERM"]) {
    process.removeAllListeners(signal);
    process.on(signal, () => (ending ??= tidy().then(() => process.exit(0))));
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
