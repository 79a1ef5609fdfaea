// The link: one WebSocket to the log that always comes back. It tells its owner what arrives and how it
// is; where to resume is asked of the owner at each try, so nothing is lost and nothing comes twice.

const SILENCE = 10000; // a server that says nothing for so long is gone: it beats every 2 s
const TRIES = [500, 1000, 2000, 4000, 8000, 15000]; // waits before the next tries, in milliseconds

export class Link {
  // resume() returns the query of the next try; frame(f) takes a frame; state(s) is told
  // {is: 'connecting', tries}, {is: 'open'} or {is: 'cut', until: ms}.
  constructor({ resume, frame, state }) {
    Object.assign(this, { resume, frame, state, tries: 0 });
    addEventListener('online', () => this.hurry());
    document.addEventListener('visibilitychange', () => document.hidden || this.hurry());
  }

  open() {
    clearTimeout(this.timer);
    this.state({ is: 'connecting', tries: this.tries });
    const scheme = location.protocol === 'https:' ? 'wss:' : 'ws:';
    const socket = new WebSocket(`${scheme}//${location.host}/ws${this.resume()}`);
    this.socket = socket;
    this.listen();
    socket.onmessage = (e) => this.socket === socket && this.take(JSON.parse(e.data));
    socket.onclose = () => this.socket === socket && this.cut();
  }

  take(frame) {
    this.listen();
    if (frame.type === 'hello') {
      this.tries = 0;
      this.state({ is: 'open' });
    }
    this.frame(frame);
  }

  // listen waits for the next frame, but not for ever.
  listen() {
    clearTimeout(this.silence);
    this.silence = setTimeout(() => this.cut(), SILENCE);
  }

  cut() {
    this.drop();
    const wait = TRIES[Math.min(this.tries++, TRIES.length - 1)];
    this.state({ is: 'cut', until: Date.now() + wait });
    this.timer = setTimeout(() => this.open(), wait);
  }

  drop() {
    clearTimeout(this.silence);
    const socket = this.socket;
    this.socket = null; // before close: what it still says is not for us
    socket?.close();
  }

  // again leaves the running stream for one that starts where resume() says.
  again() {
    this.drop();
    this.open();
  }

  // hurry tries at once when a try was being waited for.
  hurry() {
    if (!this.socket) this.open();
  }
}
