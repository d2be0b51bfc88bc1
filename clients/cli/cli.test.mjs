// The official Gemini CLI, unmodified, completes a prompt: on the emulator, which proves the
// emulator, and through the proxy, in both of the ways that the CLI can be pointed at it.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const { PROXY_URL, EMULATOR_URL } = process.env;
const HERE = dirname(fileURLToPath(import.meta.url));
const MANIFEST = createRequire(import.meta.url).resolve('@google/gemini-cli/package.json');
const CLI = join(dirname(MANIFEST), createRequire(import.meta.url)(MANIFEST).bin.gemini);

// A run takes about 3 s. The CLI's own patience with an unhappy server is minutes.
const LIMIT_MS = 90_000;
const bounded = { timeout: LIMIT_MS + 10_000 };

// The emulator's throw-away credentials.
const ACCESS_TOKEN = 'ya29.emulator-access';
const REFRESH_TOKEN = '1//emulator-refresh';

test('the CLI on the emulator itself, with a given token', bounded, async () => {
  await completes('oauth-personal', {
    CODE_ASSIST_ENDPOINT: EMULATOR_URL,
    GOOGLE_GENAI_USE_GCA: 'true',
    GOOGLE_CLOUD_ACCESS_TOKEN: ACCESS_TOKEN,
  });
});

test('the CLI on the emulator itself, signed in, its token expired', bounded, async () => {
  const login = {
    access_token: 'ya29.expired',
    refresh_token: REFRESH_TOKEN,
    token_type: 'Bearer',
    scope: 'https://www.googleapis.com/auth/cloud-platform',
    expiry_date: Date.now() - 60_000,
  };
  const google = { CODE_ASSIST_ENDPOINT: EMULATOR_URL, EMULATOR_URL };
  await completes('oauth-personal', google, login);
});

test('the CLI through the proxy, speaking Code Assist', bounded, async () => {
  await completes('oauth-personal', {
    CODE_ASSIST_ENDPOINT: PROXY_URL,
    GOOGLE_GENAI_USE_GCA: 'true',
    // The proxy puts its own in this one's place: the emulator does not know it.
    GOOGLE_CLOUD_ACCESS_TOKEN: 'ya29.of-the-cli',
  });
});

test('the CLI through the proxy, speaking the Gemini API', bounded, async () => {
  const gemini = { GOOGLE_GEMINI_BASE_URL: PROXY_URL, GEMINI_API_KEY: 'any' };
  await completes('gemini-api-key', gemini);
});

async function completes(selectedType, environment, login) {
  const home = await mkdtemp(join(tmpdir(), 'gemini-cli-'));
  try {
    const settings = {
      security: { auth: { selectedType } },
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

    const preload = login ? ['--require', join(HERE, 'google-hosts.cjs')] : [];
    const model = ['-m', 'gemini-2.5-flash'];
    const prompt = ['-p', 'Say pomegranate', '--output-format', 'json'];
    const ended = await run([...preload, CLI, ...model, ...prompt], work, {
      PATH: process.env.PATH,
      HOME: home,
      // The shell's editor and terminal have no part in this.
      CI: 'true',
      TERM: 'dumb',
      GEMINI_CLI_TRUST_WORKSPACE: 'true',
      NO_PROXY: '127.0.0.1',
      ...environment,
    });

    const story = `exit code ${ended.code}\n${ended.stdout}\n${ended.stderr}`;
    assert.equal(ended.code, 0, story);
    const answer = JSON.parse(ended.stdout);
    assert.match(answer.response, /pomegranate/, story);
    for (const { api } of Object.values(answer.stats.models)) assert.equal(api.totalErrors, 0, story);
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
