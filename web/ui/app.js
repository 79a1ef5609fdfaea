// Postern's dashboard: the entry. It draws the page and gives the keys their meaning.

import { render } from 'preact';
import { Banners } from './banner.js';
import { Header } from './header.js';
import { Help, helping } from './help.js';
import { html } from './html.js';
import { Live } from './live.js';
import { openLive, session } from './route.js';
import { nextTheme, nextZone, shown } from './settings.js';
import { query, start, togglePause } from './store.js';
import { Transcript } from './transcript.js';
import { pane, panes } from './windowed.js';

function App() {
  return html`<a class="skip" href="#main" onClick=${skip}>Skip to the content</a>
    <${Header} />
    <${Banners} />
    ${session.value ? html`<${Transcript} key=${session.value} id=${session.value} />` : html`<${Live} />`}
    <${Help} />`;
}

function skip(e) {
  e.preventDefault(); // the hash is the page's route
  (document.getElementById('records') ?? document.getElementById('transcript'))?.focus();
}

const keys = {
  '/': () => document.getElementById('filter')?.focus(),
  '?': () => (helping.value = true),
  p: togglePause,
  u: nextZone,
  t: nextTheme,
  j: () => rows()?.move(1),
  k: () => rows()?.move(-1),
  ArrowDown: () => rows()?.move(1),
  ArrowUp: () => rows()?.move(-1),
  Enter: () => rows()?.open(),
  r: () => turn('records'),
  s: () => turn('sessions'),
  Escape: () => (session.value ? openLive() : (query.value = '')),
};

const rows = () => panes.get(pane.now) ?? panes.get('records');

function turn(name) {
  if (session.value) return;
  shown.value = name;
  pane.now = name;
  document.getElementById(name)?.focus();
}

// pressed leaves alone what the browser or the focused control wants for itself.
function pressed(e) {
  if (e.ctrlKey || e.metaKey || e.altKey || document.querySelector('dialog[open]')) return;
  const typing = e.target.matches('input');
  if (typing && e.key === 'Enter') return document.getElementById('records')?.focus();
  if (typing && e.key !== 'Escape') return;
  if (e.key === 'Enter' && e.target.closest('a, button')?.checkVisibility()) return; // a closed dialog's may have the focus yet
  const act = keys[e.key];
  if (!act || (session.value && e.key.startsWith('Arrow'))) return;
  e.preventDefault();
  act();
  if (typing) e.target.blur();
}

addEventListener('keydown', pressed);
render(html`<${App} />`, document.getElementById('app'));
start();
