// opencode, with AI SDK's providers for both dialects: text, a task with tools, an error.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { MODEL, Recorder, calls, fails, says, script, signature, upstream } from './emulated.mjs';
import { callsOf, declared, resultsOf } from './history.mjs';
import { bounded, checked, folder, opencode } from './run.mjs';

const recorder = await Recorder.start();
const [FIRST, SECOND] = [signature('the first step'), signature('the second step')];
const MAKE = "printf 'the sum is %s' $((1234 + 4321)) > made.txt";

// Beside each task, and at the same time, it asks for a title without tools.
const TITLE = says('A title', { match: { body_contains: 'You are a title generator' }, times: 0 });
const tasks = async () => (await upstream()).filter(({ request }) => declared(request).length > 0);

const paths = { 'openai-compatible': '/v1/chat/completions', anthropic: '/v1/messages' };

for (const [npm, path] of Object.entries(paths)) {
  const ofTasks = () => recorder.to(path).filter(({ body }) => JSON.parse(body).tools?.length > 0);

  test(`text, streamed piece by piece (${npm})`, bounded, async () => {
    await script(TITLE, says('One plain pomegranate.', { event_interval_ms: 100 }));
    const ran = await opencode(recorder.url, 'Say pomegranate.', { npm });
    const requests = await tasks();
    checked(ran, recorder, () => {
      assert.equal(ran.code, 0);
      assert.match(ran.stdout, /One plain pomegranate\./);
      assert.equal(ofTasks().length, 1);
      assert.ok(ofTasks()[0].chunks.length >= 3);
      assert.deepEqual(requests.map(({ model }) => model), [MODEL]);
    });
  });

  test(`it makes a file and reads it (${npm})`, bounded, () =>
    folder(async (work) => {
      const bash = ['bash', { command: MAKE, description: 'Makes a file' }];
      const read = ['read', { filePath: join(work, 'made.txt') }];
      await script(TITLE, calls([[...bash, FIRST]]), calls([[...read, SECOND]]));
      const ran = await opencode(recorder.url, 'Make a file.', { npm, work });
      const requests = await tasks();
      checked(ran, recorder, () => {
        assert.equal(ran.code, 0);
        assert.match(ran.stdout, /The function read answered: [^]*the sum is 5555/);
        assert.equal(requests.length, 3);
        const { request } = requests[2];
        const steps = callsOf(request);
        assert.deepEqual(
          steps.map((parts) => parts.map((part) => [part.functionCall.name, part.thoughtSignature])),
          [[['bash', FIRST]], [['read', SECOND]]],
        );
        assert.deepEqual(
          resultsOf(request).map((parts) => parts.map((part) => part.functionResponse.id)),
          steps.map((parts) => parts.map((part) => part.functionCall.id)),
        );
      });
    }));

  test(`a forbidden request is not repeated (${npm})`, bounded, async () => {
    await script(TITLE, ...fails({ status: 403 }));
    const ran = await opencode(recorder.url, 'Say pomegranate.', { npm });
    const requests = await tasks();
    checked(ran, recorder, () => {
      assert.deepEqual(ofTasks().map(({ status }) => status), [403]);
      assert.equal(requests.length, 1);
    });
  });
}
