// Codex: text, streams, and how often it asks again after an error.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MODEL, ON_STREAMS, Recorder, TOO_LONG, event, fails, says, script, upstream } from './emulated.mjs';
import { declared, textOf } from './history.mjs';
import { bounded, checked, codex } from './run.mjs';

const recorder = await Recorder.start();
const responses = () => recorder.to('/v1/responses');
const statuses = () => responses().map(({ status }) => status);

test('text, streamed piece by piece', bounded, async () => {
  await script(says('One plain pomegranate.', { event_interval_ms: 100 }));
  const ran = await codex(recorder.url, 'Say pomegranate.');
  const requests = await upstream();
  checked(ran, recorder, () => {
    assert.equal(ran.code, 0);
    assert.equal(ran.stdout.trim(), 'One plain pomegranate.');
    const [{ chunks }, ...others] = responses();
    assert.equal(others.length, 0);
    assert.ok(chunks.length >= 3);
    const deltas = chunks.join('').match(/^event: response\.output_text\.delta$/gm);
    assert.equal(deltas.length, 3);
    const [{ model, request }] = requests;
    assert.equal(model, MODEL);
    assert.ok(declared(request).includes('exec_command'));
    // The members of a namespace are functions of their own.
    assert.ok(declared(request).some((name) => name.startsWith('multi_agent_v1__')));
    assert.match(textOf(request), /Say pomegranate\./);
  });
});

// A model of its own: the proxy remembers what is out of quota.
const refusals = [
  {
    what: 'a quota of the day that is used up',
    model: 'gemini-2.5-flash-lite',
    fault: { error: 'quota_per_day' },
    status: 429,
    code: 'insufficient_quota',
  },
  {
    what: 'a prompt that is too long',
    model: MODEL,
    fault: TOO_LONG,
    status: 400,
    code: 'context_length_exceeded',
  },
];

for (const { what, model, fault, status, code } of refusals) {
  test(`${what} ends it after one request`, bounded, async () => {
    await script(...fails(fault));
    const ran = await codex(recorder.url, 'Say pomegranate.', { model });
    const requests = await upstream();
    checked(ran, recorder, () => {
      assert.notEqual(ran.code, 0);
      assert.deepEqual(statuses(), [status]);
      assert.equal(JSON.parse(responses()[0].chunks.join('')).error.code, code);
      assert.equal(requests.length, 1);
    });
  });
}

test('a wrong key is shown, and nothing goes upstream', bounded, async () => {
  // By default Codex repeats a 401 five times, whatever else is in the answer.
  const settings = ['stream_max_retries = 0'];
  const ran = await codex(recorder.url, 'Say pomegranate.', { key: 'wrong', settings });
  const requests = await upstream();
  checked(ran, recorder, () => {
    assert.notEqual(ran.code, 0);
    assert.deepEqual(statuses(), [401]);
    assert.equal(requests.length, 0);
  });
});

test('a stream that breaks off is a failed response, which it shows', bounded, async () => {
  const broken = { ...ON_STREAMS, events: [event([{ text: 'Half' }])], tail_error: 'internal' };
  await script({ ...broken, times: 0 });
  const ran = await codex(recorder.url, 'Say pomegranate.', { settings: ['stream_max_retries = 0'] });
  const requests = await upstream();
  checked(ran, recorder, () => {
    assert.notEqual(ran.code, 0);
    assert.match(responses()[0].chunks.join(''), /\nevent: response\.failed\n/);
    assert.ok(!/stream closed before/.test(ran.stdout + ran.stderr));
    assert.deepEqual(statuses(), [200]);
    assert.equal(requests.length, 1);
  });
});

test('a stream that breaks off once is asked for once more', bounded, async () => {
  const broken = { ...ON_STREAMS, events: [event([{ text: 'Half' }])], tail_error: 'internal' };
  await script(broken, says('A whole pomegranate.'));
  const ran = await codex(recorder.url, 'Say pomegranate.');
  checked(ran, recorder, () => {
    assert.equal(ran.code, 0);
    assert.match(ran.stdout, /A whole pomegranate\.$/m);
    assert.deepEqual(statuses(), [200, 200]);
  });
});
