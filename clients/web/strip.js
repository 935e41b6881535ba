// The strip below the picture: each frame a tick in the order of time, coloured by what became of
// it; the part of the present that the model has not seen yet is shaded.

const SPAN_S = 20;
const MAX_FRAMES = 2048;
const REDRAW_MS = 50;

export class Strip {
  /** @param {HTMLCanvasElement} canvas  @param {() => number} now stream time in seconds */
  constructor(canvas, now) {
    this.canvas = canvas;
    this.now = now;
    this.frames = new Map(); // sequence -> {at, fate}
    this.marks = []; // {at, kind: "question" | "alert" | "scene"}
    this.seenUntil = null;
    this.running = false;
  }

  sent({ sequence, at }) {
    this.frames.set(sequence, { at, fate: "sent" });
    if (this.frames.size > MAX_FRAMES) this.frames.delete(this.frames.keys().next().value);
    this._run();
  }

  acknowledged({ kept = [], skipped = [], dropped = [], seen_until_s: seenUntil }) {
    for (const sequence of kept) this._mark(sequence, "kept");
    for (const sequence of skipped) this._mark(sequence, "skipped");
    for (const { sequence } of dropped) this._mark(sequence, "dropped");
    this.sawUntil(seenUntil);
  }

  /** The model has seen up to stream time `at`: acknowledgements say so, answers and alerts too. */
  sawUntil(at) {
    if (at != null) this.seenUntil = Math.max(this.seenUntil ?? 0, at);
  }

  asked(at) {
    this._pin(at, "question");
  }

  alerted(at) {
    this._pin(at, "alert");
  }

  sceneChanged(at) {
    this._pin(at, "scene");
  }

  _pin(at, kind) {
    this.marks.push({ at, kind });
    if (this.marks.length > 256) this.marks.shift();
    this._run();
  }

  clear() {
    this.frames.clear();
    this.marks.length = 0;
    this.seenUntil = null;
    this._draw();
  }

  stop() {
    this.running = false;
  }

  _mark(sequence, fate) {
    const frame = this.frames.get(sequence);
    if (frame) frame.fate = fate;
  }

  _run() {
    if (this.running) return;
    this.running = true;
    let drawnAt = 0;
    const step = (at) => {
      if (!this.running) return;
      if (at - drawnAt >= REDRAW_MS) {
        drawnAt = at;
        this._draw();
      }
      requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  _draw() {
    const { canvas } = this;
    const ratio = globalThis.devicePixelRatio || 1;
    const width = canvas.clientWidth;
    const height = canvas.clientHeight;
    if (!width) return;
    if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
    if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio);
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    const colors = palette(canvas);
    const now = this.now();
    const x = (at) => width - ((now - at) / SPAN_S) * width;
    this._drawUnseen(context, colors, x, width, height, now);
    this._drawSeconds(context, colors, x, height, now);
    for (const { at, fate } of this.frames.values()) {
      if (at >= now - SPAN_S) drawTick(context, colors, x(at), height, fate);
    }
    for (const { at, kind } of this.marks) {
      if (at >= now - SPAN_S) MARKS[kind](context, colors, x(at), height);
    }
  }

  _drawUnseen(context, colors, x, width, height, now) {
    if (this.seenUntil === null || this.frames.size === 0) return;
    const from = Math.max(0, x(Math.min(this.seenUntil, now)));
    context.fillStyle = colors.unseen;
    context.fillRect(from, 0, width - from, height);
    context.fillStyle = colors.kept;
    context.fillRect(from - 1, 0, 2, height);
  }

  _drawSeconds(context, colors, x, height, now) {
    context.fillStyle = colors.second;
    for (let second = Math.ceil(now - SPAN_S); second <= now; second += 1) {
      const long = second % 5 === 0;
      context.fillRect(Math.round(x(second)), height - (long ? 6 : 3), 1, long ? 6 : 3);
    }
  }
}

const TICKS = { sent: [0.42, 0.58], kept: [0.2, 0.8], skipped: [0.38, 0.62], dropped: [0.2, 0.8] };

function drawTick(context, colors, x, height, fate) {
  const [top, bottom] = TICKS[fate];
  context.fillStyle = colors[fate];
  context.fillRect(Math.round(x) - 1, height * top, 2, height * (bottom - top));
}

function drawPin(context, colors, x) {
  context.fillStyle = colors.pin;
  context.beginPath();
  context.moveTo(x - 5, 0);
  context.lineTo(x + 5, 0);
  context.lineTo(x, 7);
  context.fill();
}

function drawAlert(context, colors, x, height) {
  context.fillStyle = colors.dropped;
  context.beginPath();
  context.arc(x, height - 6, 5, 0, 2 * Math.PI);
  context.fill();
}

function drawScene(context, colors, x, height) {
  context.strokeStyle = colors.pin;
  context.setLineDash([3, 3]);
  context.beginPath();
  context.moveTo(Math.round(x) + 0.5, 0);
  context.lineTo(Math.round(x) + 0.5, height);
  context.stroke();
  context.setLineDash([]);
}

const MARKS = { question: drawPin, alert: drawAlert, scene: drawScene };

// The style sheet's colours, resolved: the canvas carries them as ordinary properties.
function palette(canvas) {
  const style = getComputedStyle(canvas);
  return {
    kept: style.color,
    skipped: style.borderTopColor,
    dropped: style.borderBottomColor,
    sent: style.borderLeftColor,
    unseen: style.borderRightColor,
    second: style.outlineColor,
    pin: style.textDecorationColor,
  };
}
