// An empty page teaches: the commands that make the first session, ready to be copied.

import { useState } from 'preact/hooks';
import { html } from './html.js';
import { icon } from './icons.js';
import { link, server } from './store.js';

export function FirstSession() {
  const hint = server.value.hint ?? [];
  if (link.value.is !== 'open') return html`<p>Waiting for the log.</p>`;
  return html`<div class="first">
    <h3>No session yet</h3>
    <p>Every command of every session appears here, once it is on record.${hint.length > 0 && ' Make the first one:'}</p>
    ${hint.map((command) => html`<${Recipe} text=${command} />`)}
  </div>`;
}

function Recipe({ text }) {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    await navigator.clipboard.writeText(text);
    setCopied(true);
    setTimeout(() => setCopied(false), 2000);
  };
  return html`<div class="recipe"><code tabindex="0" role="textbox" aria-readonly="true" aria-label="Command">${text}</code>
    <button onClick=${copy} aria-label="Copy the command">${icon(copied ? 'done' : 'copy')}<span>${copied ? 'Copied' : 'Copy'}</span></button></div>`;
}
