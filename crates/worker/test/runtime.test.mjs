// Tests of the JavaScript side alone, with streams and a `fetch` of the test's own.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { event, installCallbacks } from "../src/runtime.js";

const MORE = 0, FAILED = 2;
const ENOUGH = 1;
const HEAD = "POST\nhttps://upstream.test/upload\nx-a\nb\n";

// Streams of the runtime, whose writes end when the other side has read them.
const pipe = (length) => {
  let sent = 0;
  const transform = (chunk, controller) => {
    sent += chunk.length;
    controller.enqueue(chunk);
  };
  const flush = () => {
    if (length !== undefined && sent !== length) throw new TypeError("not the announced length");
  };
  return new TransformStream({ transform, flush }, { highWaterMark: 0 }, { highWaterMark: 0 });
};
let announced, delivered, heads;
globalThis.IdentityTransformStream = function () {
  announced = undefined;
  return pipe();
};
globalThis.FixedLengthStream = function (length) {
  announced = length;
  return pipe(length);
};

beforeEach(() => {
  announced = undefined;
  delivered = [];
  heads = [];
  installCallbacks(
    (_task, completion, kind, _clock, bytes) => {
      delivered.push([completion, kind, bytes.length]);
      return ENOUGH;
    },
    (_task, completion, _clock, head) => {
      heads.push([completion, head]);
      return ENOUGH;
    },
  );
});

const settled = () => new Promise((resolve) => setImmediate(resolve));

// An upload to an upstream that the test plays. `answer` ends the call.
const upload = (length) => {
  const call = {};
  globalThis.fetch = (url, init) => {
    Object.assign(call, { url, init, body: init.body.getReader() });
    return new Promise((resolve, reject) => {
      call.answer = (status) => resolve(new Response(null, { status }));
      init.signal.addEventListener("abort", () => reject(init.signal.reason));
    });
  };
  const at = event(7, undefined, {});
  at.sendStreamed(1, 2, HEAD, length, false);
  return { at, call };
};

test("an upload waits with each chunk until upstream has taken the one before", async () => {
  const { at, call } = upload(6);
  assert.equal(announced, 6);
  assert.equal(call.url, "https://upstream.test/upload");
  assert.deepEqual(call.init.headers, { "x-a": "b" });
  at.writeUpload(2, Uint8Array.of(1, 2, 3));
  await settled();
  assert.deepEqual(delivered, [], "upstream has read nothing");
  assert.deepEqual([...(await call.body.read()).value], [1, 2, 3]);
  await settled();
  assert.deepEqual(delivered, [[2, MORE, 1]]);
  at.writeUpload(2, Uint8Array.of(4, 5, 6));
  assert.deepEqual([...(await call.body.read()).value], [4, 5, 6]);
  at.endUpload();
  assert.equal((await call.body.read()).done, true);
  call.answer(200);
  await settled();
  assert.deepEqual(heads, [[1, "200\n0\n"]]);
});

test("an upload of unknown length has no length", async () => {
  const { at, call } = upload(-1);
  assert.equal(announced, undefined);
  at.endUpload();
  assert.equal((await call.body.read()).done, true);
});

test("an answer may come before an upload has ended", async () => {
  const { at, call } = upload(6);
  at.writeUpload(2, Uint8Array.of(1, 2, 3));
  call.answer(413);
  await settled();
  assert.deepEqual(heads, [[1, "413\n0\n"]]);
});

test("an upload that upstream cancels is reported", async () => {
  const { at, call } = upload(6);
  await call.body.cancel(new Error("enough"));
  at.writeUpload(2, Uint8Array.of(1, 2, 3));
  await settled();
  assert.deepEqual(delivered.map(([completion, kind]) => [completion, kind]), [[2, FAILED]]);
});

test("a cancelled upload aborts the call, and its body has no end", async () => {
  const { at, call } = upload(6);
  at.writeUpload(2, Uint8Array.of(1, 2, 3));
  await call.body.read();
  at.cancel(1);
  await settled();
  assert.ok(call.init.signal.aborted);
  const isOver = await Promise.race([call.body.read().then(() => true), settled().then(() => false)]);
  assert.equal(isOver, false);
});
