// A key that the proxy does not know: one request, however often a client would repeat it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import Anthropic from '@anthropic-ai/sdk';
import { createAnthropic } from '@ai-sdk/anthropic';
import { generateText } from 'ai';
import OpenAI from 'openai';
import { CLIENT_KEY, Relay, bounded } from '../emulated.mjs';
import { FLASH, arrived } from './scripted.mjs';

const relay = await Relay.start({ copied: false });
const messages = [{ role: 'user', content: 'Say pomegranate' }];
const baseURL = `${relay.url}/v1`;

test("an unknown key is refused once by OpenAI's SDK", bounded, async () => {
  const ai = new OpenAI({ apiKey: 'sk-unknown', baseURL });
  const asks = {
    '/v1/chat/completions': () => ai.chat.completions.create({ model: FLASH, messages }),
    '/v1/responses': () => ai.responses.create({ model: FLASH, input: 'Say pomegranate' }),
  };
  for (const [path, ask] of Object.entries(asks)) {
    relay.forget();
    await assert.rejects(ask, (error) => {
      assert.ok(error instanceof OpenAI.AuthenticationError);
      assert.equal(error.code, 'invalid_api_key');
      return true;
    });
    assert.deepEqual(relay.lines(), [`POST ${path}`]);
  }
  assert.deepEqual(await arrived(), []);
});

test("an unknown key is refused once by Anthropic's SDK", bounded, async () => {
  const ai = new Anthropic({ apiKey: 'sk-unknown', baseURL: relay.url });
  const asked = { model: FLASH, max_tokens: 1000, messages };
  await assert.rejects(ai.messages.create(asked), Anthropic.AuthenticationError);
  assert.deepEqual(relay.lines(), ['POST /v1/messages']);
  assert.deepEqual(await arrived(), []);
});

test("the proxy's key is taken from each SDK", bounded, async () => {
  const openai = new OpenAI({ apiKey: CLIENT_KEY, baseURL });
  assert.ok((await openai.chat.completions.create({ model: FLASH, messages })).choices.length);
  const asked = { model: FLASH, max_tokens: 1000, messages };
  for (const key of [{ apiKey: CLIENT_KEY }, { authToken: CLIENT_KEY }]) {
    const anthropic = new Anthropic({ ...key, baseURL: relay.url });
    assert.ok((await anthropic.messages.create(asked)).content.length);
  }
  // This one sends `x-api-key`.
  const model = createAnthropic({ apiKey: CLIENT_KEY, baseURL })(FLASH);
  assert.match((await generateText({ model, prompt: 'Say pomegranate' })).text, /pomegranate/);
});
