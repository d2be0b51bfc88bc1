// @google/generative-ai, out of support and still everywhere (LangChain.js, Continue): its roles,
// its countTokens form and its SSE parser are the strictest and oddest of all.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GoogleGenerativeAI, SchemaType } from '@google/generative-ai';
import { CLIENT_KEY, Relay, bounded } from './emulated.mjs';

const relay = await Relay.start();
const ai = new GoogleGenerativeAI(CLIENT_KEY);

function model(settings = {}) {
  return ai.getGenerativeModel({ model: 'gemini-2.5-flash', ...settings }, { baseUrl: relay.url });
}

async function streamed({ stream, response }) {
  const texts = [];
  for await (const chunk of stream) texts.push(chunk.text());
  return { texts, response: await response };
}

test('legacy: a prompt is answered', bounded, async () => {
  const { response } = await model().generateContent('Say pomegranate');
  assert.match(response.text(), /pomegranate/);
  assert.ok(response.usageMetadata.totalTokenCount > 0);
});

test('legacy: a stream is the same text in several chunks', bounded, async () => {
  const prompt = 'Say pomegranate, and say it slowly, in several pieces, one after the other';
  const whole = (await model().generateContent(prompt)).response.text();
  const { texts, response } = await streamed(await model().generateContentStream(prompt));
  assert.ok(texts.filter(Boolean).length > 1);
  assert.equal(texts.join(''), whole);
  assert.equal(response.text(), whole);
});

test('legacy: a system instruction with its own role passes', bounded, async () => {
  const gardener = model({ systemInstruction: 'You are a gardener.' });
  assert.match((await gardener.generateContent('Say pomegranate')).response.text(), /pomegranate/);
});

test('legacy: a chat with a function, whose answer has the role "function"', bounded, async () => {
  const parameters = {
    type: SchemaType.OBJECT,
    properties: { city: { type: SchemaType.STRING } },
    required: ['city'],
  };
  const tools = [{ functionDeclarations: [{ name: 'lookup_weather', parameters }] }];
  const chat = model({ tools }).startChat();
  const { response } = await chat.sendMessage('What is the weather in Paris?');
  const [{ name, args }] = response.functionCalls();
  assert.equal(name, 'lookup_weather');
  assert.equal(typeof args.city, 'string');
  const functionResponse = { name, response: { sky: 'vermilion' } };
  const answer = await chat.sendMessage([{ functionResponse }]);
  assert.match(answer.response.text(), /vermilion/);
  const roles = (await chat.getHistory()).map((turn) => turn.role);
  assert.deepEqual(roles, ['user', 'model', 'function', 'model']);
});

test('legacy: a schema is obeyed', bounded, async () => {
  const responseSchema = {
    type: SchemaType.ARRAY,
    items: { type: SchemaType.OBJECT, properties: { name: { type: SchemaType.STRING } } },
  };
  const generationConfig = { responseMimeType: 'application/json', responseSchema };
  const { response } = await model({ generationConfig }).generateContent('A list');
  assert.ok(Array.isArray(JSON.parse(response.text())));
});

test('legacy: tokens are counted, and what the system says counts too', bounded, async () => {
  const few = (await model().countTokens('pomegranate')).totalTokens;
  const systemInstruction = 'You are a gardener. '.repeat(50);
  const many = (await model({ systemInstruction }).countTokens('pomegranate')).totalTokens;
  assert.ok(0 < few && few + 100 < many, `${few} ${many}`);
});

test('legacy: an unknown model is not found', bounded, async () => {
  const unknown = model({ model: 'gemini-that-never-was' });
  await assert.rejects(unknown.generateContent('hello'), { status: 404 });
  await assert.rejects(unknown.generateContentStream('hello'), { status: 404 });
});
