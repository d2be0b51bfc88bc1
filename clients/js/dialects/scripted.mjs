// What the emulator is to answer, and what arrived there, in the Gemini API's words whatever provider
// it plays.

import assert from 'node:assert/strict';
import { z } from 'zod';
import { UPSTREAM, arrived as requests, bounded, control } from '../emulated.mjs';

/** For tests of embeddings, which Code Assist has not. */
export const embeds = { ...bounded, skip: UPSTREAM !== 'gemini-api' && 'concerns gemini-api' };

export const FLASH = 'gemini-2.5-flash';
// Its tool calls are refused upstream when the thought signature of the call does not come back.
export const SIGNING = 'gemini-3-pro-preview';
export const EMBEDDING = 'gemini-embedding-001';
export const SLOWLY = 'Say pomegranate, and say it slowly, in several pieces, one after the other';
export const QUESTION = 'What is the weather in São Paulo, and the time in Oslo?';

// A PNG of one pixel.
export const PIXEL =
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';

// The emulator accepts no other signature but the placeholder.
const SIGNATURE = {
  'code-assist': 'ZW11bGF0b3IgdGhvdWdodCBzaWduYXR1cmU=',
  'gemini-api': 'Z2VtaW5pLWFwaSB0aG91Z2h0IHNpZ25hdHVyZQ==',
}[UPSTREAM];
const PLACEHOLDER = 'skip_thought_signature_validator';
// Whether the proxy remembers the signatures of calls that a client does not send back.
const REMEMBERS = process.env.SIGNATURE_CACHE_BYTES !== '0';

export const PROMPT_TOKENS = 10;
export const CACHED_TOKENS = 4;
export const OUTPUT_TOKENS = 7;
export const THOUGHT_TOKENS = 5;
const USAGE = {
  promptTokenCount: PROMPT_TOKENS,
  cachedContentTokenCount: CACHED_TOKENS,
  candidatesTokenCount: OUTPUT_TOKENS - THOUGHT_TOKENS,
  thoughtsTokenCount: THOUGHT_TOKENS,
  totalTokenCount: PROMPT_TOKENS + OUTPUT_TOKENS,
};

export const WEATHER = 'lookup_weather';
export const TIME = 'lookup_time';
const WEATHER_ARGS = { city: 'São Paulo', days: 2 };
const TIME_ARGS = { city: 'Oslo' };
export const ARGS = { [WEATHER]: WEATHER_ARGS, [TIME]: TIME_ARGS };
export const RESULTS = { [WEATHER]: 'vermilion', [TIME]: 'noon' };
const DESCRIPTIONS = {
  [WEATHER]: 'Tells the weather of a city.',
  [TIME]: 'Tells the time in a city.',
};
const SHAPES = {
  [WEATHER]: z.object({ city: z.string(), days: z.number().int().positive() }),
  [TIME]: z.object({ city: z.string() }),
};

/** The tools: `shape` is for SDKs that take zod, and `parameters` is the same as JSON Schema. */
export const TOOLS = [WEATHER, TIME].map((name) => ({
  name,
  description: DESCRIPTIONS[name],
  shape: SHAPES[name],
  parameters: z.toJSONSchema(SHAPES[name]),
  run(args) {
    assert.deepEqual(args, ARGS[name]);
    return RESULTS[name];
  },
}));

export const Recipe = z.object({
  name: z.string(),
  portions: z.number().int(),
  vegan: z.boolean(),
  steps: z.array(z.object({ text: z.string(), minutes: z.number() })),
});

/** A `GenerateContentResponse` with one candidate. */
function event(parts, { finish, usage } = {}) {
  return {
    candidates: [{ content: { role: 'model', parts }, ...(finish && { finishReason: finish }) }],
    modelVersion: SIGNING,
    responseId: 'response-1',
    ...(usage && { usageMetadata: usage }),
  };
}

/**
 * Has the emulator give these events as its next answer: as they are if it is asked for a stream, else
 * as one.
 */
async function answers(events) {
  const stream = events.map((one) => JSON.stringify(enveloped(one)));
  const whole = JSON.stringify(enveloped(merged(events)));
  await control('script', [
    { match: { rpc: 'streamGenerateContent' }, events: stream },
    { match: { rpc: 'generateContent' }, body: whole },
  ]);
}

/** Has the model say `Hello`, in two events, and state its usage. */
export async function saysHello() {
  const last = event([{ text: 'lo' }], { finish: 'STOP', usage: USAGE });
  await answers([event([{ text: 'Hel' }]), last]);
}

/**
 * Has the model call both tools in one step. As newer models do, it says STOP in an event of its own,
 * and only the first call has a signature.
 */
export async function callsTwoTools(thought) {
  const calls = [
    { functionCall: { name: WEATHER, args: WEATHER_ARGS }, thoughtSignature: SIGNATURE },
    { functionCall: { name: TIME, args: TIME_ARGS } },
  ];
  const thoughts = thought ? [event([{ text: thought, thought: true }])] : [];
  const last = event([{ text: '' }], { finish: 'STOP', usage: USAGE });
  await answers([...thoughts, event(calls), last]);
}

/** Has each request for a model fail. */
export async function fails(model, error, rule = {}) {
  const body = JSON.stringify({ error });
  await control('script', { match: { model }, status: error.code, body, times: 0, ...rule });
}

/** A 429 for now; Google says when to ask again. */
export function perMinute(retryDelay) {
  return {
    code: 429,
    message: `You exceeded your current quota. Please retry in ${retryDelay}.`,
    status: 'RESOURCE_EXHAUSTED',
    details: [{ '@type': 'type.googleapis.com/google.rpc.RetryInfo', retryDelay }],
  };
}

/** A 429 for today, as each provider says it. */
export function perDay() {
  const quotaId = 'GenerateRequestsPerDayPerProjectPerModel-FreeTier';
  return {
    code: 429,
    message: 'You have exhausted your capacity on this model. Your quota will reset after 9h9m16s.',
    status: 'RESOURCE_EXHAUSTED',
    details: {
      'code-assist': [
        {
          '@type': 'type.googleapis.com/google.rpc.ErrorInfo',
          reason: 'QUOTA_EXHAUSTED',
          domain: 'cloudcode-pa.googleapis.com',
        },
      ],
      'gemini-api': [
        {
          '@type': 'type.googleapis.com/google.rpc.QuotaFailure',
          violations: [{ quotaId }],
        },
      ],
    }[UPSTREAM],
  };
}

/** Has a stream of a model end with an error after its first event. */
export async function breaksOff(model) {
  const first = JSON.stringify(enveloped(event([{ text: 'Hel' }])));
  await control('script', {
    match: { model },
    events: [first],
    tail_error: 'high_demand',
    times: 0,
  });
}

/** The requests for an answer that came: the Gemini API's bodies. */
export async function arrived() {
  return (await requests())
    .filter(({ rpc }) => ['generateContent', 'streamGenerateContent'].includes(rpc))
    .map(({ body }) => JSON.parse(body))
    .map((body) => (UPSTREAM === 'code-assist' ? body.request : body));
}

/**
 * Two requests: the second has both calls with the signature, and both results in the calls' order.
 * `carried` says whether the client itself brings signatures back.
 */
export async function checkToolLoop({ carried }) {
  const both = await arrived();
  assert.equal(both.length, 2);
  const [asked, answered] = both;
  const declared = asked.tools.flatMap((tool) => tool.functionDeclarations);
  assert.deepEqual(declared.map(({ name }) => name).sort(), [TIME, WEATHER]);
  for (const { parametersJsonSchema } of declared) assert.ok(parametersJsonSchema.properties.city);
  const [question, { role, parts }, results] = answered.contents;
  assert.equal(answered.contents.length, 3);
  assert.deepEqual([question.role, role, results.role], ['user', 'model', 'user']);
  const calls = parts.filter((part) => part.functionCall);
  assert.deepEqual(calls.map(({ functionCall: { name, args } }) => [name, args]), [
    [WEATHER, WEATHER_ARGS],
    [TIME, TIME_ARGS],
  ]);
  const signatures = calls.map(({ thoughtSignature }) => thoughtSignature);
  assert.deepEqual(signatures, [carried || REMEMBERS ? SIGNATURE : PLACEHOLDER, undefined]);
  const told = results.parts.map(({ functionResponse }) => functionResponse);
  assert.deepEqual(told, [
    { id: calls[0].functionCall.id, name: WEATHER, response: { output: RESULTS[WEATHER] } },
    { id: calls[1].functionCall.id, name: TIME, response: { output: RESULTS[TIME] } },
  ]);
  assert.ok(calls[0].functionCall.id);
}

/** An answer in the schema of a recipe was asked for, by the means for JSON Schema. */
export async function checkJson() {
  const { generationConfig } = (await arrived()).at(-1);
  assert.equal(generationConfig.responseMimeType, 'application/json');
  assert.equal(generationConfig.responseSchema, undefined);
  const { properties } = generationConfig.responseJsonSchema;
  assert.deepEqual(Object.keys(properties).sort(), ['name', 'portions', 'steps', 'vegan']);
}

/** The picture arrived as it was sent, once, in the last content. */
export async function checkPicture() {
  const { parts } = (await arrived()).at(-1).contents.at(-1);
  const pictures = parts.map(({ inlineData }) => inlineData).filter(Boolean);
  assert.deepEqual(pictures, [{ mimeType: 'image/png', data: PIXEL }]);
}

function enveloped(response) {
  return UPSTREAM === 'code-assist' ? { response, traceId: 't' } : response;
}

/** The same answer as one event: the parts of all, and what the last says besides. */
function merged(events) {
  const candidates = events.map(({ candidates: [candidate] }) => candidate);
  const parts = candidates.flatMap(({ content }) => content.parts);
  const content = { role: 'model', parts };
  return { ...events.at(-1), candidates: [{ ...candidates.at(-1), content }] };
}
