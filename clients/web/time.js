// Stream time: seconds since this tab first showed its stream something. It goes on over reloads and
// reconnections, and never runs backwards.

const STORE = "onlooker.stream";

export class StreamTime {
  /** @param {Storage} store  @param {string | null} given a stream id from the address */
  constructor(store, given) {
    this._store = store;
    this._wallAtLoad = Date.now();
    this._loadedAt = performance.now();
    const kept = read(store);
    if (kept && (!given || kept.id === given)) {
      this.id = kept.id;
      this._epoch = kept.epoch;
    } else {
      this.begin(given ?? freshId());
    }
  }

  /** Another stream: time starts at 0. */
  begin(id = freshId()) {
    this.id = id;
    this._epoch = this._wall();
    this._keep();
  }

  now() {
    return Math.max(0, (this._wall() - this._epoch) / 1000);
  }

  /** Somebody else's clock says it is `seconds` at the least. */
  atLeast(seconds) {
    const behind = seconds - this.now();
    if (behind > 0) this._shift(behind);
  }

  /** Somebody else feeds the stream: their time is the stream's. */
  follow(seconds) {
    if (Math.abs(seconds - this.now()) > 0.5) this._shift(seconds - this.now());
  }

  _shift(seconds) {
    this._epoch -= seconds * 1000;
    this._keep();
  }

  _wall() {
    return this._wallAtLoad + performance.now() - this._loadedAt;
  }

  _keep() {
    try {
      this._store.setItem(STORE, JSON.stringify({ id: this.id, epoch: this._epoch }));
    } catch {
      // A browser that keeps nothing: a reload begins a new stream.
    }
  }
}

function read(store) {
  try {
    const kept = JSON.parse(store.getItem(STORE));
    return typeof kept?.id === "string" && Number.isFinite(kept.epoch) ? kept : null;
  } catch {
    return null;
  }
}

function freshId() {
  const bytes = crypto.getRandomValues(new Uint8Array(4));
  return `page-${[...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}
