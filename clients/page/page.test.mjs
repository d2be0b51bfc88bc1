// The status page in a real browser (Debian's Chromium, headless), under load, on the real binary.
//
// PROXY_URL and EMULATOR_URL: an open proxy and its emulator. KEYED_URL and KEY: a proxy with
// PROXY_API_KEYS. SEVERAL_URL: a proxy with three upstreams. SHOTS: a folder for screenshots, and SECONDS: how long to load before they are
// taken (both optional).

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { bounded, faintTexts, launch, open as openIn, SECONDS, shot } from './browser.mjs';

const { PROXY_URL, EMULATOR_URL, KEYED_URL, KEY, SEVERAL_URL } = process.env;
const open = (url, options) => openIn(browser, url, options);

let browser;
let load;

before(async () => {
  browser = await launch();
  // As it would be with Google: a model takes its time, and says no at times.
  await control('script', [
    { match: { rpc: 'generateContent', body_contains: 'unlucky' }, times: 0, status: 429, delay_ms: 40 },
    { match: { rpc: 'generateContent', body_contains: 'broken' }, times: 0, status: 503, delay_ms: 15 },
    { match: { rpc: 'streamGenerateContent', model: 'gemini-2.5-pro' }, times: 0, delay_ms: 420, event_interval_ms: 60 },
    { match: { rpc: 'streamGenerateContent' }, times: 0, delay_ms: 190, event_interval_ms: 40 },
    { match: { rpc: 'generateContent', model: 'gemini-2.5-flash' }, times: 0, delay_ms: 230 },
  ]);
  load = start(PROXY_URL);
});

after(async () => {
  await load?.stop();
  await fetch(`${EMULATOR_URL}/__emulator/script`, { method: 'DELETE' });
  await browser?.close();
});

test('every upstream has a row where several are in use', bounded, async () => {
  const prompt = JSON.stringify({ contents: [{ role: 'user', parts: [{ text: 'Hello' }] }] });
  const headers = { 'content-type': 'application/json', 'x-proxy-upstream': 'vertex' };
  const answer = await fetch(`${SEVERAL_URL}/v1beta/models/gemini-2.5-flash:generateContent`, { method: 'POST', headers, body: prompt });
  assert.equal(answer.status, 200);
  const page = await open(SEVERAL_URL);
  await page.waitForSelector('#upstreams-panel:not([hidden])');
  const rows = await page.locator('#upstreams tbody tr').allTextContents();
  assert.equal(rows.length, 3, rows.join());
  assert.match(rows[0], /^code-assistcode-assistunknownok/);
  assert.match(rows[1], /^gemini-apigemini-apiunknownok–0$/);
  assert.match(rows[2], /^vertexvertexhealthyok\d+ min( \d+ s)?0$/);
  assert.match(await page.textContent('#endpoints'), /vertex: /);
  await page.setViewportSize({ width: 390, height: 844 });
  const wide = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(wide <= 390, `${wide} px wide`);
  assert.deepEqual(page.troubles, []);
  await page.close();
});

test('requests are shown by dialect as soon as one was translated', bounded, async () => {
  const page = await open(SEVERAL_URL);
  await page.waitForSelector('#board:not([hidden])');
  assert.ok(await page.isHidden('#dialects-panel'));
  const body = JSON.stringify({ model: 'gemini-2.5-flash', messages: [{ role: 'user', content: 'Hello' }] });
  const headers = { 'content-type': 'application/json' };
  const answer = await fetch(`${SEVERAL_URL}/v1/chat/completions`, { method: 'POST', headers, body });
  assert.equal(answer.status, 200, await answer.text());
  await page.waitForSelector('#dialects-panel:not([hidden])');
  const rows = await page.locator('#dialects tbody tr').allTextContents();
  assert.equal(rows.length, 3, rows.join());
  for (const row of [/^Gemini[1-9]\d*$/, /^OpenAI1$/, /^Anthropic0$/]) {
    assert.equal(rows.filter((text) => row.test(text)).length, 1, rows.join());
  }
  await page.setViewportSize({ width: 390, height: 844 });
  const wide = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(wide <= 390, `${wide} px wide`);
  await shot(page, 'dialects', 1280, 900);
  assert.deepEqual(page.troubles, []);
  await page.close();
});

test('numbers move under load, without an error in the console', bounded, async () => {
  const page = await open(PROXY_URL);
  await page.waitForSelector('#board:not([hidden])');
  const text = (id) => page.textContent(`#${id}`);
  await page.waitForFunction(() => Number(document.getElementById('rate').textContent) > 0);
  const total = async () => {
    const [number, unit] = (await text('rate-more')).split(' ');
    return Number(number) * (unit === 'k' ? 1000 : 1);
  };
  const before = await total();
  await page.waitForTimeout(SECONDS * 1000);
  assert.equal(await text('status'), 'healthy');
  assert.ok((await total()) > before, await text('rate-more'));
  assert.match(await text('overhead'), /^[\d.]+ (µs|ms)$/);
  assert.match(await text('first'), /^[\d.]+ m?s$/);
  assert.match(await text('errors'), /^[\d.]+ %$/);
  assert.match(await text('hand'), /^[\d.]+ %$/);
  assert.match(await text('tokens'), /gemini-2\.5-flash/);
  assert.match(await text('reasons'), /upstream 429/);
  assert.match(await text('endpoints'), /127\.0\.0\.1:\d+closed\d+ in flight/);
  assert.match(await text('sign-in'), /Tokenexpires in \d+ min/);
  const label = await page.getAttribute('#plot-rate', 'aria-label');
  assert.match(label, /Now: all [\d.]+, errors [\d.]+/);
  const drawn = await page.locator('#plot-overhead path').first().getAttribute('d');
  assert.ok(drawn.length > 20, drawn);
  await shot(page, 'desktop-light', 1280, 900);
  assert.deepEqual(page.troubles, []);
  await page.close();
});

test('a phone in the dark shows it all without scrolling sideways', bounded, async () => {
  const page = await open(PROXY_URL, { colorScheme: 'dark', viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, hasTouch: true });
  await page.waitForFunction(() => Number(document.getElementById('rate').textContent) > 0);
  await page.waitForTimeout(Math.min(SECONDS, 20) * 1000);
  const { wide, colour } = await page.evaluate(() => ({
    wide: document.documentElement.scrollWidth,
    colour: getComputedStyle(document.body).backgroundColor,
  }));
  assert.ok(wide <= 390, `${wide} px wide`);
  const [red, green, blue] = colour.match(/\d+/g).map(Number);
  assert.ok(red + green + blue < 120, colour);
  await shot(page, 'phone-dark', 390, 844);
  assert.deepEqual(page.troubles, []);
  await page.close();
});

for (const colorScheme of ['light', 'dark']) {
  test(`every text is readable in ${colorScheme} (contrast 4.5)`, bounded, async () => {
    const page = await open(PROXY_URL, { colorScheme });
    await page.waitForSelector('#board:not([hidden])');
    await page.waitForTimeout(2500);
    assert.deepEqual(await page.evaluate(faintTexts), []);
    await page.close();
  });
}

test('a model that rests is named with the time until it is asked for again', bounded, async () => {
  const model = 'gemini-2.5-flash-lite';
  await control('script', [{ match: { rpc: 'countTokens', model }, times: 0, status: 503 }]);
  const page = await open(PROXY_URL);
  await page.waitForSelector('#board:not([hidden])');
  assert.ok(await page.isHidden('#resting-panel'));
  // Equal requests count once.
  for (let n = 0; n < 5; n += 1) {
    const body = JSON.stringify({ contents: [{ parts: [{ text: `Request ${n}` }] }] });
    await fetch(`${PROXY_URL}/v1beta/models/${model}:countTokens`, { method: 'POST', body });
  }
  await page.waitForSelector('#resting-panel:not([hidden])');
  // In its first second the page says a whole minute.
  const resting = /gemini-2\.5-flash-litecountTokensopen(\d+ s|1 min)/;
  assert.match(await page.textContent('#resting'), resting);
  assert.equal(await page.textContent('#status'), 'degraded');
  assert.deepEqual(page.troubles, []);
  await shot(page, 'resting', 1280, 900);
  await page.close();
});

test('a proxy that goes away is reported, and found again', bounded, async () => {
  const page = await open(PROXY_URL);
  await page.waitForSelector('#board:not([hidden])');
  await page.context().setOffline(true);
  await page.waitForSelector('#notice:not([hidden])');
  assert.match(await page.textContent('#notice'), /does not answer.*Trying again/);
  assert.equal(await page.textContent('#status'), 'no answer');
  await page.context().setOffline(false);
  await page.waitForSelector('#board:not(.stale)');
  assert.ok(await page.isHidden('#notice'));
  await page.close();
});

test('a proxy with keys asks for one and never puts it into an address', bounded, async () => {
  const page = await open(KEYED_URL);
  await page.waitForSelector('#ask:not([hidden])');
  assert.ok(await page.isHidden('#board'));
  await page.fill('#key', 'wrong');
  await page.press('#key', 'Enter');
  await page.waitForFunction(() => document.getElementById('refused').textContent !== '');
  assert.match(await page.textContent('#refused'), /does not know this key/);
  await shot(page, 'key', 1280, 600);
  await page.fill('#key', KEY);
  await page.click('#ask button');
  await page.waitForSelector('#board:not([hidden])');
  assert.ok(await page.isHidden('#ask'));
  await page.reload();
  await page.waitForSelector('#board:not([hidden])');
  assert.ok(page.asked.length > 4 && page.asked.every((url) => !url.includes(KEY)), page.asked.join('\n'));
  assert.ok(!page.url().includes(KEY));
  await page.click('#forget');
  await page.waitForSelector('#ask:not([hidden])');
  assert.equal(await page.evaluate(() => sessionStorage.length), 0);
  // A browser reports each 401 in its console, whatever the page does.
  assert.deepEqual(page.troubles.filter((trouble) => !trouble.includes('401')), []);
  await page.close();
});

test('the page is for browsers, under a strict policy; programs get JSON', bounded, async () => {
  const html = await fetch(PROXY_URL, { headers: { accept: 'text/html,*/*;q=0.8' } });
  assert.match(html.headers.get('content-type'), /^text\/html/);
  const policy = html.headers.get('content-security-policy');
  assert.match(policy, /^default-src 'none'; script-src 'sha256-[\w+/]+='; style-src 'sha256-[\w+/]+='/);
  assert.ok(policy.includes("frame-ancestors 'none'") && !policy.includes('unsafe'), policy);
  assert.equal(html.headers.get('x-content-type-options'), 'nosniff');
  assert.equal(html.headers.get('referrer-policy'), 'no-referrer');
  const plain = await fetch(PROXY_URL);
  assert.equal((await plain.json()).name, 'code-assist-proxy');
});

async function control(what, body) {
  const answer = await fetch(`${EMULATOR_URL}/__emulator/${what}`, { method: 'POST', body: JSON.stringify(body) });
  assert.ok(answer.ok, await answer.text());
}

/** Clients of several kinds, some of them luckless, until they are stopped. */
function start(url) {
  let going = true;
  const prompt = (text, more = {}) => JSON.stringify({ contents: [{ role: 'user', parts: [{ text }] }], ...more });
  const thinking = { generationConfig: { thinkingConfig: { includeThoughts: true } } };
  const long = 'Tell me of pomegranates. '.repeat(12);
  const kinds = [
    [8, 'gemini-2.5-flash:streamGenerateContent?alt=sse', () => prompt(long)],
    [5, 'gemini-2.5-pro:streamGenerateContent?alt=sse', () => prompt(long.repeat(2), thinking)],
    [5, 'gemini-2.5-flash:generateContent', () => prompt(long)],
    [3, 'gemini-2.5-flash-lite:generateContent', () => prompt('Say pomegranate')],
    [3, 'gemini-2.5-flash:countTokens', () => prompt(long)],
  ];
  const luckless = [
    ['gemini-2.5-flash:generateContent', () => prompt('unlucky')],
    ['gemini-2.5-flash:generateContent', () => prompt('unlucky')],
    ['gemini-9-imaginary:generateContent', () => prompt('hello')],
    ['gemini-2.5-pro:generateContent', () => '{"contents": oops}'],
    ['gemini-2.5-pro:embedContent', () => prompt('hello')],
  ];
  const pause = (ms) => new Promise((done) => setTimeout(done, ms));
  const send = async (path, body) => {
    try {
      const answer = await fetch(`${url}/v1beta/models/${path}`, { method: 'POST', body });
      await answer.arrayBuffer();
    } catch {
      // What the page makes of it is asked elsewhere.
    }
  };
  const workers = kinds.flatMap(([many, path, body]) =>
    Array.from({ length: many }, async (_, n) => {
      for (let turn = n; going; turn += 1) {
        await send(path, body());
        // A tide, so that the plots have something to show.
        await pause(60 + 120 * (1 + Math.sin(Date.now() / 9000)) + 7 * n);
      }
    }));
  workers.push((async () => {
    for (let turn = 0; going; turn += 1) {
      await send(...luckless.map(([path, body]) => [path, body()])[turn % luckless.length]);
      await pause(500);
    }
  })());
  return {
    stop: async () => {
      going = false;
      await Promise.all(workers);
    },
  };
}
