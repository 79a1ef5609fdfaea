// Keys and filters, in a dialog.

import { signal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import { html } from './html.js';
import { server } from './store.js';

export const helping = signal(false);

const keys = [
  ['/', 'filter'], ['Esc', 'clear the filter, close, back'], ['p', 'pause and resume'], ['j', 'next row'], ['k', 'row before'],
  ['Enter', 'open the session'], ['s', 'rows of the sessions'], ['r', 'rows of the records'], ['u', 'UTC or local time'],
  ['t', 'theme'], ['?', 'this help'],
];
const terms = [
  ['alice', 'anything that holds the word'], ['user:alice', 'the user'], ['ip:192.0.2.', 'the address begins so'],
  ['verb:retr', 'the command'], ['status:err', 'refused, or out of order'], ['kind:delete', 'the kind of record'],
  ['-verb:noop', 'all but these'], ['"no such"', 'words with a space'],
];

export function Help() {
  const dialog = useRef(null);
  useEffect(() => {
    if (helping.value) dialog.current.showModal();
    else dialog.current.close();
  }, [helping.value]);
  const list = (title, rows, tag) => html`<section><h3>${title}</h3><dl>${rows.map(([k, v]) => html`<div><dt>${tag(k)}</dt><dd>${v}</dd></div>`)}</dl></section>`;
  return html`<dialog class="help" ref=${dialog} aria-labelledby="help-title" onClose=${() => (helping.value = false)}>
    <header><h2 id="help-title">Keys and filters</h2><button onClick=${() => (helping.value = false)}>Close</button></header>
    <div class="columns">
      ${list('Keys', keys, (k) => html`<kbd>${k}</kbd>`)}
      ${list('Filter', terms, (k) => html`<code>${k}</code>`)}
    </div>
    <p>Nothing is shown that is not on record. A page that was cut off resumes where it was. Postern ${server.value.version}</p>
  </dialog>`;
}
