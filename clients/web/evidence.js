// Pictures of what an answer rests on, from the stream's album.

import { element, seconds } from "./view.js";

const MAX_SHOWN = 4;

/** The spans to show: those that were brought back before those that were just seen, newest first. */
export function chosen(evidence) {
  const pictured = evidence.filter((span) => span.picture);
  const old = pictured.filter((span) => span.source !== "recent");
  const recent = pictured.filter((span) => span.source === "recent");
  const byAge = (a, b) => b.start_s - a.start_s;
  const shown = [...old.sort(byAge), ...recent.sort(byAge)].slice(0, MAX_SHOWN);
  return shown.sort((a, b) => a.start_s - b.start_s);
}

export class Evidence {
  /**
   * @param {{base: URL, key: () => string, shape: () => number}} options  `key`: what shows who we
   * are, or ""; `shape`: width by height of the source, since what the model sees is squashed
   */
  constructor({ base, key, shape }) {
    this.base = base;
    this.shape = shape;
    this.key = key;
    this.told = new WeakSet(); // questions whose pictures are shown, or on their way
  }

  /** Show in `box` what a finished answer rests on. */
  show(question, box) {
    if (question.status !== "completed" || this.told.has(question)) return;
    this.told.add(question);
    for (const span of chosen(question.facts.evidence ?? [])) this._add(span, box);
  }

  _add(span, box) {
    const figure = element("figure", "seen");
    const picture = element("img");
    const at = span.source === "recent" ? span.end_s : span.start_s;
    const caption = element("figcaption", "", seconds(at));
    picture.alt = `What was seen at ${at.toFixed(1)} seconds`;
    picture.style.aspectRatio = String(this.shape());
    figure.append(picture, caption);
    box.append(figure);
    this._load(span.picture, picture).catch(() => figure.remove()); // it was deleted meanwhile
  }

  async _load(path, picture) {
    const key = this.key();
    const headers = key ? { Authorization: `Bearer ${key}` } : {};
    const reply = await fetch(new URL(path.slice(1), this.base), { headers });
    if (!reply.ok) throw new Error(`no picture: ${reply.status}`);
    const url = URL.createObjectURL(await reply.blob());
    try {
      picture.src = url;
      await picture.decode();
    } finally {
      URL.revokeObjectURL(url);
    }
  }
}
