// The official Gemini CLI, unmodified, completes a prompt: on the emulator, which proves the
// emulator, and through the proxy, in both of the ways that the CLI can be pointed at it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bounded, completes } from './run.mjs';

const { PROXY_URL, EMULATOR_URL } = process.env;

// The emulator's throw-away credentials.
const ACCESS_TOKEN = 'ya29.emulator-access';
const REFRESH_TOKEN = '1//emulator-refresh';

const onEmulator = {
  CODE_ASSIST_ENDPOINT: EMULATOR_URL,
  GOOGLE_GENAI_USE_GCA: 'true',
  GOOGLE_CLOUD_ACCESS_TOKEN: ACCESS_TOKEN,
};

const throughProxy = {
  'speaking Code Assist': [
    {
      CODE_ASSIST_ENDPOINT: PROXY_URL,
      GOOGLE_GENAI_USE_GCA: 'true',
      // The proxy puts its own in this one's place: the emulator would refuse it.
      GOOGLE_CLOUD_ACCESS_TOKEN: 'ya29.of-the-cli',
    },
    'oauth-personal',
  ],
  'speaking the Gemini API': [
    { GOOGLE_GEMINI_BASE_URL: PROXY_URL, GEMINI_API_KEY: 'any' },
    'gemini-api-key',
  ],
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

for (const [how, [environment, auth]] of Object.entries(throughProxy)) {
  test(`the CLI through the proxy, ${how}`, bounded, async () => {
    const answers = await arrived('streamGenerateContent');
    await completes(environment, { auth });
    assert.equal((await arrived('streamGenerateContent')) - answers, 1);
  });

  test(`the CLI through the proxy, ${how}, using a tool`, bounded, async () => {
    // Of the third generation: without the call's signature, the second turn would be refused.
    const model = 'gemini-3-pro-preview';
    const { response, stats } = await completes(environment, {
      auth,
      model,
      prompt: 'list_directory',
    });
    assert.match(response, /list_directory/);
    assert.equal(stats.tools.totalCalls, 1);
  });
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
