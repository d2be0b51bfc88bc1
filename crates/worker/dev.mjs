// Runs the built Worker under workerd, for `cargo xtask worker dev`: settings come from the
// environment, KV and the lock objects are kept on disk, cron runs every minute, and calls to loopback
// are allowed.
//
// usage: node dev.mjs [--host ADDRESS] [--port N] [--state DIR]
// Prints `listening on http://HOST:PORT`, then the log lines of the Worker. Ends on SIGTERM and SIGINT.

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { Log, LogLevel, Miniflare, supportedCompatibilityDate } from "miniflare";

const here = (name) => fileURLToPath(new URL(name, import.meta.url));

/** The date and the flags of `wrangler.toml`. The date is lowered to the newest that this workerd has. */
function runtime() {
  const toml = readFileSync(here("wrangler.toml"), "utf8");
  const [, date] = toml.match(/^compatibility_date = "([\d-]+)"/m);
  const [, flags] = toml.match(/^compatibility_flags = (\[.*\])/m);
  const compatibilityDate = date < supportedCompatibilityDate ? date : supportedCompatibilityDate;
  return { compatibilityDate, compatibilityFlags: JSON.parse(flags) };
}

/** The settings in the environment, under the names of `.dev.vars.example`. */
export function settings() {
  const example = readFileSync(here(".dev.vars.example"), "utf8");
  const names = Array.from(example.matchAll(/^# ?([A-Z][A-Z0-9_]*)=/gm), ([, name]) => name);
  return Object.fromEntries(names.filter((name) => process.env[name]).map((name) => [name, process.env[name]]));
}

export function options({ bindings, host, port, state }) {
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
    durableObjects: { TURN_REGISTER: { className: "TurnRegister", useSQLite: true } },
    defaultPersistRoot: state,
    // Clients reach the Worker directly instead of through miniflare's gateway.
    unsafeDirectSockets: [{ host, port }],
    // Without a look-up of this machine's location.
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
  const startedAt = performance.now();
  const miniflare = new Miniflare(options({ bindings: settings(), host, port: Number(values.port), state }));
  await miniflare.ready;
  const { origin } = await miniflare.unsafeGetDirectURL();
  console.log(`listening on ${origin}`);
  console.log(`  started in ${Math.round(performance.now() - startedAt)} ms; KV in ${state}`);

  const worker = await miniflare.getWorker();
  const cron = setInterval(() => worker.scheduled({ cron: "* * * * *" }).catch(() => {}), 60_000);
  endOnSignal(async () => {
    clearInterval(cron);
    await miniflare.dispose();
  });
}

/** Stops on a signal and exits with 0. Miniflare's own hook would exit with an error. */
export function endOnSignal(stop) {
  let ending;
  for (const signal of ["SIGINT", "SIGTERM"]) {
    process.removeAllListeners(signal);
    process.on(signal, () => (ending ??= stop().then(() => process.exit(0))));
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
