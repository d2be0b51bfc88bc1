// OpenAI's own SDK, unmodified, on the Gemini API's OpenAI-compatible endpoint, which the proxy copies.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import OpenAI from 'openai';
import { CLIENT_KEY, Relay, arrived, collected, control } from './emulated.mjs';

const FLASH = 'gemini-2.5-flash';
const LITE = 'gemini-2.5-flash-lite';

const relay = await Relay.start();
const ai = new OpenAI({
  apiKey: CLIENT_KEY,
  baseURL: `${relay.url}/v1beta/openai/`,
  maxRetries: 0,
});
const bounded = { timeout: 60_000 };
const messages = [{ role: 'user', content: 'Say pomegranate' }];

test('a chat is completed, whole and streamed', bounded, async () => {
  const whole = await ai.chat.completions.create({ model: FLASH, messages });
  const [{ finish_reason: reason, message }] = whole.choices;
  assert.match(message.content, /pomegranate/);
  assert.equal(reason, 'stop');
  assert.ok(whole.usage.total_tokens > 0);
  const asked = { model: FLASH, messages, stream: true, stream_options: { include_usage: true } };
  const chunks = await collected(await ai.chat.completions.create(asked));
  const texts = chunks.map((chunk) => chunk.choices[0]?.delta?.content).filter(Boolean);
  assert.ok(texts.length > 1);
  assert.equal(texts.join(''), message.content);
  assert.equal((await arrived('openai.chat')).length, 2);
});

test('contents are embedded', bounded, async () => {
  const input = ['pomegranate', 'plum'];
  const { data } = await ai.embeddings.create({ model: 'gemini-embedding-001', input });
  assert.equal(data.length, 2);
  assert.ok(data[0].embedding.length > 0);
});

test('models are listed and described', bounded, async () => {
  const ids = (await collected(await ai.models.list())).map(({ id }) => id);
  assert.ok(ids.includes(`models/${FLASH}`), `${ids}`);
  assert.equal((await ai.models.retrieve(FLASH)).object, 'model');
});

test('errors are raised with their status', bounded, async () => {
  const unknown = { model: 'gemini-that-never-was', messages };
  await assert.rejects(ai.chat.completions.create(unknown), { status: 404 });
  await control('script', { error: 'quota_per_minute', match: { rpc: 'openai.chat' } });
  const asked = { model: LITE, messages };
  await assert.rejects(ai.chat.completions.create(asked), OpenAI.RateLimitError);
  await control('script', { error: 'key_invalid', match: { rpc: 'openai.chat' } });
  await assert.rejects(ai.chat.completions.create(asked), { status: 503 });
});
