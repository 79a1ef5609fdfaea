// html is the tagged template that the whole page is written in. Values become text or attributes,
// never markup: nothing in these sources sets innerHTML.

import { h } from 'preact';
import htm from 'htm';

export const html = htm.bind(h);
