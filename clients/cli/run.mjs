// Runs the Gemini CLI.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const HERE = dirname(fileURLToPath(import.meta.url));
const MANIFEST = createRequire(import.meta.url).resolve('@google/gemini-cli/package.json');
const CLI = join(dirname(MANIFEST), createRequire(import.meta.url)(MANIFEST).bin.gemini);

// A run takes about 3 s. With a server that fails, the CLI retries for minutes.
const LIMIT_MS = 90_000;
export const bounded = { timeout: LIMIT_MS + 10_000 };

/** Runs the CLI on one prompt in a home of its own; what it answered. */
export async function completes(
  environment,
  { auth = 'oauth-personal', login, adc, model, prompt = 'Say pomegranate' } = {},
) {
  const home = await mkdtemp(join(tmpdir(), 'gemini-cli-'));
  try {
    const settings = {
      security: { auth: { selectedType: auth } },
      general: { enableAutoUpdate: false, enableAutoUpdateNotification: false },
      privacy: { usageStatisticsEnabled: false },
      telemetry: { enabled: false },
    };
    const folder = join(home, '.gemini');
    const work = join(home, 'work');
    await mkdir(folder);
    await mkdir(work);
    await writeFile(join(folder, 'settings.json'), JSON.stringify(settings));
    if (login) await writeFile(join(folder, 'oauth_creds.json'), JSON.stringify(login));
    const credentials = join(home, 'application_default_credentials.json');
    if (adc) await writeFile(credentials, JSON.stringify(adc));

    const preload = login || adc ? ['--require', join(HERE, 'google-hosts.cjs')] : [];
    const words = ['-m', model ?? 'gemini-2.5-flash', '-p', prompt, '--output-format', 'json'];
    const ended = await run([...preload, CLI, ...words], work, {
      PATH: process.env.PATH,
      HOME: home,
      CI: 'true',
      TERM: 'dumb',
      GEMINI_CLI_TRUST_WORKSPACE: 'true',
      NO_PROXY: '127.0.0.1',
      ...(adc && { GOOGLE_APPLICATION_CREDENTIALS: credentials }),
      ...environment,
    });

    const story = `exit code ${ended.code}\n${ended.stdout}\n${ended.stderr}`;
    assert.equal(ended.code, 0, story);
    const answer = JSON.parse(ended.stdout);
    assert.ok(answer.response.includes(prompt), story);
    const models = Object.values(answer.stats.models);
    assert.ok(models.length > 0, story);
    for (const { api } of models) assert.equal(api.totalErrors, 0, story);
    return answer;
  } finally {
    await rm(home, { recursive: true, force: true });
  }
}

function run(words, cwd, env) {
  return new Promise((resolve, reject) => {
    const stdio = ['ignore', 'pipe', 'pipe'];
    const child = spawn(process.execPath, words, { cwd, env, stdio, timeout: LIMIT_MS });
    const said = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr']) {
      child[name].setEncoding('utf8').on('data', (text) => (said[name] += text));
    }
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, ...said }));
  });
}
