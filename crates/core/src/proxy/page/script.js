'use strict';
(() => {
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

  async function ask(path) {
    const headers = { accept: 'application/json' };
    if (key) headers['x-goog-api-key'] = key;
    const answer = await fetch(path, { headers, cache: 'no-store', credentials: 'omit', signal: AbortSignal.timeout(8000) });
    if (answer.status === 401) throw new Locked();
    const body = await answer.json();
    if (body.error) throw new Error(body.error.message);
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

  // --- plots ---

  const nice = (n) => {
    if (!(n > 0)) return 1;
    const power = 10 ** Math.floor(Math.log10(n));
    return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((step) => step * power).find((step) => step >= n * 1.0001) ?? 10 * power;
  };

  /** A plot of some fields of the points, with a reading of the point under the pointer. */
  function plot(id, lines, unit) {
    const legend = make('div', 'key');
    const svg = draw('svg', { viewBox: '0 0 100 100', preserveAspectRatio: 'none', 'aria-hidden': 'true' });
    const top = make('span', 'top');
    const field = make('div', 'field', svg, top);
    const left = make('span');
    const host = $(id);
    host.setAttribute('role', 'img');
    host.append(legend, field, make('div', 'ends', left, make('span', null, 'now')));
    const numbers = lines.map(({ label, colour }) => {
      const number = make('b');
      legend.append(make('span', null, make('span', `dot ${colour}`), `${label} `, number));
      return number;
    });
    for (const y of [0, 50, 100]) svg.append(draw('line', { class: 'grid', x1: 0, x2: 100, y1: y, y2: y }));
    const paths = lines.map(({ colour, area }) => {
      const parts = area ? [draw('path', { class: `area ${colour}` })] : [];
      parts.push(draw('path', { class: colour }));
      svg.append(...parts);
      return parts;
    });
    const mark = draw('line', { class: 'mark', y1: 0, y2: 100, visibility: 'hidden' });
    svg.append(mark);
    let pointed = null;
    const steps = () => Math.max(FEWEST, points.length) - 1;
    const x = (i) => 100 - ((points.length - 1 - i) * 100) / steps();
    const show = () => {
      const at = pointed === null ? points.length - 1 : pointed;
      lines.forEach(({ field: name }, n) => (numbers[n].textContent = unit(points[at]?.[name] ?? null)));
      const past = Math.round((points.at(-1).at - points[at].at) / 1000);
      left.textContent = `${span(pointed === null ? (steps() * EVERY) / 1000 : past)} ago`;
      mark.setAttribute('visibility', pointed === null ? 'hidden' : 'visible');
      if (pointed !== null) for (const end of ['x1', 'x2']) mark.setAttribute(end, x(at));
    };
    field.addEventListener('pointermove', (event) => {
      if (!points.length) return;
      const box = field.getBoundingClientRect();
      const back = Math.round((1 - (event.clientX - box.left) / box.width) * steps());
      pointed = Math.min(points.length - 1, Math.max(0, points.length - 1 - back));
      show();
    });
    field.addEventListener('pointerleave', () => {
      pointed = null;
      if (points.length) show();
    });
    return () => {
      pointed = pointed === null ? null : Math.min(pointed, points.length - 1);
      const most = nice(Math.max(0, ...points.flatMap((point) => lines.map((line) => point[line.field] ?? 0))));
      top.textContent = unit(most).replace(/\.0+(?= |$)/, '');
      lines.forEach(({ field: name }, n) => {
        let path = '';
        let area = '';
        let start = null;
        const close = (end) => {
          if (start !== null) area += `L${x(end)} 100L${x(start)} 100Z`;
          start = null;
        };
        points.forEach((point, i) => {
          const number = point[name] ?? null;
          if (number === null) return close(i - 1);
          const step = `${start === null ? 'M' : 'L'}${x(i).toFixed(2)} ${(100 - (number / most) * 100).toFixed(2)}`;
          if (start === null) start = i;
          path += step;
          area += step;
        });
        close(points.length - 1);
        paths[n].at(-1).setAttribute('d', path);
        if (paths[n].length > 1) paths[n][0].setAttribute('d', area);
      });
      show();
      const latest = lines.map(({ label, field: name }) => `${label} ${unit(points.at(-1)[name] ?? null)}`);
      host.setAttribute('aria-label', `Plot of the last minutes. Now: ${latest.join(', ')}`);
    };
  }

  const plots = [
    plot('plot-rate', [
      { label: 'all', field: 'rate', colour: 'blue', area: true },
      { label: 'errors', field: 'failedRate', colour: 'red', area: true },
    ], rate),
    plot('plot-overhead', [
      { label: 'p50', field: 'overhead50', colour: 'teal', area: true },
      { label: 'p90', field: 'overhead90', colour: 'blue' },
      { label: 'p99', field: 'overhead99', colour: 'violet' },
    ], duration),
    plot('plot-first', [
      { label: 'p50', field: 'first50', colour: 'teal', area: true },
      { label: 'p90', field: 'first90', colour: 'blue' },
      { label: 'p99', field: 'first99', colour: 'violet' },
    ], duration),
  ];

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

  function show(metrics, health) {
    note(metrics);
    $('ask').hidden = true;
    $('board').hidden = false;
    $('board').classList.remove('stale');
    $('forget').hidden = !key;
    state(health.status);
    say('version', health.version);
    say('uptime', `up ${span(health.metrics.uptime)}`);
    const refused = (health.checks.upstreams ?? [health.checks]).filter(({ credentials }) => credentials.status !== 'ok');
    $('notice').hidden = !refused.length;
    if (refused.length) say('notice', refused.map(({ name, credentials }) => ofUpstream(credentials.message, name)).join(' '));
    showTiles(health);
    showPanels(metrics, health);
    for (const update of plots) update();
    say('updated', `Updated ${new Date().toLocaleTimeString()}.`);
    document.title = `${rate(points.at(-1).rate ?? null)}/s · ${health.status} · code-assist-proxy`;
  }

  function lock() {
    say('refused', key ? 'The proxy does not know this key.' : '');
    keep(null);
    $('board').hidden = true;
    $('notice').hidden = true;
    $('forget').hidden = true;
    state('locked');
    if ($('ask').hidden) {
      $('ask').hidden = false;
      $('key').focus();
    }
  }

  function lost(why) {
    const reason = why instanceof TypeError || why.name === 'TimeoutError' ? 'The proxy does not answer.' : why.message;
    $('board').classList.add('stale');
    state('no answer');
    say('notice', `${reason} Trying again every two seconds.`);
    $('notice').hidden = false;
  }

  function keep(next) {
    key = next;
    try {
      if (key) sessionStorage.setItem(STORED, key);
      else sessionStorage.removeItem(STORED);
    } catch {
      // Without storage the key is kept until the page is closed.
    }
  }

  let timer = null;
  let refreshing = false;

  async function refresh() {
    clearTimeout(timer);
    if (refreshing) return;
    refreshing = true;
    try {
      const [{ metrics }, health] = await Promise.all([ask('metrics?format=json'), ask('health/detailed')]);
      show(metrics, health);
    } catch (why) {
      if (why instanceof Locked) lock();
      else lost(why);
    } finally {
      refreshing = false;
    }
    // While the key form is shown there is nothing to request.
    if ($('ask').hidden) timer = setTimeout(refresh, document.hidden ? 5 * EVERY : EVERY);
  }

  $('ask').addEventListener('submit', (event) => {
    event.preventDefault();
    keep($('key').value.trim());
    $('key').value = '';
    refresh();
  });
  $('forget').addEventListener('click', () => {
    clearTimeout(timer);
    keep(null);
    points = [];
    lock();
  });
  document.addEventListener('visibilitychange', () => {
    if (!document.hidden && $('ask').hidden) refresh();
  });
  refresh();
})();
