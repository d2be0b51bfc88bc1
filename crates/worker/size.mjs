// How large the built Worker is. More than a mebibyte, compressed as Cloudflare counts it, is a
// failure: the free plan allows three.

import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

const files = ["index.js", "index_bg.wasm"].map((name) => readFileSync(new URL(`build/${name}`, import.meta.url)));
const packed = gzipSync(Buffer.concat(files), { level: 9 }).length;
const kib = (bytes) => `${Math.round(bytes / 1024)} KiB`;

console.log(`    ${kib(files[1].length)} of wasm and ${kib(files[0].length)} of JavaScript, ${kib(packed)} compressed`);
if (packed > 1024 * 1024) {
  console.log("    that is more than 1 MiB");
  process.exit(1);
}
