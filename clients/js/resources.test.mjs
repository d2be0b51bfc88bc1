// @google/genai, unmodified, with what the Gemini API has besides models: files, caches, batches,
// embeddings, interactions. The proxy copies all of it.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { GoogleGenAI, JobState } from '@google/genai';
import { CLIENT_KEY, Relay, arrived, bounded, collected } from './emulated.mjs';

const FLASH = 'gemini-2.5-flash';
const MIB = 1024 * 1024;

const relay = await Relay.start();
const ai = new GoogleGenAI({ apiKey: CLIENT_KEY, httpOptions: { baseUrl: relay.url } });

test('contents are embedded', bounded, async () => {
  const response = await ai.models.embedContent({
    model: 'gemini-embedding-001',
    contents: ['pomegranate', 'plum'],
    config: { outputDimensionality: 128 },
  });
  assert.deepEqual(response.embeddings.map(({ values }) => values.length), [128, 128]);
});

test('a file goes up in chunks and is used, listed and deleted', bounded, async () => {
  // The SDK sends chunks of 8 MiB.
  const content = Buffer.alloc(9 * MIB + 3, 'pomegranate');
  const file = new Blob([content], { type: 'text/plain' });
  const uploaded = await ai.files.upload({ file, config: { displayName: 'A pomegranate' } });
  const digest = createHash('sha256').update(content).digest('base64');
  assert.equal(uploaded.sha256Hash, digest);
  const steps = (await arrived('upload')).map(({ headers }) => headers['x-goog-upload-command']);
  assert.deepEqual(steps, ['start', 'upload', 'upload, finalize']);

  const described = await ai.files.get({ name: uploaded.name });
  assert.equal(described.displayName, 'A pomegranate');
  // Google's own address: it is what `fileData` needs.
  assert.equal(described.uri, uploaded.uri);
  assert.ok(!described.uri.startsWith(relay.url));
  const names = (await collected(await ai.files.list())).map(({ name }) => name);
  assert.ok(names.includes(uploaded.name));

  const { uri, mimeType } = described;
  const parts = [{ text: 'Say plum' }, { fileData: { fileUri: uri, mimeType } }];
  const asked = { model: FLASH, contents: [{ role: 'user', parts }] };
  assert.match((await ai.models.generateContent(asked)).text, /plum/);

  await ai.files.delete({ name: uploaded.name });
  await assert.rejects(ai.files.get({ name: uploaded.name }), { status: 403 });
});

test('a cache is made, used, changed, listed and deleted', bounded, async () => {
  const cache = await ai.caches.create({
    model: FLASH,
    config: { contents: 'pomegranate '.repeat(5000), ttl: '600s', displayName: 'A garden' },
  });
  const config = { cachedContent: cache.name };
  const asked = { model: FLASH, contents: 'Say pomegranate', config };
  assert.match((await ai.models.generateContent(asked)).text, /pomegranate/);
  const { name } = cache;
  const updated = await ai.caches.update({ name, config: { ttl: '1200s' } });
  assert.ok(updated.expireTime > cache.expireTime);
  const listed = await collected(await ai.caches.list());
  assert.ok(listed.some((one) => one.name === name));
  await ai.caches.delete({ name });
  await assert.rejects(ai.caches.get({ name }));
});

test('a batch is made and finished', bounded, async () => {
  const src = [{ contents: [{ role: 'user', parts: [{ text: 'Say pomegranate' }] }] }];
  const { name } = await ai.batches.create({ model: FLASH, src, config: { displayName: 'One' } });
  let batch;
  for (let polls = 0; polls < 5 && batch?.state !== JobState.JOB_STATE_SUCCEEDED; polls += 1) {
    batch = await ai.batches.get({ name });
  }
  assert.match(JSON.stringify(batch.dest.inlinedResponses), /pomegranate/);
  await ai.batches.delete({ name });
});

test('an interaction is made, streamed, fetched and deleted', bounded, async () => {
  const made = await ai.interactions.create({ model: FLASH, input: 'Say pomegranate' });
  assert.equal(made.status, 'completed');
  assert.match(JSON.stringify(made), /pomegranate/);
  assert.equal((await ai.interactions.get(made.id)).id, made.id);
  const asked = { model: FLASH, input: 'Say plum', stream: true };
  const events = await collected(await ai.interactions.create(asked));
  assert.equal(events.at(0).event_type, 'interaction.created');
  assert.equal(events.at(-1).event_type, 'interaction.completed');
  assert.match(JSON.stringify(events), /plum/);
  await ai.interactions.delete(made.id);
  // A third one would be paid for.
  assert.equal((await arrived('interactions.create')).length, 2);
});
