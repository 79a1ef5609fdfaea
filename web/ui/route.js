// Where the page is: the hash of its address, "#/" or "#/session/ID".

import { computed, signal } from '@preact/signals';

const hash = signal(location.hash);
addEventListener('hashchange', () => (hash.value = location.hash));

// session is the ID of the session that is open, or "" on the Live page.
export const session = computed(() => hash.value.match(/^#\/session\/([0-9a-z]{13})$/)?.[1] ?? '');

export const openSession = (id) => go(`#/session/${id}`);
export const openLive = () => go('#/');

// go does not wait for the browser's hashchange: the next key may come first.
function go(to) {
  location.hash = to;
  hash.value = to;
}
