// A task of two steps with tools that really run: two calls side by side make files,
// and the next call reads one. The emulator's own answer then repeats what it was given.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { MODEL, Recorder, calls, script, signature, upstream } from './emulated.mjs';
import { bounded, checked, claude, codex, folder } from './run.mjs';
import { callsOf, declared, resultsOf } from './history.mjs';

const recorder = await Recorder.start();
const [FIRST, SECOND] = [signature('the first step'), signature('the second step')];

// The sum is in no prompt and in no answer: only the file has it.
const MAKE = "printf 'the sum is %s' $((1234 + 4321)) > made.txt";
const MAKE_ANOTHER = "printf 'another' > another.txt";
const SUM = 'the sum is 5555';

/** What holds for the three requests of every such task. */
function checkHistory(requests, tools) {
  assert.deepEqual(requests.map(({ model, rpc }) => [model, rpc]), [
    [MODEL, 'streamGenerateContent'],
    [MODEL, 'streamGenerateContent'],
    [MODEL, 'streamGenerateContent'],
  ]);
  const [, , { request }] = requests;
  const steps = callsOf(request);
  assert.deepEqual(
    steps.map((parts) => parts.map(({ functionCall: { name } }) => name)),
    [[tools[0], tools[0]], [tools[1]]],
  );
  // Only the first call of a step had one.
  assert.deepEqual(
    steps.map((parts) => parts.map(({ thoughtSignature }) => thoughtSignature)),
    [[FIRST, undefined], [SECOND]],
  );
  const named = ({ id, name }) => [id, name];
  assert.deepEqual(
    resultsOf(request).map((parts) => parts.map((part) => named(part.functionResponse))),
    steps.map((parts) => parts.map((part) => named(part.functionCall))),
  );
  for (const tool of tools) assert.ok(declared(request).includes(tool), tool);
}

test('Claude Code makes files and reads one', bounded, () =>
  folder(async (work) => {
    const file = join(work, 'made.txt');
    const bash = (command) => ['Bash', { command, description: 'Makes a file' }];
    await script(
      calls([[...bash(MAKE), FIRST], bash(MAKE_ANOTHER)]),
      calls([['Read', { file_path: file }, SECOND]]),
    );
    const ran = await claude(recorder.url, 'Make two files.', { model: MODEL, work });
    const requests = await upstream();
    await checked(ran, recorder, async () => {
      assert.equal(ran.code, 0);
      assert.match(ran.stdout, /The function Read answered: /);
      assert.ok(ran.stdout.includes(SUM));
      checkHistory(requests, ['Bash', 'Read']);
      assert.equal(await readFile(file, 'utf8'), SUM);
      assert.equal(await readFile(join(work, 'another.txt'), 'utf8'), 'another');
      for (const { request } of requests) {
        const text = JSON.stringify(request);
        assert.ok(!text.includes('x-anthropic-billing-header'));
        assert.ok(!declared(request).includes('DeferredToolPlaceholder'));
      }
    });
  }));

test('Codex makes files and reads one', bounded, () =>
  folder(async (work) => {
    const run = (cmd) => ['exec_command', { cmd }];
    await script(
      calls([[...run(MAKE), FIRST], run(MAKE_ANOTHER)]),
      calls([[...run('cat made.txt'), SECOND]]),
    );
    const ran = await codex(recorder.url, 'Make two files.', { work });
    const requests = await upstream();
    await checked(ran, recorder, async () => {
      assert.equal(ran.code, 0);
      assert.match(ran.stdout, /The function exec_command answered: /);
      assert.ok(ran.stdout.includes(SUM));
      checkHistory(requests, ['exec_command', 'exec_command']);
      assert.equal(await readFile(join(work, 'made.txt'), 'utf8'), SUM);
      assert.equal(await readFile(join(work, 'another.txt'), 'utf8'), 'another');
    });
  }));
