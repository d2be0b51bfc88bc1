const EVERY = 2000;
const KEPT = 150; // the greatest number of points in a plot: five minutes
const FEWEST = 31; // the smallest number of points across a plot: one minute
const LOOK_BACK = 30; // the number of points that the tiles cover: one minute
const PERCENTILES_OVER = 5; // the number of points from which a percentile in a plot is computed
const NAME = 'code_assist_proxy_';
const DIALECTS = { anthropic: 'Anthropic', openai: 'OpenAI' };
const STORED = 'code-assist-proxy key';

const $ = (id) => document.getElementById(id);
const make = (tag, cls, ...inside) => {
  const node = document.createElement(tag);
  if (cls) node.className = cls;
  node.append(...inside);
  return node;
};
const draw = (tag, attributes) => {
  const node = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
};
const say = (id, text) => {
  if ($(id).textContent !== text) $(id).textContent = text;
};

// --- formatting numbers ---

const digits = (n) => (n >= 100 ? n.toFixed(0) : n >= 10 ? n.toFixed(1) : n.toFixed(2));
const count = (n) =>
  n >= 1e9 ? `${digits(n / 1e9)} G` : n >= 1e6 ? `${digits(n / 1e6)} M` : n >= 1e4 ? `${digits(n / 1e3)} k` : String(n);
const bytes = (n) => (n >= 2 ** 30 ? `${digits(n / 2 ** 30)} GiB` : `${digits(n / 2 ** 20)} MiB`);
const percent = (share) => (share === null ? '–' : `${share === 1 || share === 0 ? share * 100 : (share * 100).toFixed(1)} %`);
const rate = (n) => (n === null ? '–' : n >= 100 ? n.toFixed(0) : n.toFixed(1));
const duration = (ms) =>
  ms === null ? '–' : ms < 1 ? `${(ms * 1000).toFixed(0)} µs` : ms < 1000 ? `${digits(ms)} ms` : `${digits(ms / 1000)} s`;
const span = (s) => {
  const parts = [[Math.floor(s / 86400), 'd'], [Math.floor(s / 3600) % 24, 'h'], [Math.floor(s / 60) % 60, 'min'], [Math.floor(s) % 60, 's']];
  const first = parts.findIndex(([n]) => n > 0);
  return first < 0 ? '0 s' : parts.slice(first, first + 2).filter(([n]) => n > 0).map(([n, unit]) => `${n} ${unit}`).join(' ');
};

// --- requests to the proxy ---

let key = null;
try {
  key = sessionStorage.getItem(STORED);
} catch {
  // Without storage the key is kept until the page is closed.
}

class Locked extends Error {}

/** The key may not read the numbers of the whole proxy. */
class AdminOnly extends Error {}

const whenLocked = []; // what ends when the key is forgotten

async function ask(path) {
  const headers = { accept: 'application/json' };
  if (key) headers['x-goog-api-key'] = key;
  const answer = await fetch(path, { headers, cache: 'no-store', credentials: 'omit', signal: AbortSignal.timeout(8000) });
  if (answer.status === 401) throw new Locked();
  const body = await answer.json();
  if (body.error) {
    const isAdminOnly = body.error.details?.some(({ reason }) => reason === 'ADMIN_ONLY');
    const why = new (isAdminOnly ? AdminOnly : Error)(body.error.message);
    why.id = answer.headers.get('x-request-id');
    throw why;
  }
  return body;
}

const samples = (metrics, name) => metrics[NAME + name]?.samples ?? [];
const value = (metrics, name) => samples(metrics, name)[0]?.value ?? 0;
const labelled = (metrics, name, wanted) =>
  samples(metrics, name)
    .filter(({ labels }) => Object.entries(wanted).every(([label, is]) => labels[label] === is))
    .reduce((sum, sample) => sum + sample.value, 0);

// --- history ---

let points = [];

function note(metrics) {
  const histogram = (name) => samples(metrics, name)[0];
  const point = {
    at: performance.now(),
    all: labelled(metrics, 'requests_total', {}),
    failed: labelled(metrics, 'requests_total', { status: '4xx' }) + labelled(metrics, 'requests_total', { status: '5xx' }),
    atHand: labelled(metrics, 'token_requests_total', { result: 'at_hand' }),
    cpu: metrics.process_cpu_seconds_total?.samples[0]?.value ?? null,
    waited: labelled(metrics, 'token_requests_total', { result: 'waited' }),
    overhead: histogram('overhead_seconds'),
    first: histogram('upstream_first_byte_seconds'),
  };
  const before = points.at(-1);
  // Counters that fall come from another process; after a long gap the old points are no history.
  if (before && (point.all < before.all || point.atHand < before.atHand || point.at - before.at > 15 * EVERY)) points = [];
  points.push(point);
  const first = points.at(-1 - PERCENTILES_OVER) ?? points[0];
  const last = points.at(-2);
  if (last) {
    const seconds = (point.at - last.at) / 1000;
    point.rate = (point.all - last.all) / seconds;
    point.failedRate = (point.failed - last.failed) / seconds;
    for (const name of ['overhead', 'first']) {
      point[`${name}50`] = quantile(first[name], point[name], 0.5);
      point[`${name}90`] = quantile(first[name], point[name], 0.9);
      point[`${name}99`] = quantile(first[name], point[name], 0.99);
    }
  }
  points = points.slice(-KEPT);
}

/** The quantile in milliseconds of the values between two readings, interpolated within its bucket. */
function quantile(before, after, q) {
  const total = after.count - before.count;
  if (total <= 0) return null;
  let lower = 0;
  let below = 0;
  for (const [i, { le, count: upTo }] of after.buckets.entries()) {
    const now = upTo - before.buckets[i].count;
    if (now >= q * total && now > below) return (lower + ((le - lower) * (q * total - below)) / (now - below)) * 1000;
    [lower, below] = [le, now];
  }
  return lower * 1000;
}

const minuteAgo = () => points.at(-1 - LOOK_BACK) ?? points[0];
