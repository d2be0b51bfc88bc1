// OpenAI's own SDK, unmodified: Chat Completions and Responses.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import OpenAI from 'openai';
import { zodResponseFormat, zodTextFormat } from 'openai/helpers/zod';
import { CLIENT_KEY, Relay, bounded, collected } from '../emulated.mjs';
import {
  ARGS,
  CACHED_TOKENS,
  EMBEDDING,
  FLASH,
  OUTPUT_TOKENS,
  PIXEL,
  PROMPT_TOKENS,
  QUESTION,
  RESULTS,
  Recipe,
  SIGNING,
  SLOWLY,
  THOUGHT_TOKENS,
  TIME,
  TOOLS,
  WEATHER,
  arrived,
  breaksOff,
  callsTwoTools,
  checkJson,
  checkPicture,
  checkToolLoop,
  embeds,
  fails,
  perDay,
  perMinute,
  saysHello,
} from './scripted.mjs';

const relay = await Relay.start({ copied: false });
const ai = new OpenAI({ apiKey: CLIENT_KEY, baseURL: `${relay.url}/v1` });

/** Chat Completions, whole and streamed by the SDK's helper, in the words of both APIs. */
const chat = {
  path: '/v1/chat/completions',
  async ask(streamed, model, history, { tools, format } = {}, options = {}) {
    const messages = typeof history === 'string' ? [{ role: 'user', content: history }] : history;
    const asked = {
      model,
      messages,
      ...(tools && { tools: tools.map((one) => ({ type: 'function', function: one })) }),
      ...(format && { response_format: zodResponseFormat(format, 'recipe') }),
    };
    if (!streamed) return ai.chat.completions[format ? 'parse' : 'create'](asked, options);
    const usage = { stream_options: { include_usage: true } };
    return ai.chat.completions.stream({ ...asked, ...usage }, options).finalChatCompletion();
  },
  text: ({ choices: [{ finish_reason: reason, message }] }) => {
    assert.equal(reason, 'stop');
    return message.content;
  },
  parsed: ({ choices: [{ message }] }) => message.parsed,
  calls: ({ choices: [{ finish_reason: reason, message }] }) => {
    assert.equal(reason, 'tool_calls');
    const calls = message.tool_calls.map((call) => [call.function.name, call]);
    return Object.fromEntries(
      calls.map(([name, call]) => [name, { id: call.id, args: call.function.arguments }]),
    );
  },
  said: ({ choices: [{ message }] }) => [message],
  result: (id, content) => ({ role: 'tool', tool_call_id: id, content }),
  picture: (text, url) => [
    {
      role: 'user',
      content: [
        { type: 'text', text },
        { type: 'image_url', image_url: { url } },
      ],
    },
  ],
  async deltas(model, content) {
    const asked = { model, messages: [{ role: 'user', content }], stream: true };
    const chunks = await collected(await ai.chat.completions.create(asked));
    return chunks.map(({ choices: [{ delta }] }) => delta.content);
  },
  numbers: ({ usage }) => [
    usage.prompt_tokens,
    usage.prompt_tokens_details.cached_tokens,
    usage.completion_tokens,
    usage.completion_tokens_details.reasoning_tokens,
    usage.total_tokens,
  ],
};

/** The Responses API, in the same way. */
const responses = {
  path: '/v1/responses',
  async ask(streamed, model, input, { tools, format } = {}, options = {}) {
    const asked = {
      model,
      input,
      ...(tools && { tools: tools.map((one) => ({ type: 'function', strict: false, ...one })) }),
      ...(format && { text: { format: zodTextFormat(format, 'recipe') } }),
    };
    if (!streamed) return ai.responses[format ? 'parse' : 'create'](asked, options);
    return ai.responses.stream(asked, options).finalResponse();
  },
  text: ({ output_text: text, status }) => {
    assert.equal(status, 'completed');
    return text;
  },
  parsed: ({ output_parsed: parsed }) => parsed,
  calls: ({ output }) => {
    const calls = output.filter(({ type }) => type === 'function_call');
    return Object.fromEntries(
      calls.map((call) => [call.name, { id: call.call_id, args: call.arguments }]),
    );
  },
  said: ({ output }) => output,
  result: (id, output) => ({ type: 'function_call_output', call_id: id, output }),
  picture: (text, url) => [
    {
      role: 'user',
      content: [
        { type: 'input_text', text },
        { type: 'input_image', image_url: url, detail: 'auto' },
      ],
    },
  ],
  async deltas(model, input) {
    const events = await collected(await ai.responses.create({ model, input, stream: true }));
    return events
      .filter(({ type }) => type === 'response.output_text.delta')
      .map(({ delta }) => delta);
  },
  numbers: ({ usage }) => [
    usage.input_tokens,
    usage.input_tokens_details.cached_tokens,
    usage.output_tokens,
    usage.output_tokens_details.reasoning_tokens,
    usage.total_tokens,
  ],
};

for (const [title, api] of Object.entries({ 'Chat Completions': chat, Responses: responses })) {
  for (const streamed of [false, true]) {
    const how = `by ${title}, ${streamed ? 'streamed' : 'whole'}`;
    const own = (what) => `${FLASH}-js-${title.replace(' ', '-')}-${streamed}-${what}`;

    test(`a prompt is answered under the name that was asked for, ${how}`, bounded, async () => {
      const answer = await api.ask(streamed, `google/${FLASH}`, 'Say pomegranate');
      assert.match(api.text(answer), /pomegranate/);
      assert.equal(answer.model, `google/${FLASH}`);
    });

    test(`usage is counted, ${how}`, bounded, async () => {
      await saysHello();
      const answer = await api.ask(streamed, FLASH, 'Say hello');
      assert.equal(api.text(answer), 'Hello');
      const total = PROMPT_TOKENS + OUTPUT_TOKENS;
      const numbers = [PROMPT_TOKENS, CACHED_TOKENS, OUTPUT_TOKENS, THOUGHT_TOKENS, total];
      assert.deepEqual(api.numbers(answer), numbers);
    });

    test(`two calls in one step are answered in any order, ${how}`, bounded, async () => {
      const tools = TOOLS.map(({ name, description, parameters }) => ({
        name,
        description,
        parameters,
      }));
      await callsTwoTools();
      const history = [{ role: 'user', content: QUESTION }];
      const asking = await api.ask(streamed, SIGNING, history, { tools });
      const calls = api.calls(asking);
      assert.deepEqual(JSON.parse(calls[WEATHER].args), ARGS[WEATHER]);
      history.push(...api.said(asking));
      for (const name of [TIME, WEATHER]) history.push(api.result(calls[name].id, RESULTS[name]));
      assert.match(api.text(await api.ask(streamed, SIGNING, history, { tools })), /vermilion/);
      await checkToolLoop({ carried: true });
    });

    test(`a JSON schema is obeyed, ${how}`, bounded, async () => {
      const answer = await api.ask(streamed, FLASH, 'A recipe', { format: Recipe });
      assert.equal(typeof api.parsed(answer).vegan, 'boolean');
      await checkJson();
    });

    test(`a picture goes in, ${how}`, bounded, async () => {
      const history = api.picture('Say pomegranate', `data:image/png;base64,${PIXEL}`);
      assert.match(api.text(await api.ask(streamed, FLASH, history)), /pomegranate/);
      await checkPicture();
    });

    test(`a limit of the minute says when to ask again, ${how}`, bounded, async () => {
      const model = own('minute');
      await fails(model, perMinute('37s'));
      const asking = api.ask(streamed, model, 'hello', {}, { maxRetries: 0 });
      await assert.rejects(asking, (error) => {
        assert.ok(error instanceof OpenAI.RateLimitError);
        assert.equal(error.code, 'rate_limit_exceeded');
        assert.equal(error.headers.get('retry-after'), '37');
        assert.equal(error.headers.get('x-should-retry'), null);
        return true;
      });
      assert.equal((await arrived()).length, 1);
    });

    test(`a quota of the day is asked for once, ${how}`, bounded, async () => {
      const model = own('day');
      await fails(model, perDay());
      await assert.rejects(api.ask(streamed, model, 'hello'), (error) => {
        assert.ok(error instanceof OpenAI.RateLimitError);
        assert.equal(error.code, 'insufficient_quota');
        return true;
      });
      assert.deepEqual(relay.lines(), [`POST ${api.path}`]);
      assert.equal((await arrived()).length, 1);
    });

    test(`an unknown model is not found, ${how}`, bounded, async () => {
      for (const model of ['gemini-that-never-was', 'gpt-4o']) {
        relay.forget();
        await assert.rejects(api.ask(streamed, model, 'hello'), (error) => {
          assert.ok(error instanceof OpenAI.NotFoundError);
          assert.equal(error.code, 'model_not_found');
          return true;
        });
        assert.deepEqual(relay.lines(), [`POST ${api.path}`]);
      }
    });
  }

  test(`a stream is the same text in several pieces, by ${title}`, bounded, async () => {
    const whole = api.text(await api.ask(false, FLASH, SLOWLY));
    const texts = (await api.deltas(FLASH, SLOWLY)).filter(Boolean);
    assert.ok(texts.length > 1);
    assert.equal(texts.join(''), whole);
  });

  test(`a stream that breaks off with an error raises it, by ${title}`, bounded, async () => {
    const model = `${FLASH}-js-${title.replace(' ', '-')}-breaks`;
    await breaksOff(model);
    await assert.rejects(api.deltas(model, 'hello'), (error) => {
      assert.ok(error instanceof OpenAI.APIError);
      assert.match(error.message, /high demand/);
      return true;
    });
    assert.deepEqual(relay.lines(), [`POST ${api.path}`]);
    assert.equal((await arrived()).length, 1);
  });
}

for (const streamed of [false, true]) {
  const how = streamed ? 'streamed' : 'whole';
  test(`the SDK's own loop runs the tools, ${how}`, bounded, async () => {
    const tools = TOOLS.map(({ name, description, parameters, run }) => ({
      type: 'function',
      function: { name, description, parameters, parse: JSON.parse, function: run },
    }));
    await callsTwoTools();
    const messages = [{ role: 'user', content: QUESTION }];
    const asked = { model: SIGNING, messages, tools, stream: streamed };
    const text = await ai.chat.completions.runTools(asked).finalContent();
    assert.match(text, /vermilion/);
    // It writes the calls of its history anew, with the fields that it knows.
    await checkToolLoop({ carried: false });
  });
}

test("every prefix of OpenAI's own and of Google's compatible endpoint works", bounded, async () => {
  const messages = [{ role: 'user', content: 'Say pomegranate' }];
  for (const prefix of ['', '/openai', '/openai/v1', '/v1beta/openai/', '/v1/v1']) {
    const one = new OpenAI({ apiKey: CLIENT_KEY, baseURL: relay.url + prefix });
    const answer = await one.chat.completions.create({ model: FLASH, messages });
    assert.match(answer.choices[0].message.content, /pomegranate/);
  }
});

test('models are listed and described', bounded, async () => {
  const models = await collected(await ai.models.list());
  const flash = models.find(({ id }) => id === FLASH);
  assert.deepEqual(await ai.models.retrieve(FLASH), flash);
  assert.equal(flash.owned_by, 'google');
});

test('the tokens of a response are counted', bounded, async () => {
  const count = async (input) =>
    (await ai.responses.inputTokens.count({ model: FLASH, input })).input_tokens;
  const [few, many] = [await count('pomegranate'), await count('pomegranate '.repeat(50))];
  assert.ok(0 < few && few < many, `${few} ${many}`);
});

test('texts are embedded as numbers and in base64', embeds, async () => {
  const asked = { model: EMBEDDING, input: ['pomegranate', 'plum'], dimensions: 128 };
  // The SDK asks for base64 by itself, and decodes it.
  const packed = await ai.embeddings.create(asked);
  const plain = await ai.embeddings.create({ ...asked, encoding_format: 'float' });
  assert.deepEqual(packed.data.map(({ embedding }) => embedding.length), [128, 128]);
  for (const [at, { embedding }] of packed.data.entries()) {
    const numbers = plain.data[at].embedding;
    for (const [place, number] of embedding.entries()) {
      assert.equal(number, Math.fround(numbers[place]));
    }
  }
});
