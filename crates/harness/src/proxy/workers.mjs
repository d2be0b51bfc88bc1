// Starts and stops Workers on lines of JSON, for worker_host.rs:
//   in   {"id":1,"start":{"settings":{..},"state":"FOLDER"}}   {"id":1,"stop":true}
//   out  {"id":1,"address":"127.0.0.1:PORT"}  {"id":1,"line":".."}  {"id":1,"stopped":true}
//        {"id":1,"failed":".."}
// Exits when its standard input ends, and ends all Workers then.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const dev = new URL("../../../worker/dev.mjs", import.meta.url);
const { options } = await import(dev);
// Miniflare is installed beside the Worker, not beside this file.
const { Miniflare } = createRequire(dev)("miniflare");

const running = new Map();
const report = (message) => process.stdout.write(`${JSON.stringify(message)}\n`);

async function start(id, { settings, state }) {
  const handleRuntimeStdio = (...outputs) => {
    for (const input of outputs) {
      createInterface({ input }).on("line", (line) => report({ id, line }));
    }
  };
  const given = options({ bindings: settings, host: "127.0.0.1", port: 0, state });
  try {
    const worker = new Miniflare({ ...given, handleRuntimeStdio });
    running.set(id, worker);
    await worker.ready;
    report({ id, address: (await worker.unsafeGetDirectURL()).host });
  } catch (why) {
    report({ id, failed: String(why?.stack ?? why) });
  }
}

async function stop(id) {
  const worker = running.get(id);
  running.delete(id);
  try {
    await worker?.dispose();
  } finally {
    report({ id, stopped: true });
  }
}

const lines = createInterface({ input: process.stdin });
lines.on("line", (line) => {
  const { id, start: how } = JSON.parse(line);
  if (how) start(id, how);
  else stop(id).catch((why) => report({ id, failed: String(why) }));
});
lines.on("close", async () => {
  await Promise.allSettled([...running.keys()].map(stop));
  process.exit(0);
});
