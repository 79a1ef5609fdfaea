// The few icons, drawn on a grid of 16 in the colour of the text around them.

import { html } from './html.js';

const paths = {
  pause: 'M5.5 3.5v9M10.5 3.5v9',
  play: 'M5 3.2v9.6l7.5-4.8z',
  help: 'M6 6.2a2 2 0 1 1 2.9 1.8c-.6.3-.9.7-.9 1.4M8 11.6v.1',
  down: 'M8 3.5v9M4.2 8.8 8 12.5l3.8-3.7',
  back: 'M12.5 8h-9M7.2 4.2 3.5 8l3.7 3.8',
  search: 'M7 11.5a4.5 4.5 0 1 1 0-9 4.5 4.5 0 0 1 0 9zM10.4 10.4 14 14',
  copy: 'M5.5 5.5v-3h8v8h-3M2.5 5.5h8v8h-8z',
  done: 'M3.5 8.5l3 3 6-7',
  dark: 'M13 9.3A5.3 5.3 0 1 1 6.7 3 4.3 4.3 0 0 0 13 9.3z',
  light: 'M8 5.2a2.8 2.8 0 1 1 0 5.6 2.8 2.8 0 0 1 0-5.6zM8 1.5v1M8 13.5v1M1.5 8h1M13.5 8h1M3.4 3.4l.7.7M11.9 11.9l.7.7M3.4 12.6l.7-.7M11.9 4.1l.7-.7',
  system: 'M2.5 3.5h11v7h-11zM6 13h4M8 10.5V13',
  alert: 'M8 2.5 14.2 13H1.8zM8 6.5v3M8 11.2v.1',
  lock: 'M4 7.5h8v5.5H4zM5.7 7.5V5.3a2.3 2.3 0 0 1 4.6 0v2.2',
};

export const icon = (name) => html`<svg class="icon" viewBox="0 0 16 16" aria-hidden="true" focusable="false"><path d=${paths[name]} /></svg>`;

// crest is Postern's own: a small gate in a wall, with light behind it.
export const crest = html`<svg class="crest" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
  <path class="wall" d="M3 21V6.5h3V4h3.5v2.5h5V4H18v2.5h3V21z" />
  <path class="gate" d="M8.2 21v-6.2a3.8 3.8 0 0 1 7.6 0V21z" />
</svg>`;
