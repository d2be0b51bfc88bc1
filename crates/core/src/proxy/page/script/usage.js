// --- usage by key ---

const USAGE_EVERY = 30_000;
const NAMED = ['blue', 'teal', 'amber', 'violet', 'red']; // of the keys with a line of their own
const MOST_KEYS = 50; // in the tables
const DAY = 86_400_000;

const tokensOf = (row) => row.prompt_tokens + row.output_tokens + row.thought_tokens;
const money = (n) => (n >= 10_000 ? count(n) : n === 0 ? '0' : n < 0.0001 ? '< 0.0001' : n < 0.01 ? n.toFixed(4) : digits(n));
const MEASURES = {
  tokens: { of: tokensOf, unit: count },
  requests: { of: (row) => row.requests, unit: count },
  cost: { of: (row) => row.cost, unit: money },
};

let usage = null;
let usageTrouble = null;
let usageAskedAt = -Infinity;
let usagePlot = null; // with the lines for which it was made

/** Asks for the usage, if it is time. */
async function refreshUsage() {
  if (performance.now() - usageAskedAt < USAGE_EVERY) return;
  usageAskedAt = performance.now();
  const since = new Date(Date.now() - (Number($('usage-days').value) - 1) * DAY).toISOString().slice(0, 10);
  try {
    usage = await ask(`usage?since=${since}`);
    usageTrouble = null;
  } catch (why) {
    if (why instanceof Locked) throw why;
    // What was read before stays: it is what there is.
    usageTrouble = why instanceof TypeError || why.name === 'TimeoutError' ? 'The proxy does not answer.' : why.message;
  }
  showUsage();
}

function forgetUsage() {
  [usage, usageTrouble, usageAskedAt, usagePlot] = [null, null, -Infinity, null];
  for (const id of ['plot-usage', 'usage-keys', 'usage-budgets', 'usage-table']) $(id).replaceChildren();
}

/** Why there is nothing to show, or not all. */
function usageNote({ rows, since }, measure) {
  if (usageTrouble) return usageTrouble;
  if (!rows.length) return `No request with ${ownOnly ? 'your key' : 'a key'} was answered since ${since}.`;
  if (measure === 'cost' && rows.every((row) => !row.cost)) return 'Nothing has cost anything: no [[price]] table has these models.';
  return null;
}

/** The sums of each key over all days, those with most first. */
function sumsByKey(rows, of) {
  const sums = new Map();
  for (const row of rows) {
    const sum = sums.get(row.key) ?? { key: row.key, requests: 0, prompt_tokens: 0, cached_tokens: 0, output_tokens: 0, thought_tokens: 0, cost: 0 };
    for (const field of Object.keys(sum)) if (field !== 'key') sum[field] += row[field];
    sums.set(row.key, sum);
  }
  return [...sums.values()].sort((a, b) => of(b) - of(a) || (a.key < b.key ? -1 : 1));
}

/** A point for each day, with a number for each line: `0` to `4`, and `rest` for all other keys. */
function pointsByDay({ rows, since, until }, lines, of) {
  const fieldOf = new Map(lines.filter(({ key }) => key).map(({ key, field }) => [key, field]));
  const days = new Map();
  for (let at = Date.parse(since); at <= Date.parse(until); at += DAY) {
    const day = new Date(at).toISOString().slice(0, 10);
    days.set(day, { day, ...Object.fromEntries(lines.map(({ field }) => [field, 0])) });
  }
  for (const row of rows) {
    const point = days.get(row.day);
    if (point) point[fieldOf.get(row.key) ?? 'rest'] += of(row);
  }
  return [...days.values()];
}

function showUsage() {
  const shown = usage ?? { rows: [], budgets: [], since: '', until: '' };
  const measure = $('usage-what').value;
  const { of, unit } = MEASURES[measure];
  const note = usageNote(shown, measure);
  $('usage-note').hidden = !note;
  say('usage-note', note ?? '');
  const sums = sumsByKey(shown.rows, of);
  const lines = sums.slice(0, NAMED.length).map(({ key: id }, n) => ({ key: id, label: id, field: String(n), colour: NAMED[n], area: n === 0 }));
  if (sums.length > lines.length) lines.push({ label: `${sums.length - lines.length} others`, field: 'rest', colour: 'grey' });
  const days = pointsByDay(shown, lines, of);
  const made = JSON.stringify([measure, lines]);
  $('plot-usage').hidden = !sums.length;
  $('usage-more').hidden = !sums.length;
  if (usagePlot?.made !== made) {
    const sumOf = (name) => usagePlot.days.reduce((sum, day) => sum + day[name], 0);
    usagePlot = {
      made,
      update: plot('plot-usage', lines, unit, {
        points: () => usagePlot.days,
        fewest: 2,
        last: 'today',
        left: (pointed) => usagePlot.days[pointed ?? 0].day,
        resting: sumOf,
        label: (all) => `Plot of ${measure} by key and day. In all: ${all}`,
      }),
    };
  }
  usagePlot.days = days;
  if (sums.length) usagePlot.update();
  showUsageTables(shown, sums, lines, days, unit, of);
}

function showUsageTables({ budgets }, sums, lines, days, unit, of) {
  const number = (text) => make('td', null, text);
  const head = (...titles) => titles.map((title) => ({ inside: title ? [title] : [] }));
  const colourOf = (id) => lines.find((line) => line.key === id)?.colour ?? 'grey';
  $('usage-keys').replaceChildren(...(sums.length ? [table(
    head('Key', '', 'Requests', 'Prompt', 'Cached', 'Output', 'Thoughts', 'Cost').map((title, n) => ([1, 4, 6].includes(n) ? { ...title, cls: 'narrow' } : title)),
    sums.slice(0, MOST_KEYS).map((sum) => {
      const cells = [count(sum.requests), count(sum.prompt_tokens), count(sum.cached_tokens), count(sum.output_tokens), count(sum.thought_tokens), money(sum.cost)].map(number);
      for (const n of [2, 4]) cells[n].className = 'narrow';
      return [sum.key, make('td', 'bar narrow', bar([[colourOf(sum.key), of(sum)]], of(sums[0]) || 1)), ...cells];
    }),
  )] : []));
  if (sums.length > MOST_KEYS) $('usage-keys').append(none(`${sums.length - MOST_KEYS} more keys are at /usage?by=key.`));

  const share = ({ used, limit }) => (limit ? used / limit : 1);
  const tightest = [...budgets].sort((a, b) => share(b) - share(a)).slice(0, MOST_KEYS);
  $('usage-budgets').replaceChildren(...(tightest.length ? [table(
    head('Key', 'Budget', '', 'Used', 'Begins anew in').map((title, n) => (n === 2 ? { ...title, cls: 'narrow' } : title)),
    tightest.map((it) => {
      const part = share(it);
      const { unit: written } = it.budget === 'cost_per_month' ? MEASURES.cost : MEASURES.tokens;
      const left = Math.max(0, (Date.parse(it.resets_at) - Date.now()) / 1000);
      const colour = part >= 1 ? 'red' : part >= 0.8 ? 'amber' : 'blue';
      return [
        it.key, number(it.budget.replaceAll('_', ' ')), make('td', 'bar narrow', bar([[colour, Math.min(1, part)]], 1)),
        number(`${percent(Math.min(1, part))} (${written(it.used)} of ${written(it.limit)})`), number(span(left)),
      ];
    }),
  )] : []));

  $('usage-table').replaceChildren(...(sums.length ? [table(
    head('Day', ...lines.map(({ label }) => label)),
    [...days].reverse().map((day) => [day.day, ...lines.map(({ field }) => number(unit(day[field])))]),
  )] : []));
}

$('usage-what').addEventListener('input', showUsage);
$('usage-days').addEventListener('input', () => {
  usageAskedAt = -Infinity;
  refresh();
});
