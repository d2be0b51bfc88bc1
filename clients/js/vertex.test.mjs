// @google/genai, unmodified, in Vertex mode: with a project and a token of its own, and with an API
// key alone (express mode).

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GoogleGenAI } from '@google/genai';
import {
  CLIENT_KEY,
  CLIENT_PROJECT,
  CLIENT_TOKEN,
  Relay,
  UPSTREAM,
  VERTEX_PLACE,
  arrived,
  bounded,
  collected,
  providerOf,
} from './emulated.mjs';

const FLASH = 'gemini-2.5-flash';
const SIGNING = 'gemini-3-pro-preview';
const SLOWLY = 'Say pomegranate, and say it slowly, in several pieces, one after the other';

const relay = await Relay.start();
const httpOptions = { baseUrl: relay.url };

// Stands for the Google login of the client's machine.
const authClient = {
  getRequestHeaders: async () =>
    new Headers({
      authorization: `Bearer ${CLIENT_TOKEN}`,
      'x-goog-user-project': CLIENT_PROJECT,
    }),
};
const inProject = new GoogleGenAI({
  vertexai: true,
  project: CLIENT_PROJECT,
  location: 'us-central1',
  googleAuthOptions: { authClient },
  httpOptions,
});
const express = new GoogleGenAI({ vertexai: true, apiKey: CLIENT_KEY, httpOptions });

for (const [how, ai] of Object.entries({ 'in a project': inProject, 'in express mode': express })) {
  test(`a prompt is answered, ${how}`, bounded, async () => {
    const asked = { model: FLASH, contents: 'Say pomegranate' };
    assert.match((await ai.models.generateContent(asked)).text, /pomegranate/);
    const [request] = await arrived('generateContent');
    if (providerOf(request.path) === 'vertex') {
      const path = `/v1beta1/${VERTEX_PLACE}/publishers/google/models/${FLASH}:generateContent`;
      assert.equal(request.path, path);
      assert.ok(relay.hasSent(Buffer.from(request.body)));
    }
  });

  test(`a stream is the same text in several chunks, ${how}`, bounded, async () => {
    const asked = { model: FLASH, contents: SLOWLY };
    const whole = (await ai.models.generateContent(asked)).text;
    const chunks = await collected(await ai.models.generateContentStream(asked));
    const texts = chunks.map((chunk) => chunk.text).filter(Boolean);
    assert.ok(texts.length > 1, `${texts.length} chunks`);
    assert.equal(texts.join(''), whole);
  });

  test(`functions are called and signatures come back, ${how}`, bounded, async () => {
    const config = { tools: [{ functionDeclarations: [{ name: 'lookup_weather' }] }] };
    const chat = ai.chats.create({ model: SIGNING, config });
    const { functionCalls } = await chat.sendMessage({ message: 'What is the weather?' });
    const [{ id, name }] = functionCalls;
    const functionResponse = { id, name, response: { sky: 'vermilion' } };
    const answer = await chat.sendMessage({ message: [{ functionResponse }] });
    assert.match(answer.text, /vermilion/);
  });

  test(`tokens are counted, ${how}`, bounded, async () => {
    const count = async (contents) =>
      (await ai.models.countTokens({ model: FLASH, contents })).totalTokens;
    const [few, many] = [await count('pomegranate'), await count('pomegranate '.repeat(50))];
    assert.ok(0 < few && few < many, `${few} ${many}`);
  });

  test(`an unknown model is not found, ${how}`, bounded, async () => {
    const asked = { model: 'gemini-that-never-was', contents: 'hello' };
    await assert.rejects(ai.models.generateContent(asked), { status: 404 });
    await assert.rejects(ai.models.generateContentStream(asked), { status: 404 });
  });
}

test('a key beside a project is replaced too', bounded, async () => {
  const both = new GoogleGenAI({
    vertexai: true,
    project: CLIENT_PROJECT,
    location: 'us-central1',
    apiKey: CLIENT_KEY,
    httpOptions,
  });
  const asked = { model: FLASH, contents: 'Say plum' };
  assert.match((await both.models.generateContent(asked)).text, /plum/);
});

const isAt = (name) => ({ ...bounded, skip: UPSTREAM !== name && `concerns ${name}` });

test('what only Vertex AI has is dropped or refused', isAt('gemini-api'), async () => {
  const ask = (config) =>
    inProject.models.generateContent({ model: FLASH, contents: 'Say plum', config });
  // A protection is never dropped.
  const modelArmorConfig = { promptTemplateName: 'projects/x/locations/y/templates/z' };
  await assert.rejects(ask({ modelArmorConfig }), (error) => {
    assert.equal(error.status, 400);
    assert.match(error.message, /modelArmorConfig/);
    return true;
  });
  assert.deepEqual(await arrived(), []);
});
