// Copies a source into JPEG pictures and sends them: newest wins, never faster than the server likes.

import { CODECS, LAST_FRAME } from "./frame.js";

const JPEG_QUALITY = 0.85;
const MAX_SIDE = 640; // until the server has said what it can use
const MEASURED = 8; // pictures over which the rate is measured
const MAX_LATE_ENCODES = 1; // a picture that is still being coded makes the next turn pass

export class Capture {
  /**
   * @param {import("./realtime.js").Realtime} link
   * @param {() => number} now stream time in seconds
   * @param {(sent: {sequence: number, at: number}) => void} onSent
   */
  constructor(link, now, onSent) {
    this.link = link;
    this.now = now;
    this.onSent = onSent;
    this.source = null;
    this.wantedFps = 4;
    this.pace = null; // {fps, width, height}
    this.counts = { sent: 0, passed: 0 }; // passed: turns for which the line or the coder was busy
    this._encoding = 0;
    this._sentAt = []; // of the newest pictures, by performance.now()
    this._last = null; // the newest picture that was sent
    this._canvas = makeCanvas();
    this._context = this._canvas.getContext("2d", { alpha: false });
    this._tick = makeTicker(() => this._turn());
  }

  /** Pictures a second that do leave, as measured; null before there is anything to measure. */
  get rate() {
    const [first, last] = [this._sentAt[0], this._sentAt.at(-1)];
    if (this._sentAt.length < 2) return null;
    const instant = performance.now();
    const isLate = instant - last > 2000 / this.fps;
    return (1000 * (this._sentAt.length - 1)) / ((isLate ? instant : last) - first);
  }

  /** Pictures a second that are to be sent: what is wanted here, or less where the server asks for less. */
  get fps() {
    return this.pace ? Math.min(this.wantedFps, Math.max(0.1, this.pace.fps)) : this.wantedFps;
  }

  start(source) {
    this.source = source;
    this._retime();
  }

  /** Stop sending, and say so: another source may feed the stream now. */
  stop() {
    this.source = null;
    this._tick(0);
    if (this._last && this.link.live) this.link.sendFrame(this._last, this.now(), CODECS.jpeg, LAST_FRAME);
    this._last = null;
  }

  setFps(fps) {
    this.wantedFps = fps;
    this._retime();
  }

  setPace(pace) {
    this.pace = pace;
    this._retime();
  }

  _retime() {
    this._sentAt.length = 0;
    this._tick(this.source ? 1000 / this.fps : 0);
  }

  async _turn() {
    const source = this.source;
    if (!source || !this.link.live || !source.width) return;
    if (this._encoding >= MAX_LATE_ENCODES || !this.link.roomForFrame) {
      this.counts.passed += 1;
      return;
    }
    this._encoding += 1;
    try {
      const at = this.now();
      source.aim(at);
      this._copy(source);
      const blob = await toJpeg(this._canvas);
      const bytes = await blob.arrayBuffer();
      if (this.source !== source) return;
      const sequence = this.link.sendFrame(bytes, at);
      if (sequence === null) {
        this.counts.passed += 1;
      } else {
        this.counts.sent += 1;
        this._sentAt.push(performance.now());
        if (this._sentAt.length > MEASURED) this._sentAt.shift();
        this._last = bytes;
        this.onSent({ sequence, at });
      }
    } finally {
      this._encoding -= 1;
    }
  }

  _copy(source) {
    const [width, height] = this._size(source);
    if (this._canvas.width !== width || this._canvas.height !== height) {
      this._canvas.width = width;
      this._canvas.height = height;
    }
    this._context.drawImage(source.element, 0, 0, width, height);
  }

  // As small as still covers what the server can use, in the source's own shape.
  _size({ width, height }) {
    const scale = this.pace
      ? Math.max(this.pace.width / width, this.pace.height / height)
      : MAX_SIDE / Math.max(width, height);
    const factor = Math.min(1, scale);
    return [Math.max(1, Math.round(width * factor)), Math.max(1, Math.round(height * factor))];
  }
}

function makeCanvas() {
  return typeof OffscreenCanvas === "undefined"
    ? document.createElement("canvas")
    : new OffscreenCanvas(1, 1);
}

function toJpeg(canvas) {
  if (canvas.convertToBlob) return canvas.convertToBlob({ type: "image/jpeg", quality: JPEG_QUALITY });
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", JPEG_QUALITY));
}

// Returns a function that sets the interval in milliseconds; 0 stops.
function makeTicker(onTick) {
  try {
    const worker = new Worker(new URL("./ticker.js", import.meta.url));
    worker.onmessage = onTick;
    return (everyMs) => worker.postMessage(everyMs);
  } catch {
    let timer = 0;
    return (everyMs) => {
      clearInterval(timer);
      timer = everyMs > 0 ? setInterval(onTick, everyMs) : 0;
    };
  }
}
