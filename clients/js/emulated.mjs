// The emulator behind the proxy, and what a client sent compared with what arrived there.

import assert from 'node:assert/strict';
import { after, afterEach, beforeEach } from 'node:test';
import { connect, createServer } from 'node:net';

const { EMULATOR_URL, PROXY_URL } = process.env;
export const { UPSTREAM } = process.env;

/** The options of every test: one that hangs fails. */
export const bounded = { timeout: 60_000 };

// What a client has of its own. None of it may arrive at Google.
export const CLIENT_KEY = 'AIza-of-the-client';
export const CLIENT_TOKEN = 'ya29.of-the-client';
export const CLIENT_PROJECT = 'project-of-the-client';
const CLIENT_SECRETS = [CLIENT_KEY, CLIENT_TOKEN, CLIENT_PROJECT];

// The operator's own, as `serve --emulator` configures the proxy.
const GEMINI_API_KEY = 'AQ.emulator-key';
const ISSUED_TOKENS = 'ya29.emulator-';
const VERTEX_ACCOUNT = 'robot@emulator-vertex-project.iam.gserviceaccount.com';
export const VERTEX_PLACE = 'projects/emulator-vertex-project/locations/global';

// Requests for tokens are the proxy's own, or those of a client that is signed in.
const CREDENTIAL_SERVICES = new Set(['token', 'tokeninfo', 'userinfo']);

/** One of the emulator's control endpoints. */
export async function control(name, body, method = body ? 'POST' : 'GET') {
  const init = { method, body: body && JSON.stringify(body) };
  const answer = await fetch(`${EMULATOR_URL}/__emulator/${name}`, init);
  const text = await answer.text();
  assert.ok(answer.ok, text);
  return text ? JSON.parse(text) : null;
}

/** The requests that came, of one RPC or all but those for tokens. */
export async function arrived(rpc) {
  const wanted = ({ rpc: name }) => (rpc ? name === rpc : !CREDENTIAL_SERVICES.has(name));
  return (await control('log')).filter(wanted);
}

/**
 * Passes bytes between the clients of this file and the proxy, and keeps what a client sent. What
 * earlier tests left is forgotten before each test, and each request that arrived is checked after it.
 */
export class Relay {
  // One entry for each connection, since bodies of several would be interleaved.
  #sent = [];
  #open = new Set();
  #listener = createServer((client) => this.#join(client));

  /** Bodies that are `copied` have to arrive at the Gemini API as the client sent them. */
  static async start({ copied = true } = {}) {
    const relay = new Relay();
    await new Promise((listening) => relay.#listener.listen(0, '127.0.0.1', listening));
    // Idle connections would keep the process alive for seconds.
    after(() => {
      relay.#listener.close();
      for (const socket of relay.#open) socket.destroy();
    });
    beforeEach(async () => {
      await control('log', undefined, 'DELETE');
      await control('script', undefined, 'DELETE');
      relay.forget();
    });
    afterEach(async () => {
      for (const request of await arrived()) check(request, relay, copied);
    });
    return relay;
  }

  get url() {
    return `http://127.0.0.1:${this.#listener.address().port}`;
  }

  /** Whether a request of the client had exactly this body. */
  hasSent(body) {
    const wanted = Buffer.concat([Buffer.from('\r\n\r\n'), body]);
    const length = `content-length: ${body.length}\r\n`;
    return this.#sent.some((chunks) => {
      const sent = Buffer.concat(chunks);
      return sent.includes(wanted) && sent.toString('latin1').toLowerCase().includes(length);
    });
  }

  /** The first lines of the requests that the client sent, as `POST /v1/messages`. */
  lines() {
    const first = /(?:GET|POST|HEAD|DELETE) \S+(?= HTTP\/1\.1\r\n)/g;
    return this.#sent.flatMap((chunks) => Buffer.concat(chunks).toString('latin1').match(first) ?? []);
  }

  forget() {
    for (const sent of this.#sent) sent.length = 0;
  }

  #join(client) {
    const { hostname, port } = new URL(PROXY_URL);
    const proxy = connect(Number(port), hostname);
    const sent = [];
    this.#sent.push(sent);
    client.on('data', (chunk) => sent.push(chunk));
    for (const [one, other] of [[client, proxy], [proxy, client]]) {
      this.#open.add(one);
      one.pipe(other);
      one.on('error', () => other.destroy());
      one.on('close', () => {
        this.#open.delete(one);
        other.destroySoon();
      });
    }
  }
}

/** What holds for every request at every provider. */
function check(request, relay, copied) {
  const { headers, method, path, query, violation } = request;
  const told = `${method} ${path}?${query} ${JSON.stringify(headers)}`;
  assert.equal(violation ?? null, null, told);
  const everything = JSON.stringify(request);
  for (const secret of CLIENT_SECRETS) assert.ok(!everything.includes(secret), told);
  const given = new URLSearchParams(query);
  const carriers = [
    ...['x-goog-api-key', 'authorization'].map((name) => headers[name]),
    ...['key', 'access_token', 'oauth_token'].map((name) => given.get(name)),
  ].filter((value) => value != null);
  assert.equal(carriers.length, 1, told);
  const provider = providerOf(path);
  assert.ok([provider, 'all'].includes(UPSTREAM), told);
  if (provider === 'gemini-api') {
    assert.equal(headers['x-goog-api-key'], GEMINI_API_KEY, told);
    if (copied) checkBody(request, relay);
  } else if (provider === 'vertex') {
    const [kind, token] = headers.authorization.split(' ');
    assert.equal(kind, 'Bearer', told);
    // The proxy signs its own tokens until one is refused, and then gets them from Google.
    assert.ok(token.startsWith(ISSUED_TOKENS) || issuer(token) === VERTEX_ACCOUNT, told);
    const isCatalogue = path.startsWith('/v1beta1/publishers/google/models');
    assert.ok(isCatalogue || path.includes(`/${VERTEX_PLACE}/`), told);
  } else {
    assert.ok(headers.authorization.startsWith(`Bearer ${ISSUED_TOKENS}`), told);
  }
}

/** The body is the client's, byte for byte. Large ones are checked by their digest elsewhere. */
function checkBody({ body, body_base64: encoded, headers }, relay) {
  const bytes = encoded ? Buffer.from(encoded, 'base64') : Buffer.from(body ?? '');
  if (bytes.length === 0 || headers['transfer-encoding']) return;
  assert.ok(relay.hasSent(bytes), `no client has sent ${bytes.subarray(0, 500)}`);
}

export function providerOf(path) {
  if (path.startsWith('/v1internal')) return 'code-assist';
  const isVertex = path.includes('/projects/') || path.includes('/publishers/');
  return isVertex ? 'vertex' : 'gemini-api';
}

function issuer(jwt) {
  return JSON.parse(Buffer.from(jwt.split('.')[1], 'base64url')).iss;
}

export async function collected(stream) {
  const all = [];
  for await (const one of stream) all.push(one);
  return all;
}
