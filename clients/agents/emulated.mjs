// The emulator behind the proxy, and a recorder in front of it.

import assert from 'node:assert/strict';
import { createServer, request as forward } from 'node:http';
import { after, beforeEach } from 'node:test';

const { EMULATOR_URL, PROXY_URL } = process.env;

// As `cargo xtask agents` starts the proxy.
export const KEY = 'key-of-the-agents';
export const MODEL = 'gemini-3-pro-preview';

/** One of the emulator's control endpoints. */
async function control(name, body, method = body ? 'POST' : 'GET') {
  const init = { method, body: body && JSON.stringify(body) };
  const answer = await fetch(`${EMULATOR_URL}/__emulator/${name}`, init);
  const text = await answer.text();
  assert.ok(answer.ok, text);
  return text ? JSON.parse(text) : null;
}

/** Adds rules to the emulator's script. */
export const script = (...rules) => control('script', rules);

/** The requests for answers that reached the emulator: each with its `rpc`, `model` and Gemini `request`. */
export async function upstream() {
  const wanted = ({ rpc }) => /^(stream)?generateContent$/i.test(rpc);
  return (await control('log')).filter(wanted).map(({ rpc, body }) => {
    const { model, request } = JSON.parse(body);
    return { rpc, model, request };
  });
}

let answers = 0;

/** An event of Code Assist's stream with `parts`, the last one of an answer if there is a `finishReason`. */
export function event(parts, finishReason) {
  answers += finishReason ? 1 : 0;
  const candidate = { content: { role: 'model', parts }, ...(finishReason && { finishReason }) };
  const usageMetadata = { promptTokenCount: 11, candidatesTokenCount: 7, totalTokenCount: 18 };
  const response = { candidates: [candidate], usageMetadata, responseId: `answer-${answers}` };
  return JSON.stringify({ response });
}

/** A rule that answers a stream with one text, in as many events as there are words. */
export function says(text, more = {}) {
  const words = text.split(/(?<= )/).map((word) => event([{ text: word }]));
  return { ...ON_STREAMS, events: [...words, event([{ text: '' }], 'STOP')], ...more };
}

/** A rule that answers a stream with calls of functions: `[name, args, signature]`. */
export function calls(list, more = {}) {
  const parts = list.map(([name, args, thoughtSignature]) => ({
    functionCall: { name, args },
    ...(thoughtSignature && { thoughtSignature }),
  }));
  return { ...ON_STREAMS, events: [event(parts, 'STOP')], ...more };
}

/** Rules that answer each request for an answer with `fault`. */
export const fails = (fault) =>
  ['streamGenerateContent', 'generateContent'].map((rpc) => ({ match: { rpc }, times: 0, ...fault }));

/** What Google says to a prompt that is too long. */
export const TOO_LONG = {
  status: 400,
  body: JSON.stringify([
    {
      error: {
        code: 400,
        message:
          'The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).',
        status: 'INVALID_ARGUMENT',
      },
    },
  ]),
};

export const ON_STREAMS = { match: { rpc: 'streamGenerateContent' } };

/** A signature as Gemini makes them: base64, with what has another meaning in URLs. */
export const signature = (text) => Buffer.from(`\xff\xfe\xfb${text}`, 'latin1').toString('base64');

/**
 * Passes requests of an agent on to the proxy, and keeps them with their answers. What earlier tests left
 * is forgotten before each test.
 */
export class Recorder {
  seen = [];
  #listener = createServer((incoming, outgoing) => this.#pass(incoming, outgoing));

  static async start() {
    const recorder = new Recorder();
    await new Promise((listening) => recorder.#listener.listen(0, '127.0.0.1', listening));
    after(() => {
      recorder.#listener.close();
      recorder.#listener.closeAllConnections();
    });
    beforeEach(async () => {
      await control('log', undefined, 'DELETE');
      await control('script', undefined, 'DELETE');
      recorder.seen = [];
    });
    return recorder;
  }

  get url() {
    return `http://127.0.0.1:${this.#listener.address().port}`;
  }

  /** The requests to `path`, as far as they came. */
  to(path) {
    return this.seen.filter(({ url }) => url.split('?')[0] === path);
  }

  /** All that came, to find the reason of a failure in. */
  told() {
    return this.seen
      .map(({ method, url, body, status, chunks }) => {
        return `${method} ${url}\n${body.slice(0, 1000)}\n-> ${status}\n${chunks.join('')}`;
      })
      .join('\n\n');
  }

  #pass(incoming, outgoing) {
    const { method, url, headers } = incoming;
    const entry = { method, url, headers, body: '', status: null, answered: {}, chunks: [] };
    this.seen.push(entry);
    incoming.setEncoding('utf8').on('data', (chunk) => (entry.body += chunk));
    const { hostname, port, host } = new URL(PROXY_URL);
    const onward = forward(
      { hostname, port, method, path: url, headers: { ...headers, host }, agent: false },
      (answer) => {
        Object.assign(entry, { status: answer.statusCode, answered: answer.headers });
        outgoing.writeHead(answer.statusCode, answer.rawHeaders);
        answer.on('data', (chunk) => {
          entry.chunks.push(chunk.toString());
          outgoing.write(chunk);
        });
        answer.on('end', () => outgoing.end());
        answer.on('error', () => outgoing.destroy());
      },
    );
    onward.on('error', () => outgoing.destroy());
    outgoing.on('close', () => onward.destroy());
    incoming.on('data', (chunk) => onward.write(chunk));
    incoming.on('end', () => onward.end());
  }
}
