// Runs the Worker in front of the emulator, for the tests of clients. It prints both addresses as
// `code-assist-proxy serve --emulator` does, and ends on SIGTERM as that does. The argument is the provider,
// other settings come from the environment.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Miniflare } from "miniflare";
import { endOnSignal, options, settings } from "../dev.mjs";
import { google } from "./world.mjs";

const upstream = await google("--provider", process.argv[2]);
const state = mkdtempSync(join(tmpdir(), "worker-clients-"));
const bindings = { ...settings(), ...upstream.env };
const worker = new Miniflare(options({ bindings, host: "127.0.0.1", port: 0, state }));
await worker.ready;
console.log(`listening on ${(await worker.unsafeGetDirectURL()).origin}`);
console.log(`emulator on ${upstream.base}`);

endOnSignal(async () => {
  await worker.dispose();
  upstream.stop();
  rmSync(state, { recursive: true, force: true });
});
