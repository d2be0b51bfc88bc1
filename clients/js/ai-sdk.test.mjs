// Vercel's AI SDK, unmodified, in Vertex mode with an API key.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createVertex } from '@ai-sdk/google-vertex';
import { APICallError, generateText, stepCountIs, streamText, tool } from 'ai';
import { z } from 'zod';
import { CLIENT_KEY, CLIENT_PROJECT, Relay, bounded, collected } from './emulated.mjs';

const FLASH = 'gemini-2.5-flash';
const SIGNING = 'gemini-3-pro-preview';

const relay = await Relay.start();

const places = {
  'in express mode': 'v1/publishers/google',
  'in a project': `v1beta1/projects/${CLIENT_PROJECT}/locations/us/publishers/google`,
};
for (const [how, place] of Object.entries(places)) {
  const vertex = createVertex({ apiKey: CLIENT_KEY, baseURL: `${relay.url}/${place}` });

  test(`a prompt is answered, whole and streamed, ${how}`, bounded, async () => {
    const asked = { model: vertex(FLASH), prompt: 'Say pomegranate', maxRetries: 0 };
    const { text, finishReason } = await generateText(asked);
    assert.match(text, /pomegranate/);
    assert.equal(finishReason, 'stop');
    const { textStream } = streamText(asked);
    assert.equal((await collected(textStream)).join(''), text);
  });
}

const vertex = createVertex({
  apiKey: CLIENT_KEY,
  baseURL: `${relay.url}/v1beta1/publishers/google`,
});

test('a tool is called and signatures come back', bounded, async () => {
  const lookup_weather = tool({
    description: 'Tells the weather of a city.',
    inputSchema: z.object({ city: z.string() }),
    execute: async () => ({ sky: 'vermilion' }),
  });
  const { steps, text } = await generateText({
    model: vertex(SIGNING),
    prompt: 'What is the weather in Paris?',
    tools: { lookup_weather },
    stopWhen: stepCountIs(3),
    maxRetries: 0,
  });
  assert.equal(steps[0].toolCalls.length, 1);
  assert.match(text, /vermilion/);
});

test('an error is raised with its status', bounded, async () => {
  const unknown = { model: vertex('gemini-that-never-was'), prompt: 'hello', maxRetries: 0 };
  await assert.rejects(generateText(unknown), (error) => {
    assert.ok(APICallError.isInstance(error));
    assert.equal(error.statusCode, 404);
    return true;
  });
});
