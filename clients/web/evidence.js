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
  /** @param {{base: URL, key: () => string}} options  `key`: what shows who we are, or "" */
  constructor({ base, key }) {
    this.base = base;
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
    const caption = element("figcaption", "", seconds(span.start_s));
    picture.alt = `What was seen at ${span.start_s.toFixed(1)} seconds`;
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
