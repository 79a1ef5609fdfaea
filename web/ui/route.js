// Where the page is: the hash of its address, "#/" or "#/session/ID".

import { computed, signal } from '@preact/signals';

const hash = signal(location.hash);
addEventListener('hashchange', () => (hash.value = location.hash));

// session is the ID of the session that is open, or "" on the Live page.
export const session = computed(() => hash.value.match(/^#\/session\/([0-9a-z]{13})$/)?.[1] ?? '');

export const openSession = (id) => (location.hash = `#/session/${id}`);
export const openLive = () => (location.hash = '#/');
