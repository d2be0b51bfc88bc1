// Claude Code: text, streams, and how often it asks again after an error.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ON_STREAMS, Recorder, TOO_LONG, event, fails, says, script, upstream } from './emulated.mjs';
import { declared, textOf } from './history.mjs';
import { bounded, checked, claude } from './run.mjs';

const recorder = await Recorder.start();
const messages = () => recorder.to('/v1/messages');
const statuses = () => messages().map(({ status }) => status);

test('text, with its own default model under an alias', bounded, async () => {
  await script(says('A plain pomegranate.'));
  const ran = await claude(recorder.url, 'Say pomegranate.');
  const requests = await upstream();
  checked(ran, recorder, () => {
    assert.equal(ran.code, 0);
    assert.equal(ran.stdout.trim(), 'A plain pomegranate.');
    assert.deepEqual(recorder.to('/api/hello').map(({ method, status }) => [method, status]), [
      ['HEAD', 200],
    ]);
    const [{ body, chunks }, ...others] = messages();
    assert.equal(others.length, 0);
    const asked = JSON.parse(body);
    assert.match(asked.model, /^claude-/);
    assert.ok(chunks.join('').includes(`"model":"${asked.model}"`));
    const [{ model, request }] = requests;
    assert.equal(model, 'gemini-3-pro-preview');
    // What Claude Code sends in every request, and Gemini is better off without.
    assert.ok(body.includes('x-anthropic-billing-header') && body.includes('DeferredToolPlaceholder'));
    assert.ok(!textOf(request).includes('x-anthropic-billing-header'));
    assert.ok(!declared(request).includes('DeferredToolPlaceholder'));
    assert.ok(declared(request).includes('Bash'));
    assert.equal(request.generationConfig.thinkingConfig?.includeThoughts, undefined);
    // The system message after the first prompt stays at its place.
    const [{ role, parts }] = request.contents;
    assert.equal(role, 'user');
    assert.equal(request.contents.length, 1);
    assert.match(parts.at(-1).text, /^<system>\n[^]*\n<\/system>$/);
  });
});

test('a stream, piece by piece', bounded, async () => {
  await script(says('One two three four.', { event_interval_ms: 100 }));
  const words = ['--output-format', 'stream-json', '--include-partial-messages', '--verbose'];
  const ran = await claude(recorder.url, 'Count.', { words });
  checked(ran, recorder, () => {
    assert.equal(ran.code, 0);
    const lines = ran.stdout.trim().split('\n').map((line) => JSON.parse(line));
    const deltas = lines
      .filter(({ type }) => type === 'stream_event')
      .flatMap(({ event: { delta } }) => (delta?.type === 'text_delta' ? [delta.text] : []));
    assert.deepEqual(deltas, ['One ', 'two ', 'three ', 'four.']);
    assert.equal(lines.find(({ type }) => type === 'result').result, 'One two three four.');
    // Not all at once.
    assert.ok(messages()[0].chunks.length >= 4);
  });
});

// Models of their own: the proxy remembers what is out of quota.
const refusals = [
  ['a quota of the day that is used up', 'gemini-2.5-pro', { error: 'quota_per_day' }, 429],
  ['a forbidden request', 'gemini-2.5-flash', { status: 403 }, 403],
];

for (const [what, model, fault, status] of refusals) {
  test(`${what} ends it after one request`, bounded, async () => {
    await script(...fails(fault));
    const ran = await claude(recorder.url, 'Say pomegranate.', { model });
    const requests = await upstream();
    checked(ran, recorder, () => {
      assert.notEqual(ran.code, 0);
      assert.deepEqual(statuses(), [status]);
      assert.equal(messages()[0].answered['x-should-retry'], 'false');
      assert.equal(requests.length, 1);
    });
  });
}

test('a wrong key ends it after one request, and none upstream', bounded, async () => {
  const ran = await claude(recorder.url, 'Say pomegranate.', { key: 'wrong' });
  const requests = await upstream();
  checked(ran, recorder, () => {
    assert.notEqual(ran.code, 0);
    assert.deepEqual(statuses(), [401]);
    assert.equal(messages()[0].answered['x-should-retry'], 'false');
    assert.equal(requests.length, 0);
  });
});

test('a request that is refused is never repeated as it was', bounded, async () => {
  await script(...fails({ status: 400 }));
  const ran = await claude(recorder.url, 'Say pomegranate.', { model: 'gemini-2.5-flash' });
  const requests = await upstream();
  checked(ran, recorder, () => {
    assert.notEqual(ran.code, 0);
    assert.match(ran.stdout, /Request contains an invalid argument\./);
    // It looks for what the server does not know, and leaves out one beta after the other.
    const asked = messages().map(({ headers, body }) => `${headers['anthropic-beta']} ${body}`);
    assert.equal(new Set(asked).size, asked.length);
    assert.ok(asked.length <= 6);
    assert.equal(requests.length, asked.length);
  });
});

test('a request that is refused ends it after one request without betas', bounded, async () => {
  await script(...fails({ status: 400 }));
  const env = { CLAUDE_CODE_DISABLE_EXPERIMENTAL_BETAS: '1' };
  const ran = await claude(recorder.url, 'Say pomegranate.', { model: 'gemini-2.5-flash', env });
  checked(ran, recorder, () => assert.deepEqual(statuses(), [400]));
});

test('an unknown model is asked for once more without a stream, and never upstream', bounded, async () => {
  const ran = await claude(recorder.url, 'Say pomegranate.', { model: 'gpt-4o' });
  const requests = await upstream();
  checked(ran, recorder, () => {
    assert.notEqual(ran.code, 0);
    assert.deepEqual(statuses(), [404, 404]);
    assert.equal(requests.length, 0);
  });
});

test('a prompt that is too long is understood', bounded, async () => {
  await script(...fails(TOO_LONG));
  const ran = await claude(recorder.url, 'Say pomegranate.', { model: 'gemini-2.5-flash' });
  checked(ran, recorder, () => {
    assert.match(ran.stdout, /prompt is too long/i);
    assert.match(messages()[0].chunks.join(''), /prompt is too long: 1200000 tokens > 1048576 maximum/);
  });
});

test('a stream that breaks off is asked for once more, without a stream', bounded, async () => {
  const broken = { ...ON_STREAMS, events: [event([{ text: 'Half' }])], tail_error: 'internal' };
  const whole = event([{ text: 'A whole pomegranate.' }], 'STOP');
  await script(broken, { match: { rpc: 'generateContent' }, body: whole });
  const ran = await claude(recorder.url, 'Say pomegranate.', { model: 'gemini-2.5-flash' });
  const requests = await upstream();
  checked(ran, recorder, () => {
    assert.equal(ran.code, 0);
    assert.equal(ran.stdout.trim(), 'A whole pomegranate.');
    assert.match(messages()[0].chunks.join(''), /\nevent: error\n/);
    assert.deepEqual(statuses(), [200, 200]);
    assert.deepEqual(requests.map(({ rpc }) => rpc), ['streamGenerateContent', 'generateContent']);
  });
});
