// The board's cameras: a tile each, with its newest picture and how it is.

import { showPicture, streamPath } from "./api.js";
import { element, seconds } from "./view.js";

const STALE_S = 15; // a camera of which nothing came for so long says so

/** How a camera is, in a few words, and whether somebody should look. */
export function stateOf(stream) {
  if (stream.health !== "ok") return { text: `The view is ${stream.health}`, wrong: true };
  const { kind, state, reason } = stream.source;
  if (state === "lost" || state === "failed") return { text: reason || `Source ${state}`, wrong: true };
  if (kind === "none" || state === "ended") return { text: "Nobody feeds it", wrong: false };
  if (stream.seen_until_s == null) return { text: "Nothing seen yet", wrong: false };
  if (stream.lag_s > STALE_S) return { text: `Behind by ${seconds(stream.lag_s)}`, wrong: true };
  return { text: "Watching", wrong: false };
}

export class Tiles {
  /** @param {{api, list: HTMLElement, open: (stream) => void}} options */
  constructor({ api, list, open }) {
    this.api = api;
    this.list = list;
    this.open = open;
    this.tiles = new Map(); // stream id -> {item, stream, parts, shownS, loading}
  }

  show(streams) {
    const present = new Set(streams.map((stream) => stream.id));
    for (const [id, tile] of this.tiles) {
      if (present.has(id)) continue;
      tile.item.remove();
      this.tiles.delete(id);
    }
    for (const stream of streams) this._show(stream);
  }

  /** Mark the cameras that an answer names; the others step back. */
  mark(ids) {
    for (const [id, { item }] of this.tiles) item.dataset.named = ids ? String(ids.has(id)) : "";
  }

  _show(stream) {
    const tile = this.tiles.get(stream.id) ?? this._make(stream.id);
    tile.stream = stream;
    const { text, wrong } = stateOf(stream);
    const { name, state, labels } = tile.parts;
    const shownName = stream.name || stream.id;
    if (name.textContent !== shownName) name.textContent = shownName;
    if (state.textContent !== text) state.textContent = text;
    state.dataset.wrong = String(wrong);
    const words = stream.labels.join(" · ");
    if (labels.textContent !== words) labels.textContent = words;
    this._picture(tile);
  }

  _make(id) {
    const item = element("li", "tile");
    const open = element("button", "tile-open");
    open.type = "button";
    const img = element("img");
    img.alt = "";
    const parts = { name: element("strong"), state: element("span", "tile-state"), labels: element("span", "tile-labels") };
    open.append(img, parts.name, parts.state, parts.labels);
    open.addEventListener("click", () => this.open(this.tiles.get(id).stream));
    item.append(open);
    this.list.append(item);
    const tile = { item, img, parts, stream: null, shownS: null, loading: false };
    this.tiles.set(id, tile);
    return tile;
  }

  async _picture(tile) {
    const { stream } = tile;
    if (tile.loading || stream.seen_until_s == null || stream.seen_until_s === tile.shownS || document.hidden) return;
    tile.loading = true;
    try {
      await showPicture(this.api, `${streamPath(stream.id)}/picture`, tile.img);
      tile.shownS = stream.seen_until_s;
    } catch {
      tile.img.removeAttribute("src"); // it has none, or none is kept
    } finally {
      tile.loading = false;
    }
  }
}
