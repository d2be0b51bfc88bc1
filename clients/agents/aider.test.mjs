// aider, through LiteLLM, in both dialects: text, a file that it makes and one that it reads, an error.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { MODEL, Recorder, TOO_LONG, fails, says, script, upstream } from './emulated.mjs';
import { textOf } from './history.mjs';
import { aider, bounded, checked, folder } from './run.mjs';

const recorder = await Recorder.start();
const paths = { openai: '/v1/chat/completions', anthropic: '/v1/messages' };

for (const [provider, path] of Object.entries(paths)) {
  test(`it streams, makes a file, and reads it (${provider})`, bounded, () =>
    folder(async (work) => {
      // aider has no tools: it edits what the answer names, and sends files in its prompt.
      const answer = 'Here it is.\n\nmade.txt\n```\na plain pomegranate\n```\n';
      await script(says(answer, { event_interval_ms: 50 }));
      const made = await aider(recorder.url, 'Make a file.', { provider, work });
      const [{ model }] = await upstream();
      await checked(made, recorder, async () => {
        assert.equal(made.code, 0);
        assert.equal(model, MODEL);
        assert.equal(await readFile(join(work, 'made.txt'), 'utf8'), 'a plain pomegranate\n');
        assert.equal(recorder.to(path).length, 1);
        assert.ok(recorder.to(path)[0].chunks.length >= 3);
      });

      await script(says('It holds a pomegranate.'));
      const words = ['--read', 'made.txt'];
      const read = await aider(recorder.url, 'What does it hold?', { provider, work, words });
      const [, { request }] = await upstream();
      checked(read, recorder, () => {
        assert.equal(read.code, 0);
        assert.match(read.stdout, /It holds a pomegranate\./);
        assert.match(textOf(request), /a plain pomegranate/);
      });
    }));

  test(`a prompt that is too long is understood (${provider})`, bounded, async () => {
    await script(...fails(TOO_LONG));
    const ran = await aider(recorder.url, 'Say pomegranate.', { provider });
    checked(ran, recorder, () => {
      assert.deepEqual(recorder.to(path).map(({ status }) => status), [400]);
      assert.match(ran.stdout, /has hit a token limit/);
    });
  });

  test(`a wrong key is shown (${provider})`, bounded, async () => {
    const ran = await aider(recorder.url, 'Say pomegranate.', { provider, key: 'wrong' });
    checked(ran, recorder, () => {
      assert.deepEqual(recorder.to(path).map(({ status }) => status), [401]);
      assert.match(ran.stdout, /not\s+one\s+of\s+this\s+proxy\\?'s\s+keys/);
    });
  });
}
