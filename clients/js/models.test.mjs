// @google/genai, unmodified: the list of models.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GoogleGenAI } from '@google/genai';
import { CLIENT_KEY, Relay, bounded, collected } from './emulated.mjs';

const FLASH = 'gemini-2.5-flash';

const relay = await Relay.start();
const ai = new GoogleGenAI({ apiKey: CLIENT_KEY, httpOptions: { baseUrl: relay.url } });

test('models are listed page by page', bounded, async () => {
  const names = async (config) =>
    (await collected(await ai.models.list({ config }))).map((model) => model.name);
  const whole = await names({});
  assert.deepEqual(await names({ pageSize: 2 }), whole);
  assert.ok(whole.length > 2);
  assert.equal(new Set(whole).size, whole.length);
  assert.ok(whole.includes(`models/${FLASH}`));
});

test('a model is described', bounded, async () => {
  const model = await ai.models.get({ model: FLASH });
  assert.equal(model.name, `models/${FLASH}`);
  assert.ok(model.inputTokenLimit > 0);
  assert.ok(model.outputTokenLimit > 0);
  assert.ok(model.supportedActions.includes('generateContent'));
});

test('an unknown model is not described', bounded, async () => {
  await assert.rejects(ai.models.get({ model: 'gemini-that-never-was' }), { status: 404 });
});
