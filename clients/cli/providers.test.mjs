// The official Gemini CLI, unmodified, with an API key and in Vertex mode, against each provider.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  CLIENT_KEY,
  CLIENT_PROJECT,
  Relay,
  UPSTREAM,
  VERTEX_PLACE,
  arrived,
  providerOf,
} from '../js/emulated.mjs';
import { bounded, completes } from './run.mjs';

const { EMULATOR_URL } = process.env;

const relay = await Relay.start();

// A login of gcloud's, which the emulator's token endpoint takes. The proxy takes none of it.
const ADC = {
  type: 'authorized_user',
  client_id: 'emulator-user.apps.googleusercontent.com',
  client_secret: 'emulator-user-secret',
  refresh_token: '1//emulator-user-refresh',
  quota_project_id: CLIENT_PROJECT,
};

const ways = {
  'with an API key': [
    { GOOGLE_GEMINI_BASE_URL: relay.url, GEMINI_API_KEY: CLIENT_KEY },
    { auth: 'gemini-api-key' },
  ],
  'in Vertex mode with an API key': [
    {
      GOOGLE_VERTEX_BASE_URL: relay.url,
      GOOGLE_GENAI_USE_VERTEXAI: 'true',
      GOOGLE_API_KEY: CLIENT_KEY,
    },
    { auth: 'vertex-ai' },
  ],
  'in Vertex mode with a login': [
    {
      GOOGLE_VERTEX_BASE_URL: relay.url,
      GOOGLE_GENAI_USE_VERTEXAI: 'true',
      GOOGLE_CLOUD_PROJECT: CLIENT_PROJECT,
      GOOGLE_CLOUD_LOCATION: 'us-central1',
      EMULATOR_URL,
    },
    { auth: 'vertex-ai', adc: ADC },
  ],
};

for (const [how, [environment, options]] of Object.entries(ways)) {
  // Only Vertex AI has tokens of a login.
  const skip = Boolean(options.adc) && UPSTREAM !== 'vertex';
  test(`the CLI ${how}, using a tool`, { ...bounded, skip }, async () => {
    const asked = { ...options, model: 'gemini-3-pro-preview', prompt: 'list_directory' };
    const { response, stats } = await completes(environment, asked);
    assert.match(response, /list_directory/);
    assert.equal(stats.tools.totalCalls, 1);
    const requests = await arrived('streamGenerateContent');
    assert.equal(requests.length, 2);
    for (const { path } of requests.filter(({ path }) => providerOf(path) === 'vertex')) {
      assert.ok(path.startsWith(`/v1beta1/${VERTEX_PLACE}/publishers/google/models/`), path);
    }
  });
}
