let ownOnly = false; // the key may read its own usage, and not the numbers of the whole proxy

function showBoard(health) {
  $('ask').hidden = true;
  $('board').hidden = false;
  $('board').classList.remove('stale');
  $('forget').hidden = !key;
  for (const part of document.querySelectorAll('[data-whole]')) part.hidden = ownOnly;
  $('own').hidden = !ownOnly;
  state(health.status);
  say('version', health.version);
  say('uptime', `up ${span(health.metrics.uptime)}`);
  say('updated', `Updated ${new Date().toLocaleTimeString()}.`);
}

function show(metrics, health) {
  note(metrics);
  showBoard(health);
  const refused = (health.checks.upstreams ?? [health.checks]).filter(({ credentials }) => credentials.status !== 'ok');
  $('notice').hidden = !refused.length;
  if (refused.length) say('notice', refused.map(({ name, credentials }) => ofUpstream(credentials.message, name)).join(' '));
  showTiles(health);
  showPanels(metrics, health);
  for (const update of plots) update();
  document.title = `${rate(points.at(-1).rate ?? null)}/s · ${health.status} · code-assist-proxy`;
}

function lock() {
  say('refused', key ? 'The proxy does not know this key.' : '');
  keep(null);
  $('board').hidden = true;
  $('notice').hidden = true;
  $('forget').hidden = true;
  state('locked');
  for (const end of whenLocked) end();
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
  ownOnly = false;
  forgetUsage();
  try {
    if (key) sessionStorage.setItem(STORED, key);
    else sessionStorage.removeItem(STORED);
  } catch {
    // Without storage the key is kept until the page is closed.
  }
}

let timer = null;
let refreshing = false;

/** Shows what the key may see of the whole proxy. True if the usage of keys is counted. */
async function refreshNumbers() {
  if (!ownOnly) {
    try {
      const [{ metrics }, health] = await Promise.all([ask('metrics?format=json'), ask('health/detailed')]);
      show(metrics, health);
      return metrics[`${NAME}key_cost_total`] !== undefined;
    } catch (why) {
      if (!(why instanceof AdminOnly)) throw why;
      ownOnly = true;
    }
  }
  const health = await ask('health');
  $('notice').hidden = true;
  showBoard(health);
  document.title = `${health.status} · code-assist-proxy`;
  return true;
}

async function refresh() {
  clearTimeout(timer);
  if (refreshing) return;
  refreshing = true;
  try {
    const counts = await refreshNumbers();
    $('usage-uncounted').hidden = counts;
    $('usage').hidden = !counts;
    if (counts) await refreshUsage();
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
