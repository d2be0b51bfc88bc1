// Anthropic's own SDK, unmodified.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import Anthropic from '@anthropic-ai/sdk';
import { betaZodTool } from '@anthropic-ai/sdk/helpers/beta/zod';
import { zodOutputFormat } from '@anthropic-ai/sdk/helpers/zod';
import { CLIENT_KEY, Relay, UPSTREAM, bounded, collected } from '../emulated.mjs';
import {
  ARGS,
  CACHED_TOKENS,
  FLASH,
  OUTPUT_TOKENS,
  PIXEL,
  PROMPT_TOKENS,
  QUESTION,
  RESULTS,
  Recipe,
  SIGNING,
  SLOWLY,
  TIME,
  TOOLS,
  WEATHER,
  arrived,
  breaksOff,
  callsTwoTools,
  checkJson,
  checkPicture,
  checkToolLoop,
  fails,
  perDay,
  perMinute,
  saysHello,
} from './scripted.mjs';

const LETTER = { 'code-assist': 'c', 'gemini-api': 'g' }[UPSTREAM];

const relay = await Relay.start({ copied: false });
const ai = new Anthropic({ apiKey: CLIENT_KEY, baseURL: relay.url });

const tools = TOOLS.map(({ name, description, parameters }) => ({
  name,
  description,
  input_schema: parameters,
}));

async function ask(streamed, model, history, more = {}, options = {}) {
  const messages = typeof history === 'string' ? [{ role: 'user', content: history }] : history;
  const asked = { model, max_tokens: 1000, messages, ...more };
  // The helper checks the order of the events, and puts them together.
  if (streamed) return ai.messages.stream(asked, options).finalMessage();
  return ai.messages.create(asked, options);
}

const textOf = ({ content }) => content.find(({ type }) => type === 'text').text;

for (const streamed of [false, true]) {
  const how = streamed ? 'streamed' : 'whole';
  const own = (what) => `${FLASH}-js-anthropic-${how}-${what}`;

  test(`a prompt is answered under the name that was asked for, ${how}`, bounded, async () => {
    const message = await ask(streamed, `google/${FLASH}`, 'Say pomegranate');
    assert.match(textOf(message), /pomegranate/);
    assert.equal(message.model, `google/${FLASH}`);
    assert.equal(message.stop_reason, 'end_turn');
  });

  test(`usage is counted, ${how}`, bounded, async () => {
    await saysHello();
    const message = await ask(streamed, FLASH, 'Say hello');
    assert.equal(textOf(message), 'Hello');
    const { input_tokens: fresh, cache_read_input_tokens: cached, output_tokens: out } = message.usage;
    const numbers = [PROMPT_TOKENS - CACHED_TOKENS, CACHED_TOKENS, OUTPUT_TOKENS];
    assert.deepEqual([fresh, cached, out], numbers);
  });

  for (const display of [undefined, 'summarized', 'omitted']) {
    const title = `two calls in one step are answered in any order, ${how}, thinking ${display}`;
    test(title, bounded, async () => {
      const more = { tools, ...(display && { thinking: { type: 'adaptive', display } }) };
      await callsTwoTools(display === 'summarized' ? 'Hm.' : undefined);
      const history = [{ role: 'user', content: QUESTION }];
      const { content, stop_reason: reason } = await ask(streamed, SIGNING, history, more);
      assert.equal(reason, 'tool_use');
      const calls = content.filter(({ type }) => type === 'tool_use');
      const ids = Object.fromEntries(calls.map(({ id, name }) => [name, id]));
      assert.deepEqual(calls.map(({ input }) => input), [ARGS[WEATHER], ARGS[TIME]]);
      const signatures = content.filter(({ type }) => type === 'thinking');
      assert.equal(signatures.length, display ? 1 : 0);
      for (const { signature } of signatures) assert.ok(signature.startsWith(`gs1.${LETTER}.f.`));
      const results = [TIME, WEATHER].map((name) => ({
        type: 'tool_result',
        tool_use_id: ids[name],
        content: RESULTS[name],
      }));
      history.push({ role: 'assistant', content }, { role: 'user', content: results });
      assert.match(textOf(await ask(streamed, SIGNING, history, more)), /vermilion/);
      await checkToolLoop({ carried: true });
    });
  }

  test(`the SDK's own loop runs the tools without threads, ${how}`, bounded, async () => {
    const own = TOOLS.map(({ name, description, shape, run }) =>
      betaZodTool({ name, description, inputSchema: shape, run }),
    );
    await callsTwoTools();
    const messages = [{ role: 'user', content: QUESTION }];
    const asked = { model: SIGNING, max_tokens: 1000, messages, tools: own, stream: streamed };
    const message = await ai.beta.messages.toolRunner(asked).runUntilDone();
    assert.match(textOf(message), /vermilion/);
    await checkToolLoop({ carried: true });
  });

  test(`a picture goes in, ${how}`, bounded, async () => {
    const source = { type: 'base64', media_type: 'image/png', data: PIXEL };
    const content = [
      { type: 'image', source },
      { type: 'text', text: 'Say pomegranate' },
    ];
    assert.match(textOf(await ask(streamed, FLASH, [{ role: 'user', content }])), /pomegranate/);
    await checkPicture();
  });

  test(`a limit of the minute says when to ask again, ${how}`, bounded, async () => {
    await fails(own('minute'), perMinute('37s'));
    const asking = ask(streamed, own('minute'), 'hello', {}, { maxRetries: 0 });
    await assert.rejects(asking, (error) => {
      assert.ok(error instanceof Anthropic.RateLimitError);
      assert.equal(error.headers.get('retry-after'), '37');
      assert.equal(error.headers.get('x-should-retry'), null);
      return true;
    });
    assert.equal((await arrived()).length, 1);
  });

  test(`a quota of the day is asked for once, ${how}`, bounded, async () => {
    await fails(own('day'), perDay());
    await assert.rejects(ask(streamed, own('day'), 'hello'), Anthropic.RateLimitError);
    assert.deepEqual(relay.lines(), ['POST /v1/messages']);
    assert.equal((await arrived()).length, 1);
  });

  test(`an unknown model is not found, ${how}`, bounded, async () => {
    for (const model of ['gemini-that-never-was', 'claude-opus-5-5']) {
      relay.forget();
      await assert.rejects(ask(streamed, model, 'hello'), Anthropic.NotFoundError);
      assert.deepEqual(relay.lines(), ['POST /v1/messages']);
    }
  });
}

test('a stream is the same text in several pieces', bounded, async () => {
  const whole = textOf(await ask(false, FLASH, SLOWLY));
  const pieces = [];
  const messages = [{ role: 'user', content: SLOWLY }];
  const stream = ai.messages.stream({ model: FLASH, max_tokens: 1000, messages });
  await stream.on('text', (text) => pieces.push(text)).done();
  assert.ok(pieces.length > 1);
  assert.equal(pieces.join(''), whole);
});

test('a JSON schema is obeyed', bounded, async () => {
  const { parsed_output: recipe } = await ai.messages.parse({
    model: FLASH,
    max_tokens: 1000,
    messages: [{ role: 'user', content: 'A recipe' }],
    output_config: { format: zodOutputFormat(Recipe) },
  });
  assert.equal(typeof recipe.vegan, 'boolean');
  await checkJson();
});

test('a stream that breaks off with an error raises it', bounded, async () => {
  const model = `${FLASH}-js-anthropic-breaks`;
  await breaksOff(model);
  await assert.rejects(ask(true, model, 'hello'), (error) => {
    assert.ok(error instanceof Anthropic.APIError);
    assert.match(error.message, /high demand/);
    return true;
  });
  assert.deepEqual(relay.lines(), ['POST /v1/messages']);
  assert.equal((await arrived()).length, 1);
});

test('tokens are counted', bounded, async () => {
  const count = async (content) => {
    const messages = [{ role: 'user', content }];
    return (await ai.messages.countTokens({ model: FLASH, messages })).input_tokens;
  };
  const [few, many] = [await count('pomegranate'), await count('pomegranate '.repeat(50))];
  assert.ok(0 < few && few < many, `${few} ${many}`);
});

test('models are listed page by page and described', bounded, async () => {
  const models = await collected(ai.models.list({ limit: 2 }));
  assert.equal(relay.lines().length, Math.ceil(models.length / 2));
  const flash = models.find(({ id }) => id === FLASH);
  assert.deepEqual(await ai.models.retrieve(FLASH), flash);
  assert.equal(flash.type, 'model');
});
