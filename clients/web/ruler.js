// The ruler below the player's picture: a window of a camera's time, to seek in and to mark spans on. By
// pointer: tap to see a moment, drag to mark. By keyboard: it is a slider.

const DRAG_PX = 6;
const TICKS_S = [1, 5, 15, 60, 300, 900, 3600, 10_800, 21_600, 86_400];
const MIN_TICK_PX = 95;
const PAGE_SHARE = 0.1;

export class Ruler {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {object} options  at, mark, pins, told: what is shown; seek, marked, moved: what is done
   */
  constructor(canvas, options) {
    this.canvas = canvas;
    Object.assign(this, { options });
    this.beginS = this.endS = this.fromS = 0;
    this.toS = 1;
    this._drag = null;
    new ResizeObserver(() => this.draw()).observe(canvas);
    canvas.addEventListener("pointerdown", (event) => this._down(event));
    canvas.addEventListener("pointermove", (event) => this._move(event));
    canvas.addEventListener("pointerup", (event) => this._up(event));
    canvas.addEventListener("pointercancel", () => { this._drag = null; });
    canvas.addEventListener("keydown", (event) => this._key(event));
  }

  /** All of the time that there is. */
  reach(beginS, endS) {
    this.beginS = beginS;
    this.endS = Math.max(endS, beginS);
  }

  /** Show so many seconds around a moment. */
  zoom(spanS, aroundS) {
    const whole = Math.max(1, this.endS - this.beginS);
    const span = Math.min(spanS, whole);
    this.fromS = Math.max(this.beginS, Math.min(aroundS - span / 2, this.endS - span));
    this.toS = this.fromS + span;
    this.draw();
  }

  /** Go on by so many windows. */
  shift(windows) {
    const span = this.toS - this.fromS;
    this.zoom(span, (this.fromS + this.toS) / 2 + windows * span);
    this.options.moved();
  }

  /** Have a moment in the window. `follow`: the window ends with the newest moment. */
  include(atS, follow) {
    if (atS >= this.fromS && atS <= this.toS && !follow) return;
    if (atS < this.fromS || atS > this.toS) {
      this.zoom(this.toS - this.fromS, atS);
      this.options.moved();
    }
  }

  draw() {
    const { canvas, options } = this;
    const { width, height } = canvas.getBoundingClientRect();
    if (!width) return;
    const scale = devicePixelRatio || 1;
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    const pen = canvas.getContext("2d");
    pen.scale(scale, scale);
    const style = getComputedStyle(canvas);
    const [accent, soft, wrong, wash] = [style.color, style.borderTopColor, style.borderBottomColor, style.borderRightColor];
    const x = (s) => ((s - this.fromS) / (this.toS - this.fromS)) * width;
    const mark = options.mark();
    if (mark) {
      pen.fillStyle = wash;
      pen.fillRect(x(mark.from), 0, Math.max(2, x(mark.to) - x(mark.from)), height);
    }
    this._ticks(pen, width, height, soft, x);
    for (const { at, kind } of options.pins()) {
      if (at < this.fromS || at > this.toS) continue;
      pen.fillStyle = kind === "alert" ? wrong : soft;
      pen.beginPath();
      pen.arc(x(at), kind === "alert" ? height * 0.35 : height * 0.6, kind === "alert" ? 4 : 2.5, 0, 7);
      pen.fill();
    }
    pen.fillStyle = accent;
    pen.fillRect(x(options.at()) - 1, 0, 2, height);
    canvas.setAttribute("aria-valuemin", this.beginS.toFixed(1));
    canvas.setAttribute("aria-valuemax", this.endS.toFixed(1));
    canvas.setAttribute("aria-valuenow", options.at().toFixed(1));
    canvas.setAttribute("aria-valuetext", options.told(options.at()));
  }

  _ticks(pen, width, height, colour, x) {
    const span = this.toS - this.fromS;
    const step = TICKS_S.find((tick) => (tick / span) * width >= MIN_TICK_PX) ?? TICKS_S.at(-1);
    pen.fillStyle = colour;
    pen.font = "11px ui-monospace, monospace";
    for (let at = Math.ceil(this.fromS / step) * step; at <= this.toS; at += step) {
      pen.globalAlpha = 0.5;
      pen.fillRect(x(at), height - 18, 1, 6);
      pen.globalAlpha = 1;
      const text = this.options.told(at).replace(/^.*,\s*(?=\d)/, "");
      if (x(at) + pen.measureText(text).width < width) pen.fillText(text, x(at) + 2, height - 3);
    }
  }

  _at(event) {
    const { left, width } = this.canvas.getBoundingClientRect();
    const share = Math.min(1, Math.max(0, (event.clientX - left) / width));
    return this.fromS + share * (this.toS - this.fromS);
  }

  _down(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this._drag = { x: event.clientX, from: this._at(event), isMark: false };
  }

  _move(event) {
    const drag = this._drag;
    if (!drag) return;
    drag.isMark ||= Math.abs(event.clientX - drag.x) > DRAG_PX;
    const at = this._at(event);
    if (drag.isMark) this.options.marked({ from: Math.min(drag.from, at), to: Math.max(drag.from, at) });
  }

  _up(event) {
    const drag = this._drag;
    this._drag = null;
    if (drag && !drag.isMark) this.options.seek(this._at(event));
  }

  _key(event) {
    const span = this.toS - this.fromS;
    const step = Math.max(1, span / 120);
    const by = {
      ArrowLeft: -step, ArrowDown: -step, ArrowRight: step, ArrowUp: step,
      PageUp: -span * PAGE_SHARE, PageDown: span * PAGE_SHARE,
    }[event.key];
    const to = { Home: this.beginS, End: this.endS }[event.key];
    if (by === undefined && to === undefined) return;
    event.preventDefault();
    this.options.seek(to ?? this.options.at() + by);
  }
}
