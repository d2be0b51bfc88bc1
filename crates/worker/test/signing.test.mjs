// Tests of the signature of a service account. They need no Worker: the runtime's WebCrypto is Node's too.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { event, installCallbacks } from "../src/runtime.js";

const ENDED = 1, FAILED = 2;
const testkit = new URL("../../testkit/src/rsa/", import.meta.url);
const base64 = (name) => Buffer.from(readFileSync(new URL(name, testkit), "ascii"), "base64");
const KEY = new Uint8Array(base64("key.txt"));
const SIGNATURE = base64("signature.txt");

/** Has something signed, and resolves with the kind and the bytes that the shell gets. */
const sign = (digest, key, text) =>
  new Promise((resolve) => {
    installCallbacks((_task, _completion, kind, _clock, bytes) => resolve([kind, Buffer.from(bytes)]));
    event(1, undefined, undefined).sign(1, digest, key, new TextEncoder().encode(text));
  });

test("a known key gives the signature that the native build gives", async () => {
  assert.deepEqual(await sign("one", KEY, "header.claims"), [ENDED, SIGNATURE]);
});

test("a key is made once for all events of an isolate", async (context) => {
  const made = context.mock.method(crypto.subtle, "importKey");
  for (let n = 0; n < 3; n++) assert.deepEqual(await sign("two", KEY, "header.claims"), [ENDED, SIGNATURE]);
  assert.equal(made.mock.callCount(), 1);
});

test("what is no key is an error that concerns the key, and is not kept", async () => {
  const [kind, text] = await sign("three", new Uint8Array([0x30, 0]), "header.claims");
  assert.equal(kind, FAILED);
  assert.match(String(text), /^key: /);
  assert.deepEqual(await sign("three", KEY, "header.claims"), [ENDED, SIGNATURE]);
});
