// The status page of a proxy with [[key]] tables, in a real browser: usage by key, and the panel that sends a
// prompt.
//
// TEAM_URL and TEAM_EMULATOR: a proxy with the keys ADA (an admin's) and BOB, and its emulator. PROXY_URL: a
// proxy without tables. WITHOUT_TRY_URL: a proxy with STATUS_PAGE_TRY=false.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { rm, writeFile } from 'node:fs/promises';
import { after, afterEach, before, test } from 'node:test';
import { bounded, faintTexts, launch, open as openIn, shot } from './browser.mjs';

const { TEAM_URL, TEAM_EMULATOR, ADA, BOB, PROXY_URL, WITHOUT_TRY_URL } = process.env;
const STREAM = 'streamGenerateContent';
const DAY = 86_400_000;

let browser;

before(async () => {
  browser = await launch();
});

after(() => browser?.close());

afterEach(() => fetch(`${TEAM_EMULATOR}/__emulator/script`, { method: 'DELETE' }));

test('usage of two keys over several days is a plot, with tables that say the same', bounded, async () => {
  for (const colorScheme of ['light', 'dark']) {
    const page = await withUsage(several(), { colorScheme });
    await page.waitForSelector('#usage tbody tr');
    const label = await page.getAttribute('#plot-usage', 'aria-label');
    assert.equal(label, 'Plot of tokens by key and day. In all: ada 14.0 k, bob 4000');
    const drawn = await page.locator('#plot-usage path').evaluateAll((paths) => paths.map((path) => path.getAttribute('d')));
    // An area and a line of ada's, and a line of bob's, with a point for each of seven days.
    assert.equal(drawn.length, 3);
    for (const path of drawn.slice(1)) assert.equal(path.match(/[ML]/g).length, 7, path);
    assert.notEqual(drawn[1], drawn[2]);
    assert.deepEqual(await texts(page, '#usage-keys tbody tr'), ['ada1410.5 k280028007000.70', 'bob430008008002000.20']);
    const budgets = await texts(page, '#usage-budgets tbody tr');
    assert.match(budgets[0], /^bobcost per month90\.0 % \(45\.0 of 50\.0\)\d+ d/);
    assert.match(budgets[1], /^adatokens per day50\.0 % \(1\.00 M of 2\.00 M\)/);
    await page.click('#usage-more summary');
    const days = await texts(page, '#usage-table tbody tr');
    assert.equal(days.length, 7);
    assert.match(days[0], /^\d{4}-\d\d-\d\d2000/, days.join());
    await page.selectOption('#usage-what', 'requests');
    assert.match(await page.getAttribute('#plot-usage', 'aria-label'), /Plot of requests .* ada 14, bob 4$/);
    await page.selectOption('#usage-what', 'cost');
    assert.match(await page.getAttribute('#plot-usage', 'aria-label'), /Plot of cost .* ada 0\.70, bob 0\.20$/);
    await page.hover('#plot-usage .field', { position: { x: 2, y: 20 } });
    const [first] = several().rows;
    assert.equal(await page.textContent('#plot-usage .ends span'), first.day);
    assert.deepEqual(await page.evaluate(faintTexts), []);
    await page.mouse.move(0, 0);
    await page.selectOption('#usage-what', 'tokens');
    await shot(page, `usage-${colorScheme}`, 1280, 900);
    await page.setViewportSize({ width: 390, height: 844 });
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(wide <= 390, `${wide} px wide`);
    assert.deepEqual(page.troubles, []);
    await page.close();
  }
});

test('of many keys five have a line, and a name is text', bounded, async () => {
  const usage = several();
  const [row] = usage.rows;
  usage.rows = ['<img src=x onerror=alert(1)>', 'b', 'c', 'd', 'e', 'f', 'g'].map((key, n) => ({ ...row, key, requests: 100 - n, prompt_tokens: 1000 - n }));
  const page = await withUsage(usage);
  await page.waitForSelector('#usage tbody tr');
  const legend = await page.textContent('#plot-usage .key');
  assert.match(legend, /<img src=x onerror=alert\(1\)>.*2 others/);
  assert.equal(await page.locator('#usage img').count(), 0);
  assert.equal((await texts(page, '#usage-keys tbody tr')).length, 7);
  assert.deepEqual(page.troubles, []);
  await page.close();
});

test('an admin sees what all keys have used, and another key what it has used itself', bounded, async () => {
  for (const [key, times] of [[ADA, 2], [BOB, 1]]) {
    for (let n = 0; n < times; n += 1) await ask(key, `Hello ${key} ${n}`);
  }
  const admin = await unlocked(ADA);
  await admin.waitForFunction(() => document.querySelectorAll('#usage-keys tbody tr').length === 2);
  const rows = await texts(admin, '#usage-keys tbody tr');
  assert.match(rows.find((row) => row.startsWith('ada')), /^ada2\d+/);
  assert.match(rows.find((row) => row.startsWith('bob')), /^bob1\d+/);
  assert.match(await admin.textContent('#usage-budgets'), /adatokens per day/);
  assert.ok(await admin.isVisible('.tiles'));
  assert.ok(admin.asked.every((url) => !url.includes(ADA)), admin.asked.join('\n'));
  assert.deepEqual(lessRefusals(admin.troubles, 401), []);
  await admin.close();

  const own = await unlocked(BOB);
  await own.waitForSelector('#usage-keys tbody tr');
  assert.match((await texts(own, '#usage-keys tbody tr')).join(), /^bob1\d+[^,]*$/);
  assert.ok(!(await own.textContent('#usage')).includes('ada'));
  assert.ok(await own.isHidden('.tiles') && await own.isHidden('.panels'));
  assert.match(await own.textContent('#own'), /sees its own usage/);
  // Once is enough to know.
  const refused = () => own.asked.filter((url) => url.includes('/metrics')).length;
  const before = refused();
  await own.waitForTimeout(2500);
  assert.equal(refused(), before);
  assert.deepEqual(lessRefusals(own.troubles, 401, 403), []);
  await own.click('#forget');
  await own.waitForSelector('#ask:not([hidden])');
  assert.equal(await own.textContent('#usage-keys'), '', 'the next one who sits here sees none of it');
  await own.close();
});

test('an empty plot says why', bounded, async () => {
  const without = await openIn(browser, PROXY_URL);
  await without.waitForSelector('#usage-uncounted:not([hidden])');
  assert.match(await without.textContent('#usage-uncounted'), /no \[\[key\]\] tables.*keys new/);
  assert.ok(without.asked.every((url) => !url.includes('/usage')), 'a 404 would be in the console');
  assert.deepEqual(without.troubles, []);
  await without.close();

  const nothing = await withUsage({ ...several(), rows: [], budgets: [] });
  await nothing.waitForSelector('#usage-note:not([hidden])');
  assert.match(await nothing.textContent('#usage-note'), /No request with a key was answered since \d{4}-/);
  assert.ok(await nothing.isHidden('#plot-usage'));
  await nothing.close();

  const message = 'The store in which usage is kept cannot be read: no connection.';
  const broken = await withUsage({ error: { code: 503, message, status: 'UNAVAILABLE' } }, {}, 503);
  await broken.waitForSelector('#usage-note:not([hidden])');
  assert.equal(await broken.textContent('#usage-note'), message);
  assert.ok(await broken.isVisible('.tiles'), 'the rest of the page goes on');
  await broken.close();
});

test('a prompt is answered while it is written, and its time is taken apart', bounded, async () => {
  await script([{ match: { rpc: STREAM, body_contains: 'pomegranate' }, delay_ms: 150, event_interval_ms: 400 }]);
  const page = await tryOpen();
  assert.equal(await page.inputValue('#try-model'), 'gemini-2.5-flash');
  await page.fill('#try-prompt', 'Tell me what a pomegranate is, please');
  const asked = page.asked.length;
  await page.click('#try-send');
  await page.waitForFunction(() => document.getElementById('try-answer').textContent !== '');
  const early = await page.textContent('#try-answer');
  assert.equal(await page.textContent('#try-state'), 'answering');
  assert.ok(await page.isDisabled('#try-send'));
  await page.waitForFunction(() => document.getElementById('try-state').textContent === 'ended');
  const whole = await page.textContent('#try-answer');
  assert.equal(whole, 'You said: Tell me what a pomegranate is, please');
  assert.ok(whole.startsWith(early) && early.length < whole.length, early);
  const timing = await timingOf(page);
  assert.deepEqual(Object.keys(timing), [
    'Token', 'Queue', 'First byte upstream', 'Added by the proxy', 'Network and browser', 'First text', 'Whole answer', 'Tokens', 'x-request-id',
  ]);
  const ms = (text) => parseFloat(text) * (text.endsWith('µs') ? 1e-3 : text.endsWith('ms') ? 1 : 1e3);
  assert.ok(ms(timing['First byte upstream']) >= 150, timing['First byte upstream']);
  assert.ok(ms(timing['Added by the proxy']) < 100, timing['Added by the proxy']);
  assert.ok(ms(timing['Whole answer']) >= 550, timing['Whole answer']);
  assert.ok(ms(timing['First text']) <= ms(timing['Whole answer']));
  assert.match(timing.Tokens, /^\d+ prompt, \d+ answer/);
  assert.match(timing['x-request-id'], /^req_/);
  const [sent] = page.asked.slice(asked).filter((url) => url.includes('models'));
  assert.ok(sent.endsWith(`gemini-2.5-flash:${STREAM}?alt=sse`) && !sent.includes(ADA), sent);
  assert.deepEqual(await page.evaluate(faintTexts), []);
  await shot(page, 'try', 1280, 900);
  await page.setViewportSize({ width: 390, height: 844 });
  const wide = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(wide <= 390, `${wide} px wide`);
  assert.deepEqual(lessRefusals(page.troubles, 401), []);
  await page.close();
});

test('an answer can be stopped, and the stream from Google ends with it', bounded, async () => {
  const long = Array.from({ length: 100 }, (_, n) => textEvent(`word ${n} `));
  await script([{ match: { rpc: STREAM, body_contains: 'endless' }, events: long, event_interval_ms: 200 }]);
  const page = await tryOpen();
  await page.fill('#try-prompt', 'endless');
  await page.click('#try-send');
  await page.waitForFunction(() => document.getElementById('try-answer').textContent.includes('word 1 '));
  await page.click('#try-stop');
  await page.waitForFunction(() => document.getElementById('try-state').textContent === 'stopped');
  assert.ok(await page.isHidden('#try-error') && await page.isHidden('#try-stop') && await page.isEnabled('#try-send'));
  assert.match(await page.textContent('#try-answer'), /^word 0 word 1 /);
  await until(async () => (await log()).some((record) => record.body?.includes('endless') && record.cancelled));
  assert.deepEqual(lessRefusals(page.troubles, 401), []);
  await page.close();
});

test('an error is in plain words, with the id of the request', bounded, async () => {
  const page = await tryOpen();
  await script([{ match: { rpc: STREAM, body_contains: 'refuse me' }, times: 0, status: 400 }]);
  await page.fill('#try-prompt', 'refuse me');
  await page.click('#try-send');
  await page.waitForSelector('#try-error:not([hidden])');
  const words = await page.textContent('#try-error');
  assert.match(words, /^[A-Z].{10,} \(x-request-id: req_\w+\)$/);
  assert.ok(!/[{}]/.test(words), words);
  assert.equal(await page.textContent('#try-state'), 'failed');

  const overloaded = JSON.stringify({ error: { code: 503, message: 'The model is overloaded.', status: 'UNAVAILABLE' } });
  await script([{ match: { rpc: STREAM, body_contains: 'halfway' }, events: [textEvent('Once '), overloaded] }]);
  await page.fill('#try-prompt', 'halfway');
  await page.click('#try-send');
  await page.waitForFunction(() => document.getElementById('try-answer').textContent === 'Once ');
  await page.waitForSelector('#try-error:not([hidden])');
  assert.match(await page.textContent('#try-error'), /^The model is overloaded\. \(x-request-id: req_\w+\)$/);
  assert.equal(await page.textContent('#try-state'), 'failed');

  await script([{ match: { rpc: STREAM, body_contains: 'breaks off' }, events: [textEvent('Once upon ')] }]);
  await page.fill('#try-prompt', 'breaks off');
  await page.click('#try-send');
  await page.waitForFunction(() => document.getElementById('try-answer').textContent === 'Once upon ');
  await page.waitForSelector('#try-error:not([hidden])');
  assert.match(await page.textContent('#try-error'), /cut off/);

  await page.fill('#try-prompt', 'and now it works');
  await page.click('#try-send');
  await page.waitForFunction(() => document.getElementById('try-state').textContent === 'ended');
  assert.ok(await page.isHidden('#try-error'));
  await page.close();
});

test('the same request as code runs, and has a placeholder for the key', bounded, async () => {
  const page = await tryOpen();
  const prompt = 'It\'s "quoted", isn\'t it? \\ $HOME `x` ünïcode\nSecond line';
  await page.fill('#try-prompt', prompt);
  const code = {};
  for (const language of ['curl', 'python', 'node']) {
    await page.selectOption('#try-language', language);
    code[language] = await page.textContent('#try-code');
    assert.ok(code[language].includes('YOUR_KEY') && !code[language].includes(ADA) && code[language].includes(TEAM_URL), code[language]);
  }
  await page.close();
  const env = { ...process.env, no_proxy: '127.0.0.1', NO_PROXY: '127.0.0.1' };
  const run = (command, args, input) => {
    const { status, stdout, stderr } = spawnSync(command, args, { input, encoding: 'utf8', env, timeout: 30_000 });
    assert.equal(status, 0, stderr);
    return stdout;
  };
  const answers = run('sh', ['-c', code.curl.replace('YOUR_KEY', ADA)]);
  const said = answers.split('\n').filter((line) => line.startsWith('data: '))
    .flatMap((line) => JSON.parse(line.slice(6)).candidates?.[0]?.content?.parts ?? []).map(({ text }) => text ?? '').join('');
  assert.equal(said, `You said: ${prompt}`);
  const file = new URL(`./try-${process.pid}.mjs`, import.meta.url);
  await writeFile(file, code.node.replace('YOUR_KEY', ADA));
  try {
    assert.equal(run(process.execPath, [file.pathname]), `You said: ${prompt}`);
  } finally {
    await rm(file);
  }
  run('python3', ['-c', 'import ast, sys; ast.parse(sys.stdin.read())'], code.python);
});

test('no address presets a prompt or sends one', bounded, async () => {
  const page = await openIn(browser, `${PROXY_URL}/?prompt=evil&try-prompt=evil&model=evil#try-prompt=evil`.replace(/\/$/, ''));
  await page.waitForSelector('#board:not([hidden])');
  await page.click('#try summary');
  await page.waitForSelector('#try-send:not([disabled])');
  assert.equal(await page.inputValue('#try-prompt'), '');
  assert.ok(!(await page.content()).includes('evil'));
  assert.ok(page.asked.every((url) => !url.includes(STREAM)));
  await page.close();
});

test('the panel asks for models only when it is opened, and can be switched off', bounded, async () => {
  const page = await openIn(browser, PROXY_URL);
  await page.waitForSelector('#board:not([hidden])');
  assert.ok(await page.isVisible('#try summary'));
  assert.ok(page.asked.every((url) => !url.includes('/models')), 'a page that is only looked at asks Google nothing');
  await page.close();
  const off = await openIn(browser, WITHOUT_TRY_URL);
  await off.waitForSelector('#board:not([hidden])');
  assert.equal(await off.locator('[id^=try]').count(), 0);
  assert.deepEqual(off.troubles, []);
  await off.close();
});

/** Seven days, on each of which ada has used 2000 tokens; bob has used 1000 on four of them. */
function several() {
  const rows = [];
  const day = (n) => new Date(Date.now() - n * DAY).toISOString().slice(0, 10);
  for (let n = 6; n >= 0; n -= 1) {
    const row = (key, model, times) => ({
      key, model, day: day(n), requests: times, prompt_tokens: 750 * times, cached_tokens: 200 * times, output_tokens: 200 * times, thought_tokens: 50 * times, cost: 0.05 * times,
    });
    rows.push(row('ada', 'gemini-2.5-flash', 1), row('ada', 'gemini-2.5-pro', 1));
    if (n % 2 === 0) rows.push(row('bob', 'gemini-2.5-flash', 1));
  }
  const resets = new Date(Date.now() + 3 * DAY).toISOString();
  const budgets = [
    { key: 'ada', budget: 'tokens_per_day', limit: 2_000_000, used: 1_000_000, resets_at: resets },
    { key: 'bob', budget: 'cost_per_month', limit: 50, used: 45, resets_at: resets },
  ];
  return { since: day(6), until: day(0), by: null, rows, budgets };
}

/** The page with ada's key, where `/usage` answers with this. */
async function withUsage(usage, options = {}, status = 200) {
  const page = await openIn(browser, 'about:blank#', options);
  await page.route('**/usage?*', (route) => route.fulfill({ status, contentType: 'application/json', body: JSON.stringify(usage) }));
  await page.addInitScript((key) => sessionStorage.setItem('code-assist-proxy key', key), ADA);
  await page.goto(`${TEAM_URL}/`);
  await page.waitForSelector('#board:not([hidden])');
  return page;
}

async function unlocked(key) {
  const page = await openIn(browser, TEAM_URL);
  await page.waitForSelector('#ask:not([hidden])');
  await page.fill('#key', key);
  await page.click('#ask button');
  await page.waitForSelector('#board:not([hidden])');
  return page;
}

/** The page with ada's key and an open panel that has listed the models. */
async function tryOpen() {
  const page = await unlocked(ADA);
  await page.click('#try summary');
  await page.waitForSelector('#try-send:not([disabled])');
  return page;
}

async function ask(key, text) {
  const answer = await fetch(`${TEAM_URL}/v1beta/models/gemini-2.5-flash:generateContent`, {
    method: 'POST', headers: { 'x-goog-api-key': key }, body: JSON.stringify({ contents: [{ role: 'user', parts: [{ text }] }] }),
  });
  assert.equal(answer.status, 200, await answer.text());
}

async function script(rules) {
  const answer = await fetch(`${TEAM_EMULATOR}/__emulator/script`, { method: 'POST', body: JSON.stringify(rules) });
  assert.ok(answer.ok, await answer.text());
}

/** An event of Code Assist's stream with this text. */
const textEvent = (text) => JSON.stringify({ response: { candidates: [{ content: { role: 'model', parts: [{ text }] }, index: 0 }] } });

const log = async () => (await fetch(`${TEAM_EMULATOR}/__emulator/log`)).json();
const texts = (page, selector) => page.locator(selector).allTextContents();
const timingOf = (page) => page.locator('#try-timing').evaluate((list) =>
  Object.fromEntries([...list.querySelectorAll('dt')].map((name) => [name.textContent, name.nextElementSibling.textContent])));

/** A browser reports each refused request in its console, whatever the page does. */
const lessRefusals = (troubles, ...statuses) => troubles.filter((trouble) => !statuses.some((status) => trouble.includes(`status of ${status}`)));

async function until(holds) {
  for (let n = 0; n < 100; n += 1) {
    if (await holds()) return;
    await new Promise((done) => setTimeout(done, 100));
  }
  assert.fail('it did not come to that');
}
