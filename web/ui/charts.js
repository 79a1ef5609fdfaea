// The four counters, each with a small chart of the last five minutes.

import { html } from './html.js';
import { count, octets } from './format.js';
import { model, now, tick } from './store.js';
import { BARS, STEP } from './model.js';

const [W, H] = [BARS * 3, 34];

// bars draws one bar for each value; a second series stands on top of the first.
function bars(values, more = []) {
  const most = Math.max(1, ...values.map((v, i) => v + (more[i] ?? 0)));
  const scale = (v) => (v > 0 ? Math.max(1.5, (v / most) * H) : 0);
  return values.flatMap((v, i) => {
    const [low, high] = [scale(v), scale(more[i] ?? 0)];
    return [
      low > 0 && html`<rect class="bar" x=${i * 3} y=${H - low} width="2" height=${low} />`,
      high > 0 && html`<rect class="bar bad" x=${i * 3} y=${H - low - high} width="2" height=${high} />`,
    ];
  });
}

// area draws a line over a filled area, from where the values begin to be known.
function area(values) {
  const most = Math.max(1, ...values.filter((v) => v !== null)) * 1.15;
  const points = values.flatMap((v, i) => (v === null ? [] : [`${i * 3 + 1},${(H - 1 - (v / most) * (H - 3)).toFixed(1)}`]));
  if (points.length === 0) return null;
  const begin = points[0].split(',')[0];
  return html`<polygon class="fill" points=${`${begin},${H} ${points.join(' ')} ${W - 2},${H}`} /><polyline class="line" points=${points.join(' ')} />`;
}

function Tile({ id, title, value, unit, chart, label, children }) {
  return html`<section class=${`tile tile-${id}`} aria-label=${title}>
    <h2>${title}</h2>
    <p class="figure"><b id=${`figure-${id}`}>${value}</b>${unit && html` <span>${unit}</span>`}</p>
    <p class="under">${children}</p>
    <svg class="chart" viewBox=${`0 0 ${W} ${H}`} preserveAspectRatio="none" role="img" aria-label=${label}>${chart}</svg>
  </section>`;
}

export function Charts() {
  tick.value;
  const t = model.totals;
  const series = model.series(now.value);
  const of = (field) => series.map((b) => b[field]);
  const minute = 60000 / STEP;
  const lately = (field) => of(field).slice(-minute).reduce((a, b) => a + b, 0);
  const failed = lately('failed');
  return html`<div class="tiles">
    <${Tile} id="sessions" title="Sessions now" value=${count(model.liveCount)} chart=${area(of('live'))}
      label="sessions open over the last five minutes">${count(t.sessions)} today</${Tile}>
    <${Tile} id="logins" title="Logins today" value=${count(t.logins_ok)} unit=${html`ok <b class=${t.logins_failed ? 'bad' : ''}>${count(t.logins_failed)}</b> failed`}
      chart=${bars(of('ok'), of('failed'))} label="logins over the last five minutes">${failed ? `${count(failed)} failed in the last minute` : 'none failed in the last minute'}</${Tile}>
    <${Tile} id="octets" title="Relayed today" value=${octets(model.octets())} chart=${area(of('octets'))}
      label="octets of mail relayed over the last five minutes">${octets(lately('octets') / 60)}/s in the last minute</${Tile}>
    <${Tile} id="commands" title="Commands a minute" value=${count(lately('commands'))} chart=${bars(of('commands'))}
      label="commands over the last five minutes">${count(t.retrieved)} read, ${count(t.deleted)} deleted today</${Tile}>
  </div>`;
}
