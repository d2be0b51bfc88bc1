// Vercel's AI SDK, unmodified, with its providers of OpenAI's two APIs, of APIs like OpenAI's, and of
// Anthropic's.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createAnthropic } from '@ai-sdk/anthropic';
import { createOpenAI } from '@ai-sdk/openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { APICallError, Output, embedMany, generateText, stepCountIs, streamText, tool } from 'ai';
import { CLIENT_KEY, Relay, bounded, collected } from '../emulated.mjs';
import {
  EMBEDDING,
  FLASH,
  OUTPUT_TOKENS,
  PIXEL,
  PROMPT_TOKENS,
  QUESTION,
  Recipe,
  SIGNING,
  SLOWLY,
  TOOLS,
  arrived,
  breaksOff,
  callsTwoTools,
  checkJson,
  checkPicture,
  checkToolLoop,
  embeds,
  fails,
  perDay,
  saysHello,
} from './scripted.mjs';

const relay = await Relay.start({ copied: false });
const place = { apiKey: CLIENT_KEY, baseURL: `${relay.url}/v1` };
const openai = createOpenAI(place);
const compatible = createOpenAICompatible({
  ...place,
  name: 'proxy',
  includeUsage: true,
  supportsStructuredOutputs: true,
});
const anthropic = createAnthropic(place);

// `carried`: whether the provider itself brings thought signatures back.
const providers = {
  'Chat Completions': { model: (id) => openai.chat(id), carried: false },
  'Responses, with references to what came before': {
    model: (id) => openai.responses(id),
    carried: false,
  },
  'Responses, with encrypted reasoning': {
    model: (id) => openai.responses(id),
    // The model is not one whose reasoning the provider knows of.
    providerOptions: {
      openai: {
        store: false,
        include: ['reasoning.encrypted_content'],
        forceReasoning: true,
      },
    },
    carried: true,
  },
  'an API like Chat Completions': { model: (id) => compatible(id), carried: true },
  Messages: { model: (id) => anthropic(id), carried: false },
  'Messages, with thinking': {
    model: (id) => anthropic(id),
    providerOptions: { anthropic: { thinking: { type: 'enabled', budgetTokens: 1024 } } },
    carried: true,
  },
};

for (const [title, { model, providerOptions, carried }] of Object.entries(providers)) {
  const asked = (id, more) => ({ model: model(id), providerOptions, ...more });

  test(`a prompt is answered, whole and streamed, by ${title}`, bounded, async () => {
    const { text, finishReason } = await generateText(asked(FLASH, { prompt: SLOWLY }));
    assert.match(text, /pomegranate/);
    assert.equal(finishReason, 'stop');
    const pieces = await collected(streamText(asked(FLASH, { prompt: SLOWLY })).textStream);
    assert.ok(pieces.length > 1);
    assert.equal(pieces.join(''), text);
  });

  test(`usage is counted, whole and streamed, by ${title}`, bounded, async () => {
    await saysHello();
    const whole = await generateText(asked(FLASH, { prompt: 'Say hello' }));
    const streamed = streamText(asked(FLASH, { prompt: 'Say hello' }));
    assert.equal(await streamed.text, 'Hello');
    for (const { inputTokens, outputTokens } of [whole.usage, await streamed.usage]) {
      assert.deepEqual([inputTokens, outputTokens], [PROMPT_TOKENS, OUTPUT_TOKENS]);
    }
  });

  for (const streamed of [false, true]) {
    const how = streamed ? 'streamed' : 'whole';
    test(`two tools are called in one step, ${how}, by ${title}`, bounded, async () => {
      const tools = Object.fromEntries(
        TOOLS.map(({ name, description, shape, run }) => [
          name,
          tool({ description, inputSchema: shape, execute: run }),
        ]),
      );
      await callsTwoTools('Hm.');
      const more = { prompt: QUESTION, tools, stopWhen: stepCountIs(3) };
      const result = (streamed ? streamText : generateText)(asked(SIGNING, more));
      const { steps, text } = streamed
        ? { steps: await result.steps, text: await result.text }
        : await result;
      assert.equal(steps[0].finishReason, 'tool-calls');
      assert.equal(steps[0].toolCalls.length, 2);
      assert.match(text, /vermilion/);
      await checkToolLoop({ carried });
    });
  }

  // To models of Anthropic's that it does not know, it gives a tool that takes the answer. Beside
  // thinking it cannot force the call, and the emulator makes none.
  const isThinking = title === 'Messages, with thinking' && 'concerns the emulator';
  test(`a JSON schema is obeyed by ${title}`, { ...bounded, skip: isThinking }, async () => {
    const output = Output.object({ schema: Recipe });
    const result = await generateText(asked(FLASH, { prompt: 'A recipe', output }));
    assert.equal(typeof result.output.vegan, 'boolean');
    if (title !== 'Messages') await checkJson();
  });

  test(`a picture goes in by ${title}`, bounded, async () => {
    const content = [
      { type: 'text', text: 'Say pomegranate' },
      { type: 'file', mediaType: 'image/png', data: Buffer.from(PIXEL, 'base64') },
    ];
    const messages = [{ role: 'user', content }];
    assert.match((await generateText(asked(FLASH, { messages }))).text, /pomegranate/);
    await checkPicture();
  });

  test(`a quota of the day is an error with its status, by ${title}`, bounded, async () => {
    const id = `${FLASH}-ai-sdk-${title.replaceAll(/[ ,]+/g, '-')}-day`;
    await fails(id, perDay());
    const asking = generateText(asked(id, { prompt: 'hello', maxRetries: 0 }));
    await assert.rejects(asking, (error) => {
      assert.ok(APICallError.isInstance(error), `${error}`);
      assert.equal(error.statusCode, 429);
      assert.match(error.message, /Your quota will reset/);
      return true;
    });
    assert.equal((await arrived()).length, 1);
  });

  test(`a stream that breaks off with an error tells it, by ${title}`, bounded, async () => {
    const id = `${FLASH}-ai-sdk-${title.replaceAll(/[ ,]+/g, '-')}-breaks`;
    await breaksOff(id);
    const quiet = { prompt: 'hello', maxRetries: 0, onError() {} };
    const parts = await collected(streamText(asked(id, quiet)).fullStream);
    const [{ error }] = parts.filter(({ type }) => type === 'error');
    assert.match(JSON.stringify(error) + error, /high demand/);
  });
}

test('texts are embedded by both providers', embeds, async () => {
  const models = [openai.embedding(EMBEDDING), compatible.embeddingModel(EMBEDDING)];
  for (const model of models) {
    const { embeddings } = await embedMany({ model, values: ['pomegranate', 'plum'] });
    assert.equal(embeddings.length, 2);
  }
});
