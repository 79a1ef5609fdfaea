// The head of the page: where one is, how the link is, and the few switches.

import { html } from './html.js';
import { clock, count, zoneName } from './format.js';
import { crest, icon } from './icons.js';
import { session } from './route.js';
import { nextTheme, nextZone, theme, utc } from './settings.js';
import { lag, link, now, paused, query, tick, togglePause, waiting } from './store.js';
import { helping } from './help.js';

// linkState says how the page is joined to the log: [class, words that stay, words that count].
function linkState() {
  const l = link.value;
  if (l.is === 'cut') {
    now.value; // count down with the clock
    const left = Math.max(0, Math.ceil((l.until - Date.now()) / 1000));
    return ['cut', 'cut off', `, retrying in ${left} s`];
  }
  if (l.is === 'connecting') return l.tries > 0 ? ['cut', 'cut off', ', retrying now'] : ['connecting', 'connecting', ''];
  if (paused.value) return ['paused', 'paused', `, ${count(waiting.value)} waiting`];
  if (lag.value > 0) return ['behind', 'behind', ` by ${count(lag.value)}`];
  return ['open', 'connected', ''];
}

function LinkState() {
  tick.value;
  const [cls, stays, counts] = linkState();
  return html`<p class=${`link ${cls}`} id="link"><i class="dot"></i><span role="status">${stays}</span><span>${counts}</span></p>`;
}

export function Header() {
  return html`<header class="top">
    <a class="brand" href="#/" aria-label="Postern, live page">${crest}<span>Postern</span></a>
    <${LinkState} />
    ${session.value ? html`<span class="grow"></span>` : html`<${Filter} />`}
    <div class="tools">
      <button id="pause" aria-pressed=${paused.value} onClick=${togglePause} title="Hold the view (p)">
        ${icon(paused.value ? 'play' : 'pause')}<span>${paused.value ? 'Resume' : 'Pause'}</span></button>
      <button id="zone" class="clock" onClick=${nextZone} title="Switch between UTC and local time (u)">
        ${clock(now.value, utc(), false)} <b>${zoneName(utc())}</b><span class="unseen">, switch the time zone</span></button>
      <button id="theme" class="square" onClick=${nextTheme} title=${`Theme: ${theme.value} (t)`} aria-label=${`Theme: ${theme.value}`}>${icon(theme.value)}</button>
      <button id="help" class="square" onClick=${() => (helping.value = true)} title="Keys and filters (?)" aria-label="Keys and filters">${icon('help')}</button>
    </div>
  </header>`;
}

function Filter() {
  return html`<div class="filter" role="search">
    ${icon('search')}
    <input id="filter" type="search" aria-label="Filter" placeholder="Filter: text, user: ip: verb: status:err" spellcheck="false" autocomplete="off"
      maxlength="200" value=${query.value} onInput=${(e) => (query.value = e.currentTarget.value)} />
    <kbd aria-hidden="true">/</kbd>
  </div>`;
}
