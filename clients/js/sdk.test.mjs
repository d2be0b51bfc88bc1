// @google/genai, unmodified, through the proxy.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  ApiError,
  FunctionCallingConfigMode,
  GoogleGenAI,
  HarmBlockThreshold,
  HarmCategory,
  Type,
} from '@google/genai';
import { CLIENT_KEY, Relay, bounded, collected } from './emulated.mjs';

const FLASH = 'gemini-2.5-flash';
// Its tool calls are refused upstream when the thought signature of the call does not come back.
const SIGNING = 'gemini-3-pro-preview';
const SLOWLY = 'Say pomegranate, and say it slowly, in several pieces, one after the other';

const relay = await Relay.start();
const client = (options) =>
  new GoogleGenAI({ apiKey: CLIENT_KEY, httpOptions: { baseUrl: relay.url }, ...options });
const ai = client();

const RECIPE = {
  type: 'object',
  properties: {
    name: { type: 'string' },
    portions: { type: 'integer' },
    vegan: { type: 'boolean' },
    steps: { type: 'array', items: { type: 'string' } },
  },
  required: ['name', 'portions', 'vegan', 'steps'],
  additionalProperties: false,
};

function assertRecipe(text) {
  const recipe = JSON.parse(text);
  assert.equal(typeof recipe.name, 'string');
  assert.ok(Number.isInteger(recipe.portions));
  assert.equal(typeof recipe.vegan, 'boolean');
  assert.ok(Array.isArray(recipe.steps));
  assert.deepEqual(Object.keys(recipe).sort(), ['name', 'portions', 'steps', 'vegan']);
}

test('a prompt is answered', bounded, async () => {
  const response = await ai.models.generateContent({ model: FLASH, contents: 'Say pomegranate' });
  assert.match(response.text, /pomegranate/);
  assert.equal(response.candidates[0].finishReason, 'STOP');
  assert.equal(response.candidates[0].content.role, 'model');
  assert.ok(response.usageMetadata.totalTokenCount > 0);
  assert.ok(response.responseId);
  assert.ok(response.modelVersion);
});

test('a stream is the same text in several chunks', bounded, async () => {
  const asked = { model: FLASH, contents: SLOWLY };
  const whole = (await ai.models.generateContent(asked)).text;
  const chunks = await collected(await ai.models.generateContentStream(asked));
  const texts = chunks.map((chunk) => chunk.text).filter(Boolean);
  assert.ok(texts.length > 1, `${texts.length} chunks`);
  assert.equal(texts.join(''), whole);
  // The very last event may carry nothing but the token counts.
  const reasons = chunks.flatMap((chunk) => chunk.candidates ?? []).map((one) => one.finishReason);
  assert.equal(reasons.pop(), 'STOP');
  assert.deepEqual(reasons.filter(Boolean), []);
  assert.ok(chunks.at(-1).usageMetadata.totalTokenCount > 0);
});

test('settings reach the model', bounded, async () => {
  const response = await ai.models.generateContent({
    model: FLASH,
    contents: 'Say pomegranate',
    config: {
      systemInstruction: 'You are a gardener.',
      temperature: 0.1,
      topK: 7,
      topP: 0.9,
      maxOutputTokens: 1000,
      stopSequences: ['STOP-HERE'],
      thinkingConfig: { includeThoughts: true, thinkingBudget: 512 },
      safetySettings: [
        {
          category: HarmCategory.HARM_CATEGORY_DANGEROUS_CONTENT,
          threshold: HarmBlockThreshold.BLOCK_ONLY_HIGH,
        },
      ],
    },
  });
  assert.match(response.text, /pomegranate/);
  assert.ok(response.candidates[0].content.parts.some((part) => part.thought));
  assert.ok(response.usageMetadata.thoughtsTokenCount > 0);
});

test('a chat keeps its history, whole and streamed', bounded, async () => {
  const chat = ai.chats.create({ model: FLASH });
  assert.match((await chat.sendMessage({ message: 'Say apple' })).text, /apple/);
  const chunks = await collected(await chat.sendMessageStream({ message: 'Say plum' }));
  assert.match(chunks.map((chunk) => chunk.text ?? '').join(''), /plum/);
  const roles = chat.getHistory().map((turn) => turn.role);
  assert.deepEqual([roles[0], roles[1], roles[2], roles.at(-1)], ['user', 'model', 'user', 'model']);
});

test('functions are called automatically and signatures come back', bounded, async () => {
  const called = [];
  const tool = {
    async tool() {
      return {
        functionDeclarations: [
          {
            name: 'lookup_weather',
            description: 'Tells the weather of a city.',
            parameters: {
              type: Type.OBJECT,
              properties: { city: { type: Type.STRING } },
              required: ['city'],
            },
          },
        ],
      };
    },
    async callTool(calls) {
      called.push(...calls);
      return calls.map(({ id, name }) => ({
        functionResponse: { id, name, response: { sky: 'vermilion' } },
      }));
    },
  };
  const response = await ai.models.generateContent({
    model: SIGNING,
    contents: 'What is the weather in Paris?',
    config: { tools: [tool] },
  });
  assert.equal(called.length, 1);
  assert.equal(typeof called[0].args.city, 'string');
  assert.match(response.text, /vermilion/);
  const history = response.automaticFunctionCallingHistory;
  const call = history.flatMap((turn) => turn.parts).find((part) => part.functionCall);
  assert.ok(call.thoughtSignature);
});

for (const streamed of [false, true]) {
  const how = streamed ? 'streamed' : 'whole';
  test(`functions can be called by hand, ${how}`, bounded, async () => {
    const config = {
      tools: [
        {
          functionDeclarations: [
            {
              name: 'lookup_weather',
              description: 'Tells the weather of a city.',
              parametersJsonSchema: {
                type: 'object',
                properties: { city: { type: 'string' }, days: { type: 'integer' } },
                required: ['city'],
              },
            },
          ],
        },
      ],
    };
    const contents = [{ role: 'user', parts: [{ text: 'What is the weather in Paris?' }] }];
    const ask = async () => {
      const asked = { model: SIGNING, contents, config };
      if (!streamed) return (await ai.models.generateContent(asked)).candidates[0].content.parts;
      const chunks = await collected(await ai.models.generateContentStream(asked));
      return chunks.flatMap((chunk) => chunk.candidates?.[0]?.content?.parts ?? []);
    };

    const parts = await ask();
    const { functionCall } = parts.find((part) => part.functionCall);
    assert.equal(functionCall.name, 'lookup_weather');
    assert.equal(typeof functionCall.args.city, 'string');
    const { id, name } = functionCall;
    const functionResponse = { id, name, response: { sky: 'vermilion' } };
    contents.push({ role: 'model', parts }, { role: 'user', parts: [{ functionResponse }] });
    assert.match((await ask()).map((part) => part.text ?? '').join(''), /vermilion/);
  });
}

test('a function can be forced', bounded, async () => {
  const response = await ai.models.generateContent({
    model: FLASH,
    contents: 'Good day',
    config: {
      tools: [{ functionDeclarations: [{ name: 'ring_bell' }] }],
      toolConfig: {
        functionCallingConfig: {
          mode: FunctionCallingConfigMode.ANY,
          allowedFunctionNames: ['ring_bell'],
        },
      },
    },
  });
  assert.deepEqual(response.functionCalls.map((call) => call.name), ['ring_bell']);
});

test('both kinds of schema are obeyed', bounded, async () => {
  const responseSchema = {
    type: Type.OBJECT,
    properties: {
      name: { type: Type.STRING },
      portions: { type: Type.INTEGER },
      vegan: { type: Type.BOOLEAN },
      steps: { type: Type.ARRAY, items: { type: Type.STRING } },
    },
    required: ['name', 'portions', 'vegan', 'steps'],
    propertyOrdering: ['name', 'portions', 'vegan', 'steps'],
  };
  for (const schema of [{ responseSchema }, { responseJsonSchema: RECIPE }]) {
    const config = { responseMimeType: 'application/json', ...schema };
    const asked = { model: FLASH, contents: 'A recipe', config };
    assertRecipe((await ai.models.generateContent(asked)).text);
    const chunks = await collected(await ai.models.generateContentStream(asked));
    assertRecipe(chunks.map((chunk) => chunk.text ?? '').join(''));
  }
});

test('tokens are counted', bounded, async () => {
  const count = async (contents) =>
    (await ai.models.countTokens({ model: FLASH, contents })).totalTokens;
  const [few, many] = [await count('pomegranate'), await count('pomegranate '.repeat(50))];
  assert.ok(0 < few && few < many, `${few} ${many}`);
});

test('an unknown model is not found, whole and streamed', bounded, async () => {
  const asked = { model: 'gemini-that-never-was', contents: 'hello' };
  const asks = [
    () => ai.models.generateContent(asked),
    () => ai.models.generateContentStream(asked),
  ];
  for (const ask of asks) {
    await assert.rejects(ask, (error) => {
      assert.ok(error instanceof ApiError);
      assert.equal(error.status, 404);
      // Agents parse the message as JSON (docs/reference/clients.md R8).
      assert.equal(JSON.parse(error.message).error.status, 'NOT_FOUND');
      return true;
    });
  }
});

for (const apiVersion of ['v1', 'v1beta', 'v1alpha']) {
  test(`API version ${apiVersion} works`, bounded, async () => {
    const response = await client({ apiVersion }).models.generateContent({
      model: FLASH,
      contents: 'Say pomegranate',
      config: { systemInstruction: 'Be kind.' },
    });
    assert.match(response.text, /pomegranate/);
  });
}

test('many at once each get their own answer', bounded, async () => {
  const numbers = Array.from({ length: 40 }, (_, at) => `number-${at + 1000}`);
  await Promise.all(
    numbers.map(async (number) => {
      const contents = `Say ${number}`;
      const response = await ai.models.generateContent({ model: FLASH, contents });
      assert.ok(response.text.includes(number), response.text);
    }),
  );
});
