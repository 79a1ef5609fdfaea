// A table of any length of which only the visible rows are in the page. Rows have one fixed height. At
// its home end (the bottom of a stream, the top of a list) it stays with what is new; anywhere else it
// stays with the rows being read, whatever arrives or goes.

import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import { html } from './html.js';
import { icon } from './icons.js';
import { count } from './format.js';

const OVERSCAN = 8;

// panes are the tables now on the page, by name: {move(by), open()}. `pane.now` has the keyboard.
export const panes = new Map();
export const pane = { now: 'records' };

export function Windowed({ name, label, head, rows, keyOf, height, home = 'top', render, onOpen, cover }) {
  const box = useRef(null);
  const anchor = useRef({ home: true, key: null, offset: 0, newest: null });
  const [top, setTop] = useState(0);
  const [room, setRoom] = useState(600);
  const [selected, select] = useState(null);

  useEffect(() => {
    const watch = new ResizeObserver(() => setRoom(box.current.clientHeight));
    watch.observe(box.current);
    return () => watch.disconnect();
  }, []);
  useLayoutEffect(() => hold(box.current, anchor.current, { rows, keyOf, height, home }, setTop));
  useLayoutEffect(() => {
    panes.set(name, {
      move: (by) => move({ box: box.current, rows, keyOf, height, home, selected, select, by }),
      open: () => open(rows.find((r) => keyOf(r) === selected)),
    });
    return () => panes.delete(name);
  });

  const open = (row) => row && onOpen(row);
  const scrolled = () => {
    note(box.current, anchor.current, { rows, keyOf, height, home });
    setTop(box.current.scrollTop);
  };
  const first = Math.max(0, Math.floor(top / height) - OVERSCAN);
  const last = Math.min(rows.length, Math.ceil((top + room) / height) + OVERSCAN);
  const active = rows.slice(first, last).some((r) => keyOf(r) === selected);
  const away = home === 'bottom' && !anchor.current.home && rows.length > 0;
  const missed = away ? rows.length - 1 - rows.findLastIndex((r) => keyOf(r) === anchor.current.newest) : 0;

  return html`<div class="windowed">
    <div class="scroll" id=${name} ref=${box} onScroll=${scrolled} onFocus=${() => (pane.now = name)} tabindex="0"
      role="grid" aria-label=${label} aria-rowcount=${rows.length + 1} aria-activedescendant=${active ? `${name}-${selected}` : undefined}>
      <div class="row head" role="row" aria-rowindex="1">${head}</div>
      <div class="body" role="rowgroup" style=${{ height: `${rows.length * height}px`, paddingTop: `${first * height}px` }}>
        ${rows.slice(first, last).map((row, i) => {
          const key = keyOf(row);
          const view = render(row);
          return html`<div key=${key} id=${`${name}-${key}`} role="row" aria-rowindex=${first + i + 2} aria-selected=${key === selected}
            class=${`row ${view.class} ${key === selected ? 'selected' : ''}`} style=${{ height: `${height}px` }}
            onClick=${() => { pane.now = name; select(key); open(row); }}>${view.cells}</div>`;
        })}
      </div>
    </div>
    ${cover && html`<div class="cover">${cover}</div>`}
    ${away && html`<button class="newest" onClick=${() => goHome(box.current, home)}>
      ${icon('down')} ${missed > 0 ? `${count(missed)} new` : 'Newest'}</button>`}
  </div>`;
}

function goHome(box, home) {
  box.scrollTop = home === 'bottom' ? box.scrollHeight : 0;
}

// note remembers, on a scroll, whether the table is at home, and otherwise which row is on top.
function note(box, anchor, { rows, keyOf, height, home }) {
  const rest = home === 'bottom' ? box.scrollHeight - box.clientHeight - box.scrollTop : box.scrollTop;
  const was = anchor.home;
  anchor.home = rest < height / 2;
  if (was && !anchor.home) anchor.newest = rows.length > 0 ? keyOf(rows.at(-1)) : null; // seen until here
  const row = rows[Math.floor(box.scrollTop / height)];
  anchor.key = row ? keyOf(row) : null;
  anchor.offset = box.scrollTop % height;
}

// hold keeps the table, after a change of its rows, at home or with the row that was on top.
function hold(box, anchor, { rows, keyOf, height, home }, setTop) {
  if (anchor.home) {
    goHome(box, home);
  } else if (anchor.key !== null) {
    const i = rows.findIndex((r) => keyOf(r) === anchor.key);
    const want = i * height + anchor.offset;
    if (i >= 0 && Math.abs(want - box.scrollTop) >= 1) box.scrollTop = want;
  }
  setTop(box.scrollTop);
}

// move selects the row `by` below the selected one, or begins at the home end, and brings it into view.
function move({ box, rows, keyOf, height, home, selected, select, by }) {
  if (rows.length === 0) return;
  const at = rows.findIndex((r) => keyOf(r) === selected);
  const begin = home === 'bottom' ? rows.length - 1 : 0;
  const to = at < 0 ? begin : Math.min(rows.length - 1, Math.max(0, at + by));
  select(keyOf(rows[to]));
  const head = box.firstElementChild.offsetHeight;
  const above = to * height;
  if (above < box.scrollTop) box.scrollTop = above;
  if (above + height + head > box.scrollTop + box.clientHeight) box.scrollTop = above + height + head - box.clientHeight;
}
