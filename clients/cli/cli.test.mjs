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

// A run takes about 3 s. With a server that fails, the CLI retries for minutes.
const LIMIT_MS = 90_000;
const bounded = { timeout: LIMIT_MS + 10_000 };

// The emulator's throw-away credentials.
const ACCESS_TOKEN = 'ya29.emulator-access';
const REFRESH_TOKEN = '1//emulator-refresh';

const onEmulator = {
  CODE_ASSIST_ENDPOINT: EMULATOR_URL,
  GOOGLE_GENAI_USE_GCA: 'true',
  GOOGLE_CLOUD_ACCESS_TOKEN: ACCESS_TOKEN,
};

const throughProxy = {
  'speaking Code Assist': {
    CODE_ASSIST_ENDPOINT: PROXY_URL,
    GOOGLE_GENAI_USE_GCA: 'true',
    // The proxy puts its own in this one's place: the emulator would refuse it.
    GOOGLE_CLOUD_ACCESS_TOKEN: 'ya29.of-the-cli',
  },
  'speaking the Gemini API': { GOOGLE_GEMINI_BASE_URL: PROXY_URL, GEMINI_API_KEY: 'any' },
};

test('the CLI on the emulator itself, with a given token', bounded, async () => {
  await completes(onEmulator);
});

test('the CLI on the emulator itself, signed in, its token expired', bounded, async () => {
  const login = {
    access_token: 'ya29.expired',
    refresh_token: REFRESH_TOKEN,
    token_type: 'Bearer',
    scope: 'https://www.googleapis.com/auth/cloud-platform',
    expiry_date: Date.now() - 60_000,
  };
  const refreshes = await arrived('token');
  await completes({ CODE_ASSIST_ENDPOINT: EMULATOR_URL, EMULATOR_URL }, { login });
  assert.equal((await arrived('token')) - refreshes, 1);
});

test('the CLI on the emulator itself, its account not onboarded yet', bounded, async () => {
  await tellEmulator({ account: 'needs_onboarding', onboarding_polls: 1 });
  try {
    const onboardings = await arrived('onboardUser');
    await completes(onEmulator);
    assert.equal((await arrived('onboardUser')) - onboardings, 1);
  } finally {
    await tellEmulator({ account: 'onboarded' });
  }
});

for (const [how, environment] of Object.entries(throughProxy)) {
  test(`the CLI through the proxy, ${how}`, bounded, async () => {
    const answers = await arrived('streamGenerateContent');
    await completes(environment);
    assert.equal((await arrived('streamGenerateContent')) - answers, 1);
  });

  test(`the CLI through the proxy, ${how}, using a tool`, bounded, async () => {
    // Of the third generation: without the call's signature, the second turn would be refused.
    const model = 'gemini-3-pro-preview';
    const { response, stats } = await completes(environment, { model, prompt: 'list_directory' });
    assert.match(response, /list_directory/);
    assert.equal(stats.tools.totalCalls, 1);
  });
}

/** Runs the CLI on one prompt in a home of its own; what it answered. */
async function completes(environment, { login, model, prompt = 'Say pomegranate' } = {}) {
  const selectedType = environment.GEMINI_API_KEY ? 'gemini-api-key' : 'oauth-personal';
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
    const words = ['-m', model ?? 'gemini-2.5-flash', '-p', prompt, '--output-format', 'json'];
    const ended = await run([...preload, CLI, ...words], work, {
      PATH: process.env.PATH,
      HOME: home,
      CI: 'true',
      TERM: 'dumb',
      GEMINI_CLI_TRUST_WORKSPACE: 'true',
      NO_PROXY: '127.0.0.1',
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

/** How many requests of one kind the emulator has seen. */
async function arrived(kind) {
  const answer = await fetch(`${EMULATOR_URL}/__emulator/counts`);
  return (await answer.json())[kind] ?? 0;
}

async function tellEmulator(state) {
  const body = JSON.stringify(state);
  const answer = await fetch(`${EMULATOR_URL}/__emulator/state`, { method: 'POST', body });
  assert.equal(answer.status, 200, await answer.text());
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
