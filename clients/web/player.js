// A camera's past: a ruler of its time with alerts and events, the picture of any moment, and questions
// about a marked span.

import { showPicture, streamPath } from "./api.js";
import { chosen } from "./evidence.js";
import { moments } from "./moments.js";
import { element, seconds } from "./view.js";
import { Ruler } from "./ruler.js";

const MAX_EVENTS = 400;
const LIMIT_MS = 120_000;
const byId = (id) => document.getElementById(id);
const dayAndTime = new Intl.DateTimeFormat([], { weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit" });

export class Player {
  /** @param {{api, failed: (message: string) => void}} options */
  constructor({ api, failed }) {
    Object.assign(this, { api, failed });
    this.stream = null;
    this.atS = 0;
    this.wallOffsetS = null; // wall time of stream time 0, where that is known
    this.mark = null; // {from, to} in stream time
    this.alerts = [];
    this.events = [];
    this.hasDiary = true;
    this._shown = new AbortController();
    this.ruler = new Ruler(byId("ruler"), {
      at: () => this.atS, mark: () => this.mark, pins: () => this._pins(), told: (s) => this._told(s),
      seek: (s) => this.seek(s), marked: (span) => this._marked(span), moved: () => this._loadEvents(),
    });
    byId("span").addEventListener("change", ({ target }) => this._zoom(target.value));
    byId("earlier").addEventListener("click", () => this.ruler.shift(-1));
    byId("later").addEventListener("click", () => this.ruler.shift(1));
    byId("newest").addEventListener("click", () => this.seek(this.endS, { follow: true }));
    byId("mark-from").addEventListener("click", () => this._markEnd("from"));
    byId("mark-to").addEventListener("click", () => this._markEnd("to"));
    byId("unmark").addEventListener("click", () => this._marked(null));
    byId("play").addEventListener("click", () => this._play());
    byId("reference").addEventListener("click", () => this._takeReference());
    byId("past").addEventListener("submit", (event) => {
      event.preventDefault();
      this._ask(byId("past-question").value.trim());
    });
    byId("player-close").addEventListener("click", () => this.close());
  }

  get endS() {
    return this.stream?.seen_until_s ?? 0;
  }

  /** Open a camera; `atS`: the moment to see, by default the newest. */
  async open(stream, atS = null) {
    const isOther = stream.id !== this.stream?.id;
    this.stream = stream;
    byId("player").hidden = false;
    byId("player-title").textContent = stream.name || stream.id;
    byId("player-about").textContent = stream.description;
    if (isOther) {
      this.mark = null;
      this.alerts = this.events = [];
      byId("past-answers").replaceChildren();
      this._closeFilm();
      await this._findSpan();
    }
    this.seek(atS ?? this.endS, { follow: true });
    this._marked(this.mark);
    byId("player").scrollIntoView({ block: "start", behavior: "smooth" });
    byId("player-title").focus({ preventScroll: true });
    if (!isOther) this._loadEvents();
  }

  close() {
    this._shown.abort();
    this._closeFilm();
    this.stream = null;
    byId("player").hidden = true;
  }

  /** The board has news of the stream. */
  update(stream, alerts) {
    if (!stream || stream.id !== this.stream?.id) return;
    this.stream = stream;
    this.alerts = alerts.filter((one) => one.stream === stream.id).map((one) => one.alert);
    this.ruler.endS = this.endS;
    this.ruler.draw();
  }

  /** See a moment; the window goes along where it is outside. */
  seek(atS, { follow = false } = {}) {
    this.atS = Math.min(Math.max(atS, this.ruler.beginS), Math.max(this.endS, this.ruler.beginS));
    this.ruler.include(this.atS, follow);
    this.ruler.draw();
    byId("moment").textContent = this._told(this.atS);
    this._closeFilm();
    this._picture();
  }

  // ---- inside

  async _findSpan() {
    let first = null;
    try {
      const { data } = await this.api.json(`${streamPath(this.stream.id)}/pictures?limit=1`);
      first = data[0] ?? null;
      byId("no-pictures").hidden = first !== null;
      this.wallOffsetS = first?.taken_at == null ? null : first.taken_at - first.start_s;
    } catch (error) {
      byId("no-pictures").hidden = false;
      if (error.status !== 404) this.failed(error.message);
    }
    this.ruler.reach(first?.start_s ?? 0, this.endS);
    this._zoom(byId("span").value);
  }

  async _picture() {
    this._shown.abort();
    const shown = this._shown = new AbortController();
    const img = byId("past-picture");
    const path = `${streamPath(this.stream.id)}/picture?at=${encodeURIComponent(Math.max(0, this.atS))}`;
    try {
      await showPicture(this.api, path, img, shown.signal);
      img.alt = `${this.stream.name || this.stream.id} at ${this._told(this.atS)}`;
      byId("no-pictures").hidden = true;
    } catch (error) {
      if (!shown.signal.aborted && error.status === 404) byId("no-pictures").hidden = false;
    }
  }

  async _loadEvents() {
    if (!this.stream || !this.hasDiary) return;
    const { id } = this.stream;
    const [from, to] = [Math.max(0, this.ruler.fromS), Math.min(this.ruler.toS, this.endS)];
    if (to <= from) return;
    try {
      const query = `from=${from}&to=${to}&limit=${MAX_EVENTS}`;
      const { data } = await this.api.json(`${streamPath(id)}/timeline?${query}`);
      if (id === this.stream?.id) this.events = data;
    } catch (error) {
      this.events = [];
      this.hasDiary &&= error.status !== 404; // this server keeps none
    }
    byId("events").replaceChildren(...this.events.slice(-MAX_EVENTS).map((event) => this._event(event)));
    byId("events-box").hidden = !this.events.length;
    this.ruler.draw();
  }

  _event(event) {
    const item = element("li");
    const open = element("button", "event-open");
    open.type = "button";
    open.append(element("time", "", this._told(event.start_s)), element("span", "", event.text));
    open.addEventListener("click", () => this.seek(event.start_s));
    item.append(open);
    return item;
  }

  _pins() {
    return [
      ...this.alerts.map((alert) => ({ at: alert.evidence.start_s, kind: "alert" })),
      ...this.events.map((event) => ({ at: event.start_s, kind: "event" })),
    ];
  }

  _told(atS) {
    if (this.wallOffsetS == null) return seconds(Math.max(0, atS));
    return dayAndTime.format(new Date((this.wallOffsetS + atS) * 1000));
  }

  _zoom(span) {
    this.ruler.zoom(span === "all" ? Infinity : Number(span), this.atS || this.endS);
    this._loadEvents();
  }

  _markEnd(end) {
    const mark = this.mark ?? { from: this.atS, to: this.atS };
    mark[end] = this.atS;
    if (mark.from > mark.to) mark[end === "from" ? "to" : "from"] = this.atS;
    this._marked(mark);
  }

  _marked(span) {
    this.mark = span;
    byId("marked").textContent = span ? `${this._told(span.from)} – ${this._told(span.to)}` : "nothing";
    byId("unmark").disabled = !span;
    byId("play").disabled = !span || span.to <= span.from;
    this.ruler.draw();
  }

  async _ask(question) {
    if (!question || !this.stream) return;
    const { id } = this.stream;
    const span = this.mark ?? { from: this.atS, to: this.atS };
    const isSpan = span.to > span.from;
    const item = element("li", "turn wide");
    item.setAttribute("aria-busy", "true");
    item.dataset.status = "asking";
    const answer = element("p", "answer");
    item.append(element("time", "", this._told(span.to)), element("p", "asked", question), answer);
    byId("past-answers").prepend(item);
    byId("past-question").value = "";
    // The words name the time, so that what is remembered of it is looked for; nothing later counts.
    const when = isSpan ? ` between ${Math.floor(span.from)} and ${Math.ceil(span.to)} seconds` : "";
    const text = when ? `${question.replace(/[\s?.!]+$/, "")}${when}?` : question;
    try {
      const path = `${streamPath(id)}/questions`;
      const told = await this.api.json(path, { method: "POST", body: { question: text, at_s: span.to }, limitMs: LIMIT_MS });
      answer.textContent = told.answer;
      item.dataset.status = told.status;
      if (this.stream?.id === id) item.append(...moments(this.api, this._restsOn(told.onlooker)));
    } catch (error) {
      answer.textContent = error.message;
      item.dataset.status = "failed";
    } finally {
      item.setAttribute("aria-busy", "false");
    }
  }

  /** The moments that were asked for, else the spans that the answer was made from. */
  _restsOn(facts) {
    const found = facts.moments.length
      ? facts.moments.map(({ picture, at_s }) => ({ picture, at: at_s }))
      : chosen(facts.evidence).map((span) => ({ picture: span.picture, at: span.source === "recent" ? span.end_s : span.start_s }));
    return found.map(({ picture, at }) => ({ picture, text: this._told(at), go: () => this.seek(at) }));
  }

  async _play() {
    const { from, to } = this.mark;
    const film = byId("film");
    byId("play").disabled = true;
    try {
      const url = await this.api.blob(`${streamPath(this.stream.id)}/clips?from=${from}&to=${to}&fps=4`);
      this._closeFilm();
      film.src = url;
      film.hidden = false;
      byId("past-picture").hidden = true;
      await film.play();
    } catch (error) {
      this.failed(error.message);
    } finally {
      byId("play").disabled = false;
    }
  }

  _closeFilm() {
    const film = byId("film");
    if (film.src) URL.revokeObjectURL(film.src);
    film.removeAttribute("src");
    film.hidden = true;
    byId("past-picture").hidden = false;
  }

  async _takeReference() {
    try {
      const shown = await this.api.json(streamPath(this.stream.id), { method: "PATCH", body: { reference: "now" } });
      this.stream = shown;
      byId("reference-told").textContent = "Kept as how it usually looks.";
    } catch (error) {
      this.failed(error.message);
    }
  }
}
