// Tests of keys with budgets: the usage object, and isolates that count together.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, test } from "node:test";
import { LOCKS, isolates, usageObject } from "./world.mjs";

const running = [];
/** Has a resource stopped when its test is over. */
const using = async (started) => {
  const resource = await started;
  running.push(resource);
  return resource;
};
afterEach(async () => {
  while (running.length) await running.pop().stop();
});

const folder = () => {
  const path = mkdtempSync(join(tmpdir(), "worker-usage-"));
  running.unshift({ stop: () => rmSync(path, { recursive: true, force: true }) });
  return path;
};
const today = () => new Date().toISOString().slice(0, 10);
const withLocks = { before: { "locks.js": LOCKS } };
const nothing = [0, 0, 0];
/** A request for ten tokens of a hundred a day. */
const reserve = (process, own = nothing, limits = [null, 100, null, null, null]) => ({
  Reserve: { process, key: "ada", limits, estimate: [10, 0, 1], own, day: today() },
});
const add = (process, number, tokens, reserved = []) => ({
  Add: { process, number, rows: [[today(), "ada", "gemini-2.5-flash", [1, tokens, 0, 0, 0, 3 * tokens]]], reserved },
});
const usage = (key = null) => ({ Usage: { since: "2000-01-01", until: "2999-12-31", key } });

test("the usage object grants ten of thirty concurrent requests of thirty isolates", async () => {
  const { origins: [origin] } = await using(isolates(1, {}, withLocks));
  const object = usageObject(origin);
  const answers = await Promise.all(Array.from({ length: 30 }, (_, n) => object(reserve(n + 1))));
  assert.equal(answers.filter(({ granted }) => granted).length, 10);
  assert.deepEqual((await object(reserve(31))).reserved, [100, 0, 10]);
});

test("the usage object adds a batch once and lists its rows by key", async () => {
  const { origins: [origin] } = await using(isolates(1, {}, withLocks));
  const object = usageObject(origin);
  for (const [process, number] of [[1, 1], [1, 1], [2, 1], [1, 2], [1, 1]]) await object(add(process, number, 5));
  const rows = [[today(), "ada", "gemini-2.5-flash", [3, 15, 0, 0, 0, 45]]];
  assert.deepEqual(await object(usage()), rows);
  assert.deepEqual(await object(usage("ada")), rows);
  assert.deepEqual(await object(usage("bob")), []);
  assert.deepEqual((await object(reserve(3))).used, [15, 15, 15, 45]);
});

test("a restart of the runtime keeps usage, the last minute and the batches, and forgets reservations", async () => {
  const kept = folder();
  const first = await isolates(1, {}, { ...withLocks, kept });
  const before = usageObject(first.origins[0]);
  await before(add(1, 7, 30, [["ada", [50, 0, 5]]]));
  assert.deepEqual((await before(reserve(2))).reserved, [50, 0, 5]);
  await first.stop();
  const { origins: [origin] } = await using(isolates(1, {}, { ...withLocks, kept }));
  const object = usageObject(origin);
  await object(add(1, 7, 30));
  const standing = await object(reserve(2));
  assert.deepEqual(standing.used, [30, 30, 30, 90]);
  assert.deepEqual(standing.reserved, nothing);
  assert.ok(standing.minute_frees_in > 0 && standing.minute_frees_in <= 61_000, `${standing.minute_frees_in}`);
});

test("the usage object lists and removes days of several years", async () => {
  const { origins: [origin] } = await using(isolates(1, {}, withLocks));
  const object = usageObject(origin);
  const day = (n) => new Date(Date.UTC(2024, 0, 1 + 10 * n)).toISOString().slice(0, 10);
  const rows = Array.from({ length: 100 }, (_, n) => [day(n), "ada", "m", [1, 1, 0, 0, 0, 0]]);
  await object({ Add: { process: 1, number: 1, rows, reserved: [] } });
  assert.deepEqual((await object(usage())).map(([day]) => day), rows.map(([day]) => day));
  await object({ Remove: { before: day(60) } });
  assert.deepEqual((await object(usage())).map(([day]) => day), rows.slice(60).map(([day]) => day));
  assert.deepEqual(await object({ Usage: { since: day(70), until: day(71), key: null } }), rows.slice(70, 72));
  assert.deepEqual(await object({ Usage: { since: day(71), until: day(70), key: null } }), []);
});
