// --- plots ---

const nice = (n) => {
  if (!(n > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(n));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((step) => step * power).find((step) => step >= n * 1.0001) ?? 10 * power;
};

/** The points of the last minutes. */
const LIVE = {
  points: () => points,
  fewest: FEWEST,
  last: 'now',
  left: (pointed, steps) => {
    const past = pointed === null ? (steps * EVERY) / 1000 : Math.round((points.at(-1).at - points[pointed].at) / 1000);
    return `${span(past)} ago`;
  },
  resting: (name) => points.at(-1)[name] ?? null,
  label: (latest) => `Plot of the last minutes. Now: ${latest}`,
};

/**
 * A plot of some fields of the points, with a reading of the point under the pointer. `series` says which points
 * they are, how many places the plot has at least, and what is written while no point is pointed at.
 */
function plot(id, lines, unit, series = LIVE) {
  const legend = make('div', 'key');
  const svg = draw('svg', { viewBox: '0 0 100 100', preserveAspectRatio: 'none', 'aria-hidden': 'true' });
  const top = make('span', 'top');
  const field = make('div', 'field', svg, top);
  const left = make('span');
  const host = $(id);
  host.setAttribute('role', 'img');
  host.replaceChildren(legend, field, make('div', 'ends', left, make('span', null, series.last)));
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
  const steps = () => Math.max(series.fewest, series.points().length) - 1;
  const x = (i) => 100 - ((series.points().length - 1 - i) * 100) / steps();
  const show = () => {
    const read = (name) => (pointed === null ? series.resting(name) : (series.points()[pointed][name] ?? null));
    lines.forEach(({ field: name }, n) => (numbers[n].textContent = unit(read(name))));
    left.textContent = series.left(pointed, steps());
    mark.setAttribute('visibility', pointed === null ? 'hidden' : 'visible');
    if (pointed !== null) for (const end of ['x1', 'x2']) mark.setAttribute(end, x(at));
  };
  field.addEventListener('pointermove', (event) => {
    const { length } = series.points();
    if (!length) return;
    const box = field.getBoundingClientRect();
    const back = Math.round((1 - (event.clientX - box.left) / box.width) * steps());
    pointed = Math.min(length - 1, Math.max(0, length - 1 - back));
    show();
  });
  field.addEventListener('pointerleave', () => {
    pointed = null;
    if (series.points().length) show();
  });
  return () => {
    const points = series.points();
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
    const latest = lines.map(({ label, field: name }) => `${label} ${unit(series.resting(name))}`);
    host.setAttribute('aria-label', series.label(latest.join(', ')));
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
