// What the person chose, kept by the browser: theme, zone of the clock, and which pane a phone shows.

import { effect, signal } from '@preact/signals';

function kept(name, fallback, allowed) {
  const stored = localStorage.getItem(`postern.${name}`);
  const s = signal(allowed.includes(stored) ? stored : fallback);
  effect(() => localStorage.setItem(`postern.${name}`, s.value));
  return s;
}

export const themes = ['system', 'dark', 'light'];
export const theme = kept('theme', 'system', themes);
export const zone = kept('zone', 'utc', ['utc', 'local']);
export const shown = kept('pane', 'records', ['records', 'sessions']);

effect(() => {
  document.documentElement.dataset.theme = theme.value;
});

const small = matchMedia('(max-width: 860px)');
export const narrow = signal(small.matches);
small.addEventListener('change', () => (narrow.value = small.matches));

export const utc = () => zone.value === 'utc';
export const nextTheme = () => (theme.value = themes[(themes.indexOf(theme.value) + 1) % themes.length]);
export const nextZone = () => (zone.value = utc() ? 'local' : 'utc');
