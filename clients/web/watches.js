// Standing questions: those that are left on this page, and what they say. No connection in here.

import { element, seconds } from "./view.js";

const MAX_ALERTS = 100;
const FLASH_MS = 8000; // how long the newest alert lies over the picture
const byId = (id) => document.getElementById(id);

/** The list of watches and the list of alerts. */
export class Watches {
  /** @param {{remove: (id: string) => void, pause: (id: string, paused: boolean) => void}} actions */
  constructor(actions) {
    this.actions = actions;
    this.rows = new Map(); // watch id -> {root, watch}
    this._flashing = 0;
    this.seen = new Set(); // ids of alerts: one that comes again is not shown again
  }

  clear() {
    this.rows.clear();
    this.seen.clear();
    byId("watches").replaceChildren();
    byId("alerts").replaceChildren();
    byId("alerts-box").hidden = true;
    this._count();
  }

  /** Bring a watch up to date; null takes it away. */
  show(id, watch) {
    const row = this.rows.get(id);
    if (!watch) {
      row?.root.remove();
      this.rows.delete(id);
      return this._count();
    }
    const fresh = makeRow(watch, this.actions);
    if (row) row.root.replaceWith(fresh);
    else byId("watches").append(fresh);
    this.rows.set(id, { root: fresh, watch });
    return this._count();
  }

  /** Show an alert; returns whether it is new. */
  alert(alert) {
    if (this.seen.has(alert.id)) return false;
    this.seen.add(alert.id);
    const list = byId("alerts");
    list.prepend(makeAlert(alert, this.rows.get(alert.watch)?.watch));
    byId("alerts-box").hidden = false;
    while (list.children.length > MAX_ALERTS) list.lastElementChild.remove();
    this._flash(alert);
    return true;
  }

  // Over the picture, which is in sight where the list is not: on a phone.
  _flash(alert) {
    const flash = byId("flash");
    flash.textContent = `${said(alert, this.rows.get(alert.watch)?.watch)} · ${seconds(alert.evidence.end_s)}`;
    flash.hidden = false;
    clearTimeout(this._flashing);
    this._flashing = setTimeout(() => { flash.hidden = true; }, FLASH_MS);
  }

  _count() {
    byId("no-watches").hidden = this.rows.size > 0;
  }
}

function words(watch) {
  return watch.condition ?? watch.question ?? (watch.instruction || "Comments on what changes");
}

function said(alert, watch) {
  return alert.text || alert.problem || (watch ? words(watch) : "An alert");
}

function makeRow(watch, { remove, pause }) {
  const root = element("li", "watch-row");
  root.dataset.state = watch.state;
  const text = element("span", "watch-words", words(watch));
  text.title = `The model is asked: ${watch.asks}`;
  const state = watch.state === "ended" ? watch.why_ended : watch.state === "paused" ? "paused" : "";
  const label = element("span", "watch-state", state);
  const toggle = element("button", "", watch.state === "paused" ? "Go on" : "Pause");
  toggle.type = "button";
  toggle.hidden = watch.state === "ended";
  toggle.addEventListener("click", () => pause(watch.id, watch.state !== "paused"));
  const gone = element("button", "", "Delete");
  gone.type = "button";
  gone.setAttribute("aria-label", `Delete: ${words(watch)}`);
  gone.addEventListener("click", () => remove(watch.id));
  root.append(text, label, toggle, gone);
  return root;
}

function makeAlert(alert, watch) {
  const root = element("li", "alert");
  root.dataset.kind = alert.kind;
  if (alert.frame) {
    const picture = element("img");
    picture.src = `data:image/jpeg;base64,${alert.frame}`;
    picture.alt = `The frame at ${alert.evidence.end_s.toFixed(1)} seconds`;
    root.append(picture);
  }
  const text = element("div", "alert-text", said(alert, watch));
  const facts = [seconds(alert.evidence.end_s), `told ${alert.staleness_s.toFixed(1)} s later`];
  if (alert.confidence !== null) facts.push(`${Math.round(alert.confidence * 100)} % sure`);
  const based = element("div", "based", facts.join(" · "));
  const body = element("div", "alert-body");
  body.append(text, based);
  if (alert.data) body.append(element("code", "", JSON.stringify(alert.data)));
  root.append(body);
  return root;
}
