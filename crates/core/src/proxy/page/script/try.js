// --- a request to try ---

const FAVOURITE = 'gemini-2.5-flash';
const NO_KEY = 'YOUR_KEY'; // stands for the key in code to copy
const BASE = new URL('.', location.href).href.replace(/[?#].*$/, '').replace(/\/$/, '');

let trying = null; // stops the request in flight
let modelsAreListed = false;

/** An error of the proxy's, or of Google's, in words, with the id of its request. */
class Refusal extends Error {
  constructor(message, id) {
    super(message);
    this.id = id;
  }
}

const wordsOf = (body) => (Array.isArray(body) ? body[0] : body)?.error?.message;

async function refusal(answer) {
  let words = null;
  try {
    words = wordsOf(JSON.parse(await answer.text()));
  } catch {
    // Something between this page and the proxy has answered.
  }
  return new Refusal(words ?? `The answer is HTTP ${answer.status} and says no more.`, answer.headers.get('x-request-id'));
}

/** The data of server-sent events. */
async function* eventsOf(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { done, value: text } = await reader.read();
    rest += done ? '\n\n' : text;
    const frames = rest.split(/\r\n\r\n|\n\n|\r\r/);
    rest = frames.pop();
    for (const frame of frames) {
      const data = frame.split(/\r\n|\n|\r/).filter((line) => line.startsWith('data:')).map((line) => line.slice(5).trimStart());
      if (data.length) yield data.join('\n');
    }
    if (done) return;
  }
}

/** The milliseconds of each part in `server-timing`. Of two with one name the last one is the proxy's. */
function partsOf(timing) {
  const parts = {};
  for (const [, name, ms] of (timing ?? '').matchAll(/([\w-]+);dur=([\d.]+)/g)) parts[name] = Number(ms);
  return parts;
}

function showParts(part) {
  const node = $('try-answer');
  if (typeof part.text === 'string') node.append(part.thought ? make('span', 'thought', part.text) : part.text);
  else if (part.inlineData) node.append(`[${part.inlineData.mimeType}]`);
  else if (part.functionCall) node.append(`[calls ${part.functionCall.name}]`);
}

function showTiming(seen) {
  const parts = partsOf(seen.timing);
  const known = Object.values(parts).reduce((sum, ms) => sum + ms, 0);
  const usage = seen.usage ?? {};
  const tokens = [['prompt', usage.promptTokenCount], ['answer', usage.candidatesTokenCount], ['thoughts', usage.thoughtsTokenCount]];
  const rows = [
    ['Token', parts.auth], ['Queue', parts.queue], ['First byte upstream', parts.upstream], ['Added by the proxy', parts.proxy],
    ['Network and browser', seen.head === null || seen.timing === null ? undefined : Math.max(0, seen.head - known)],
    ['First text', seen.first], ['Whole answer', seen.total],
  ].map(([name, ms]) => [name, duration(ms ?? null)]);
  const counted = tokens.filter(([, n]) => n).map(([kind, n]) => `${n} ${kind}`).join(', ');
  pairs('try-timing', [...rows, ['Tokens', counted || '–'], ['x-request-id', make('code', null, seen.id ?? '–')]]);
}

function showTrouble(why, seen) {
  const id = why.id ?? seen.id;
  const words = why instanceof TypeError ? 'The proxy does not answer, or the connection broke.' : why.message;
  say('try-error', id ? `${words} (x-request-id: ${id})` : words);
  $('try-error').hidden = false;
}

function showEvent(event, seen, began) {
  const words = wordsOf(event);
  if (words) throw new Refusal(words, seen.id);
  seen.usage = event.usageMetadata ?? seen.usage;
  const blocked = event.promptFeedback?.blockReason;
  if (blocked) throw new Refusal(`Google has blocked the prompt (${blocked}).`, seen.id);
  const candidate = event.candidates?.[0];
  const parts = candidate?.content?.parts ?? [];
  if (parts.length) seen.first ??= performance.now() - began;
  parts.forEach(showParts);
  seen.finish = candidate?.finishReason ?? seen.finish;
}

async function send(model, prompt) {
  const stop = new AbortController();
  trying = stop;
  const seen = { id: null, timing: null, head: null, first: null, total: null, usage: null, finish: null };
  $('try-answer').replaceChildren();
  $('try-timing').replaceChildren();
  $('try-error').hidden = true;
  $('try-send').disabled = true;
  $('try-stop').hidden = false;
  say('try-state', 'waiting');
  const began = performance.now();
  let ended = 'ended';
  try {
    const headers = { 'content-type': 'application/json' };
    if (key) headers['x-goog-api-key'] = key;
    const path = `v1beta/models/${encodeURIComponent(model)}:streamGenerateContent?alt=sse`;
    const answer = await fetch(path, { method: 'POST', headers, body: bodyOf(prompt), cache: 'no-store', credentials: 'omit', signal: stop.signal });
    seen.head = performance.now() - began;
    seen.id = answer.headers.get('x-request-id');
    seen.timing = answer.headers.get('server-timing');
    if (!answer.ok) throw await refusal(answer);
    say('try-state', 'answering');
    for await (const data of eventsOf(answer.body)) showEvent(JSON.parse(data), seen, began);
    if (!seen.finish) throw new Refusal('The answer was cut off: it ended without a reason.', seen.id);
    if (seen.finish !== 'STOP') ended = `ended: ${seen.finish.toLowerCase().replaceAll('_', ' ')}`;
  } catch (why) {
    ended = stop.signal.aborted ? 'stopped' : 'failed';
    if (!stop.signal.aborted) showTrouble(why instanceof SyntaxError ? new Error('An event of the answer is no JSON.') : why, seen);
  }
  seen.total = performance.now() - began;
  if (trying === stop) trying = null;
  $('try-answer').normalize();
  showTiming(seen);
  say('try-state', ended);
  $('try-send').disabled = false;
  $('try-stop').hidden = true;
}

async function listModels() {
  if (modelsAreListed) return;
  $('try-error').hidden = true;
  try {
    const { models } = await ask('v1beta/models?pageSize=1000');
    const isForText = ({ supportedGenerationMethods: methods }) => !methods || methods.includes('generateContent');
    const names = (models ?? []).filter(isForText).map(({ name }) => name.split('/').pop());
    if (!names.length) throw new Error('The list of models is empty.');
    $('try-model').replaceChildren(...names.map((name) => new Option(name, name, false, name === FAVOURITE)));
    modelsAreListed = true;
    for (const id of ['try-model', 'try-send']) $(id).disabled = false;
    showCode();
  } catch (why) {
    if (why instanceof Locked) return lock();
    showTrouble(new Refusal(`The models cannot be listed. ${why instanceof TypeError ? 'The proxy does not answer.' : why.message}`, why.id), {});
  }
}

// --- the same request as code ---

const bodyOf = (prompt) => JSON.stringify({ contents: [{ role: 'user', parts: [{ text: prompt }] }] });
const inShell = (text) => `'${text.replaceAll("'", "'\\''")}'`;

const CODE = {
  curl: (model, prompt) => [
    `curl -N ${inShell(`${BASE}/v1beta/models/${model}:streamGenerateContent?alt=sse`)} \\`,
    `  -H 'x-goog-api-key: ${NO_KEY}' \\`,
    "  -H 'content-type: application/json' \\",
    `  -d ${inShell(bodyOf(prompt))}`,
  ],
  python: (model, prompt) => [
    'from google import genai',
    'from google.genai import types',
    '',
    'client = genai.Client(',
    `    api_key="${NO_KEY}", http_options=types.HttpOptions(base_url=${JSON.stringify(BASE)})`,
    ')',
    `stream = client.models.generate_content_stream(model=${JSON.stringify(model)}, contents=${JSON.stringify(prompt)})`,
    'for chunk in stream:',
    '    print(chunk.text or "", end="")',
  ],
  node: (model, prompt) => [
    "import { GoogleGenAI } from '@google/genai';",
    '',
    `const ai = new GoogleGenAI({ apiKey: '${NO_KEY}', httpOptions: { baseUrl: ${JSON.stringify(BASE)} } });`,
    `const stream = await ai.models.generateContentStream({ model: ${JSON.stringify(model)}, contents: ${JSON.stringify(prompt)} });`,
    "for await (const chunk of stream) process.stdout.write(chunk.text ?? '');",
  ],
};

function showCode() {
  const model = $('try-model').value || FAVOURITE;
  const prompt = $('try-prompt').value || 'Hello';
  say('try-code', CODE[$('try-language').value](model, prompt).join('\n'));
  say('try-copied', '');
}

async function copyCode() {
  try {
    await navigator.clipboard.writeText($('try-code').textContent);
    say('try-copied', 'copied');
  } catch {
    // A browser lets a page without TLS copy nothing.
    getSelection().selectAllChildren($('try-code'));
    say('try-copied', 'selected: press Ctrl+C');
  }
}

$('try').addEventListener('toggle', () => {
  if ($('try').open) listModels();
});
$('try-form').addEventListener('submit', (event) => {
  event.preventDefault();
  if (!trying) send($('try-model').value, $('try-prompt').value);
});
$('try-stop').addEventListener('click', () => trying?.abort());
for (const id of ['try-model', 'try-prompt', 'try-language']) $(id).addEventListener('input', showCode);
$('try-copy').addEventListener('click', copyCode);
whenLocked.push(() => {
  trying?.abort();
  modelsAreListed = false;
  $('try').open = false;
  $('try-answer').replaceChildren();
});
showCode();
