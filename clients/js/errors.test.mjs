// @google/genai, unmodified: what it raises when the provider refuses the operator, limits requests,
// or breaks off.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ApiError, GoogleGenAI } from '@google/genai';
import { CLIENT_KEY, Relay, UPSTREAM, bounded, control } from './emulated.mjs';

// Models of their own: the proxy remembers which model is out of quota.
const LITE = 'gemini-2.5-flash-lite';
const PRO = 'gemini-2.5-pro';

const REFUSALS = { 'gemini-api': 'key_invalid', vertex: 'token_unsupported' };
const LIMITS = { 'gemini-api': 'quota_per_minute', vertex: 'shared_quota' };
const BREAKS = { 'gemini-api': 'high_demand', vertex: 'shared_quota' };

const relay = await Relay.start();
const ai = new GoogleGenAI({ apiKey: CLIENT_KEY, httpOptions: { baseUrl: relay.url } });

async function bothReject(model, status, reason) {
  const asked = { model, contents: 'Say pomegranate' };
  for (const ask of ['generateContent', 'generateContentStream']) {
    await assert.rejects(ai.models[ask](asked), (error) => {
      assert.ok(error instanceof ApiError);
      assert.equal(error.status, status);
      assert.match(error.message, reason);
      return true;
    });
  }
}

test("a refused credential of the operator's is not shown as the client's", bounded, async () => {
  await control('script', { error: REFUSALS[UPSTREAM], times: 0, match: { model: LITE } });
  await bothReject(LITE, 503, /CREDENTIALS_REJECTED/);
});

test('a limit is 429', bounded, async () => {
  await control('script', { error: LIMITS[UPSTREAM], times: 0, match: { model: PRO } });
  await bothReject(PRO, 429, /RESOURCE_EXHAUSTED/);
});

test('a stream that breaks off with an error raises it', bounded, async () => {
  await control('script', {
    match: { rpc: 'streamGenerateContent' },
    keep_events: 1,
    tail_error: BREAKS[UPSTREAM],
  });
  const stream = await ai.models.generateContentStream({ model: LITE, contents: 'Say plum' });
  let chunks = 0;
  await assert.rejects(async () => {
    for await (const _ of stream) chunks += 1;
  });
  assert.equal(chunks, 1);
});
