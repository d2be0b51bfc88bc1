// @google/genai, unmodified: what Code Assist does not have.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GoogleGenAI } from '@google/genai';
import { CLIENT_KEY, Relay, bounded } from './emulated.mjs';

const relay = await Relay.start();
const ai = new GoogleGenAI({ apiKey: CLIENT_KEY, httpOptions: { baseUrl: relay.url } });

test('what Code Assist does not offer is said plainly', bounded, async () => {
  const asked = { model: 'gemini-embedding-001', contents: 'hello' };
  await assert.rejects(ai.models.embedContent(asked), { status: 404 });
});
