// Starts and stops Workers on lines of JSON, for the conformance suite (host.rs):
//   in   {"id":1,"start":{"settings":{..},"state":"FOLDER"}}   {"id":1,"stop":true}
//   out  {"id":1,"address":"127.0.0.1:PORT"}  {"id":1,"line":".."}  {"id":1,"stopped":true}
//        {"id":1,"failed":".."}
// Ends with its standard input, and all Workers with it.
import { createInterface } from "node:readline";
import { serve } from "../../../worker/local.mjs";

const running = new Map();
const tell = (message) => process.stdout.write(`${JSON.stringify(message)}\n`);

async function start(id, { settings, state }) {
  const worker = serve({ port: 0, state, settings, log: (line) => tell({ id, line }) });
  running.set(id, worker);
  try {
    const { address } = await worker;
    tell({ id, address });
  } catch (why) {
    running.delete(id);
    tell({ id, failed: String(why?.stack ?? why) });
  }
}

async function stop(id) {
  const worker = running.get(id);
  running.delete(id);
  try {
    await (await worker)?.stop();
  } finally {
    tell({ id, stopped: true });
  }
}

const lines = createInterface({ input: process.stdin });
lines.on("line", (line) => {
  const { id, start: how } = JSON.parse(line);
  if (how) start(id, how);
  else stop(id).catch((why) => tell({ id, failed: String(why) }));
});
lines.on("close", async () => {
  await Promise.allSettled([...running.keys()].map(stop));
  process.exit(0);
});
