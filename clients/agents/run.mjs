// Runs agents on one task each, in a home and a folder of their own.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { KEY, MODEL } from './emulated.mjs';
import { program } from './programs.mjs';

// A run takes one to four seconds. With a server that fails, an agent retries for minutes.
const LIMIT_MS = 60_000;
export const bounded = { timeout: LIMIT_MS + 10_000 };

// Nothing but the recorder is reached: port 9 refuses. opencode looks for plugins, aider for prices.
// Claude Code has settings for that; behind an HTTP proxy it does not ask for `/api/hello`.
const OFFLINE = {
  HTTP_PROXY: 'http://127.0.0.1:9',
  HTTPS_PROXY: 'http://127.0.0.1:9',
  NO_PROXY: '127.0.0.1',
  npm_config_fetch_retries: '0',
  npm_config_offline: 'true',
};

/** Claude Code. Without `model` it asks for its own default. */
export const claude = (url, prompt, { model, key = KEY, words = [], env, ...more } = {}) =>
  run('claude', ['-p', prompt, '--allowedTools', 'Bash,Read', ...words], {
    ...more,
    env: {
      ANTHROPIC_BASE_URL: url,
      ANTHROPIC_API_KEY: key,
      ...(model && { ANTHROPIC_MODEL: model }),
      DISABLE_AUTOUPDATER: '1',
      DISABLE_ERROR_REPORTING: '1',
      DISABLE_TELEMETRY: '1',
      ...env,
    },
  });

/** Codex. `settings` are lines of the provider's table. */
export const codex = (url, prompt, { model = MODEL, key = KEY, settings = [], ...more } = {}) =>
  run('codex', ['exec', '--skip-git-repo-check', '--dangerously-bypass-approvals-and-sandbox', prompt], {
    ...more,
    env: { ...OFFLINE, PROXY_KEY: key },
    files: {
      '.codex/config.toml': [
        `model = "${model}"`,
        'model_provider = "proxy"',
        'check_for_update_on_startup = false',
        '[analytics]',
        'enabled = false',
        '[model_providers.proxy]',
        'name = "proxy"',
        `base_url = "${url}/v1"`,
        'env_key = "PROXY_KEY"',
        'wire_api = "responses"',
        ...settings,
      ].join('\n'),
    },
  });

/** opencode, with a provider of AI SDK's: `openai-compatible` or `anthropic`. */
export const opencode = (url, prompt, { npm, model = MODEL, ...more }) =>
  run('opencode', ['run', '-m', `proxy/${model}`, prompt], {
    ...more,
    env: { ...OFFLINE, OPENCODE_DISABLE_MODELS_FETCH: '1' },
    files: {
      '.config/opencode/opencode.json': JSON.stringify({
        autoupdate: false,
        share: 'disabled',
        provider: {
          proxy: {
            npm: `@ai-sdk/${npm}`,
            options: { baseURL: `${url}/v1`, apiKey: KEY },
            models: { [model]: {}, 'gemini-2.5-flash': {} },
          },
        },
        small_model: 'proxy/gemini-2.5-flash',
      }),
    },
  });

/** aider, with a model of LiteLLM's: `openai/…` or `anthropic/…`. */
export const aider = (url, prompt, { provider, model = MODEL, key = KEY, words = [], ...more }) =>
  run(
    'aider',
    [
      ...['--model', `${provider}/${model}`, '--message', prompt, '--edit-format', 'whole'],
      ...['--yes', '--no-git', '--no-check-update', '--no-show-model-warnings'],
      ...['--no-show-release-notes', '--no-detect-urls', '--analytics-disable', ...words],
    ],
    {
      ...more,
      env: {
        ...OFFLINE,
        OPENAI_API_BASE: `${url}/v1`,
        OPENAI_API_KEY: key,
        ANTHROPIC_BASE_URL: url,
        ANTHROPIC_API_KEY: key,
        LITELLM_LOCAL_MODEL_COST_MAP: 'True',
      },
    },
  );

/**
 * Runs an agent in `work`, or in a new folder. Its exit code and output. All that it started is ended
 * with it.
 */
async function run(name, words, { env, files = {}, work }) {
  const home = await mkdtemp(join(tmpdir(), `agent-${name}-`));
  try {
    for (const [file, text] of Object.entries(files)) {
      await mkdir(dirname(join(home, file)), { recursive: true });
      await writeFile(join(home, file), text);
    }
    const cwd = work ?? join(home, 'work');
    await mkdir(cwd, { recursive: true });
    return await ended(program(name), words, cwd, {
      PATH: process.env.PATH,
      HOME: home,
      LANG: 'C.UTF-8',
      TERM: 'dumb',
      NO_COLOR: '1',
      ...env,
    });
  } finally {
    await rm(home, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  }
}

function ended(file, words, cwd, env) {
  return new Promise((resolve, reject) => {
    // In a process group of its own, so that what it leaves running can be ended.
    const child = spawn(file, words, { cwd, env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
    const said = { stdout: '', stderr: '' };
    for (const stream of ['stdout', 'stderr']) {
      child[stream].setEncoding('utf8').on('data', (text) => (said[stream] += text));
    }
    const end = () => {
      try {
        process.kill(-child.pid, 'SIGKILL');
      } catch {
        // The group has ended.
      }
    };
    const limit = setTimeout(() => {
      said.stderr += `\n${file} was ended after ${LIMIT_MS / 1000} s`;
      end();
    }, LIMIT_MS);
    child.on('error', reject);
    child.on('exit', end);
    child.on('close', (code) => {
      clearTimeout(limit);
      resolve({ code, ...said });
    });
  });
}

/** A folder for an agent's task, removed when `use` is over. */
export async function folder(use) {
  const work = await mkdtemp(join(tmpdir(), 'agent-work-'));
  try {
    return await use(work);
  } finally {
    await rm(work, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  }
}

/** Runs `check`, and puts the agent's output and what the recorder has seen into its failure. */
export function checked({ code, stdout, stderr }, recorder, check) {
  try {
    return check();
  } catch (error) {
    const story = `exit code ${code}\n${stdout}\n${stderr}\n${recorder.told()}`;
    throw new assert.AssertionError({ ...error, message: `${error.message}\n${story}` });
  }
}
