// The banners above the page: what is wrong now, and what somebody ought to look at.

import { html } from './html.js';
import { count, wire } from './format.js';
import { icon } from './icons.js';
import { server } from './store.js';

const MOST = 3; // of one colour; the rest is counted

export function Banners() {
  const { health, problems = [], warnings = [] } = server.value;
  return html`${health && !health.ok && html`<${LogFails} health=${health} />`}
    <${Strip} cls="bad" role="alert" texts=${problems} />
    <${Strip} cls="warn" role="status" texts=${warnings} />`;
}

// LogFails tells at once that the log cannot be written.
function LogFails({ health }) {
  return html`<div class="banner bad" role="alert">${icon('alert')}<p>
    <b>The log cannot be written.</b> ${sentence(health.err || 'No reason was given')}
    ${health.on_failure === 'continue' ? ' Sessions go on unrecorded.' : ' Sessions are refused until it can.'}
    ${health.lost > 0 && ` ${count(health.lost)} events are lost so far.`}
  </p></div>`;
}

// sentence makes one of a cause as the log's own lines tell it.
const sentence = (text) => text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? '' : '.');

function Strip({ cls, role, texts }) {
  if (texts.length === 0) return null;
  const more = texts.length - MOST;
  return html`<div class=${`banner ${cls}`} role=${role}>${icon('alert')}<div>
    ${texts.slice(0, MOST).map((text) => html`<${Notice} text=${text} />`)}
    ${more > 0 && html`<p>and ${count(more)} more</p>`}
  </div></div>`;
}

// Notice sets a text's first clause apart: that is what is wrong, and the rest what comes of it.
function Notice({ text }) {
  const [, head, rest] = /^(.*?[.:]) (.*)$/s.exec(text) ?? [null, text, ''];
  return html`<p><b>${wire(head)}</b> ${wire(rest)}</p>`;
}
