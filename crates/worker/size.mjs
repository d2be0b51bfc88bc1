// Prints the size of the built Worker. It fails above 1.5 MiB, compressed as Cloudflare counts it, half
// of what the free plan allows. The budget of `test/costs.test.mjs` is lower.

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

/** Sizes in bytes. `packed` is the compressed size of both files together. */
export function sizes() {
  const [js, wasm] = ["index.js", "index_bg.wasm"].map((name) => readFileSync(new URL(`build/${name}`, import.meta.url)));
  const packed = gzipSync(Buffer.concat([js, wasm]), { level: 9 }).length;
  return { js: js.length, wasm: wasm.length, packed };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { js, wasm, packed } = sizes();
  const kib = (bytes) => `${Math.round(bytes / 1024)} KiB`;
  console.log(`    ${kib(wasm)} of wasm and ${kib(js)} of JavaScript, ${kib(packed)} compressed`);
  if (packed > 1.5 * 1024 * 1024) {
    console.log("    that is more than 1.5 MiB");
    process.exit(1);
  }
}
