// --- tiles and panels ---

const GOOD = new Set(['healthy', 'closed', 'ok', 'alive', 'connected', 'known']);
const BAD = new Set(['unhealthy', 'open', 'disconnected', 'quota exhausted', 'refused', 'no answer']);
const tone = (word) => (GOOD.has(word) ? 'good' : BAD.has(word) ? 'bad' : word === 'unknown' ? '' : 'warn');
const pill = (word) => make('span', `pill ${tone(word)}`, word.replaceAll('_', ' '));

function state(word) {
  $('status').className = `pill ${tone(word)}`;
  say('status', word);
}

function pairs(id, rows) {
  $(id).replaceChildren(...rows.flatMap(([name, shown]) => [make('dt', null, name), make('dd', null, shown)]));
}

function bar(parts, most) {
  const meter = make('div', 'meter');
  meter.setAttribute('aria-hidden', 'true');
  for (const [colour, part] of parts) {
    if (!part) continue;
    const piece = make('span', colour);
    piece.style.width = `${(100 * part) / most}%`;
    meter.append(piece);
  }
  return meter;
}

function table(head, rows) {
  const titles = head.map((title) => {
    const cell = make('th', title.cls, ...title.inside);
    cell.scope = 'col';
    return cell;
  });
  const lines = rows.map(([name, ...cells]) => {
    const first = make('th', null, name);
    first.scope = 'row';
    return make('tr', null, first, ...cells);
  });
  return make('table', null, make('thead', null, make('tr', null, ...titles)), make('tbody', null, ...lines));
}

// Where several upstreams are in use, what is of one of them names it.
const ofUpstream = (text, upstream) => (upstream ? `${upstream}: ${text}` : text);

const none = (text) => make('p', 'none', text);

function showTiles(health) {
  const now = points.at(-1);
  const then = minuteAgo();
  const { queue } = health.checks;
  say('rate', rate(now.rate ?? null));
  say('rate-more', `${count(now.all)} since the start`);
  say('flight', String(queue.in_flight));
  say('flight-limit', `of ${queue.limit}`);
  say('flight-more', queue.waiting ? `${queue.waiting} waiting` : 'none waiting');
  for (const [id, latency] of [['overhead', health.latency.overhead], ['first', health.latency.upstream_first_byte]]) {
    say(id, duration(latency.p50));
    say(`${id}-more`, latency.count ? `p99 ${duration(latency.p99)}` : 'nothing in the last minute');
  }
  const ended = now.all - then.all;
  say('errors', ended ? percent((now.failed - then.failed) / ended) : '–');
  say('errors-more', `${count(now.failed)} since the start`);
  const asked = now.atHand + now.waited - then.atHand - then.waited;
  say('hand', asked ? percent((now.atHand - then.atHand) / asked) : '–');
  say('hand-more', `${percent(health.metrics.cache_hit_rate)} since the start`);
}

function showPanels(metrics, { checks }) {
  $('endpoints').replaceChildren(
    ...checks.endpoints.map(({ url, breaker, in_flight: open, upstream }) =>
      make('li', null, make('code', null, ofUpstream(url.replace(/^https:\/\//, ''), upstream)), make('div', null, pill(breaker), `${open} in flight`))),
  );
  pairs('tries', [
    ['Retries', count(labelled(metrics, 'retries_total', {}))],
    ['Streams cut', count(value(metrics, 'streams_cut_total'))],
  ]);

  const upstreams = checks.upstreams ?? [];
  $('upstreams-panel').hidden = !upstreams.length;
  $('upstreams').replaceChildren(
    table(
      [{ inside: ['Upstream'] }, { inside: ['Provider'] }, { inside: ['Latest answers'] }, { inside: ['Credentials'] }, { inside: ['Token'] }, { inside: ['In flight'] }],
      upstreams.map(({ name, provider, status, credentials, token, endpoints }) => [
        name,
        make('td', null, provider),
        make('td', null, pill(status)),
        make('td', null, pill(credentials.status)),
        make('td', null, token.expires_in_seconds === null ? '–' : span(token.expires_in_seconds)),
        make('td', null, String(endpoints.reduce((sum, { in_flight: open }) => sum + open, 0))),
      ]),
    ),
  );

  const waiting = [
    ...checks.resting_models.map(({ model, method, breaker, seconds_left: left, upstream }) => [ofUpstream(model, upstream), method, breaker, left]),
    ...checks.exhausted_quotas.map(({ model, seconds_left: left, upstream }) => [ofUpstream(model, upstream), 'all methods', 'quota exhausted', left]),
    ...upstreams.flatMap(({ name, unable }) =>
      unable.map(({ model, method, reason, seconds_left: left }) => [ofUpstream(model ?? 'every model', name), method ?? 'all methods', reason, left])),
  ].sort(([, , , a], [, , , b]) => b - a);
  $('resting-panel').hidden = !waiting.length;
  $('resting').replaceChildren(
    table(
      [{ inside: ['Model'] }, { inside: ['Method'] }, { inside: ['Why'] }, { inside: ['Asked again in'] }],
      waiting.slice(0, 8).map(([model, method, why, left]) => [model, make('td', null, method), make('td', null, pill(why)), make('td', null, span(left))]),
    ),
  );

  const { token, credentials, project } = checks;
  pairs('sign-in', [
    ['Credentials', pill(credentials.status)],
    ['Token', token.expires_in_seconds === null ? pill(token.status) : `expires in ${span(token.expires_in_seconds)}`],
    ['Refreshes', `${token.refreshes}${token.failed_refreshes ? `, ${token.failed_refreshes} failed` : ''}`],
    ['Project', pill(project.status)],
  ]);

  const memory = metrics.process_resident_memory_bytes?.samples[0]?.value;
  const files = metrics.process_open_fds?.samples[0]?.value;
  const [then, now] = [minuteAgo(), points.at(-1)];
  const cpu = now.cpu === null || now === then ? null : (now.cpu - then.cpu) / ((now.at - then.at) / 1000);
  pairs('process', [
    ['Memory', memory === undefined ? '–' : bytes(memory)],
    ['Open files', files === undefined ? '–' : count(files)],
    ['Processor', cpu === null ? '–' : `${percent(cpu)} of a core`],
    ['Store', pill(checks.store.status)],
  ]);

  const results = ['hit', 'coalesced', 'miss', 'bypass'].map((result) => [result, labelled(metrics, 'cache_requests_total', { result })]);
  const all = results.reduce((sum, [, n]) => sum + n, 0);
  const colours = { hit: 'teal', coalesced: 'blue', miss: 'amber', bypass: 'violet' };
  const list = make('dl');
  for (const [result, n] of results) {
    list.append(make('dt', null, make('span', `dot ${colours[result]}`), result), make('dd', null, count(n)));
  }
  const share = all ? (results[0][1] + results[1][1]) / all : null;
  const said = all ? [make('b', null, percent(share)), ' of repeatable requests'] : ['No repeatable request yet'];
  $('cache').replaceChildren(list, make('p', 'none', ...said));

  const translated = samples(metrics, 'translated_requests_total').map(({ labels, value: n }) => [DIALECTS[labels.dialect], n]);
  const gemini = translated.reduce((rest, [, n]) => rest - n, labelled(metrics, 'requests_total', {}));
  const dialects = [['Gemini', gemini], ...translated].sort(([, a], [, b]) => b - a);
  $('dialects-panel').hidden = translated.every(([, n]) => !n);
  $('dialects').replaceChildren(
    table(
      [{ inside: ['Dialect'] }, { inside: [] }, { inside: ['Count'] }],
      dialects.map(([name, n]) => [name, make('td', 'bar', bar([['blue', n]], dialects[0][1])), make('td', null, count(n))]),
    ),
  );

  const reasons = samples(metrics, 'refusals_total').filter((sample) => sample.value).sort((a, b) => b.value - a.value).slice(0, 8);
  $('reasons').replaceChildren(
    reasons.length
      ? table(
        [{ inside: ['Reason'] }, { inside: [] }, { inside: ['Count'] }],
        reasons.map(({ labels, value: n }) => [labels.reason.replaceAll('_', ' '), make('td', 'bar', bar([['red', n]], reasons[0].value)), make('td', null, count(n))]),
      )
      : none('None so far.'),
  );

  const kinds = [['prompt', 'blue'], ['output', 'teal'], ['thoughts', 'violet'], ['cached', 'amber']];
  const byModel = new Map();
  for (const { labels, value: n } of samples(metrics, 'tokens_total')) {
    const used = byModel.get(labels.model) ?? {};
    byModel.set(labels.model, { ...used, [labels.kind]: (used[labels.kind] ?? 0) + n });
  }
  // Cached tokens are part of the prompt's.
  const sum = (used) => (used.prompt ?? 0) + (used.output ?? 0) + (used.thoughts ?? 0);
  const models = [...byModel].sort(([, a], [, b]) => sum(b) - sum(a)).slice(0, 8);
  $('tokens').replaceChildren(
    models.length
      ? table(
        [{ inside: ['Model'] }, { inside: [], cls: 'narrow' }, ...kinds.map(([kind, colour]) => ({ inside: [make('span', `dot ${colour}`), kind] }))],
        models.map(([model, used]) => [
          model,
          make('td', 'bar narrow', bar(kinds.slice(0, 3).map(([kind, colour]) => [colour, used[kind]]), sum(models[0][1]))),
          ...kinds.map(([kind]) => make('td', null, count(used[kind] ?? 0))),
        ]),
      )
      : none('None so far.'),
  );
}
