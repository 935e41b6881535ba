// Questions to several cameras, and their answers with the moments that they rest on.

import { moments } from "./moments.js";
import { button, element, seconds } from "./view.js";

const MAX_ANSWERS = 50;
const LIMIT_MS = 310_000; // the server's own deadline is shorter

export class Surveys {
  /** @param {{api, list: HTMLElement, open: (streamId, atS) => void, named: (ids: Set|null) => void}} options */
  constructor({ api, list, open, named }) {
    Object.assign(this, { api, list, open, named });
  }

  /** Ask; returns once the answer is shown. */
  async ask(question, labels) {
    const item = element("li", "turn wide");
    item.setAttribute("aria-busy", "true");
    item.dataset.status = "asking";
    const answer = element("p", "answer");
    const head = element("p", "asked", question);
    const where = element("time", "", labels.length ? labels.join(" · ") : "all");
    item.append(where, head, answer);
    this.list.prepend(item);
    while (this.list.children.length > MAX_ANSWERS) this.list.lastElementChild.remove();
    const body = { question };
    if (labels.length) body.labels = labels;
    try {
      const told = await this.api.json("v1/questions", { method: "POST", body, limitMs: LIMIT_MS });
      item.dataset.status = told.status;
      answer.textContent = told.answer;
      this.named(told.form === "each" ? null : new Set(told.cameras.map((camera) => camera.stream)));
      item.append(...moments(this.api, this._moments(told)), this._parts(told));
    } catch (error) {
      item.dataset.status = "failed";
      answer.textContent = error.message;
    } finally {
      item.setAttribute("aria-busy", "false");
    }
  }

  _moments(told) {
    return told.cameras.flatMap((camera) => camera.moments.slice(-2).map((moment) => {
      const at = moment.source === "recent" ? moment.end_s : moment.start_s;
      return { picture: moment.picture, text: `${camera.name}, ${seconds(at)}`, go: () => this.open(camera.stream, at) };
    }));
  }

  _parts(told) {
    const details = element("details", "parts");
    details.append(element("summary", "", `What each of ${told.parts.length} said`));
    const list = element("ul");
    for (const part of told.parts) {
      const line = element("li");
      const text = part.error ? part.error.message : part.answer;
      line.append(button(part.name, () => this.open(part.stream, part.asked_s)), element("span", "", ` ${text}`));
      line.dataset.status = part.status;
      list.append(line);
    }
    details.append(list);
    return details;
  }
}
