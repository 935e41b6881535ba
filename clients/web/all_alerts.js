// The alerts of all cameras in one list, and the standing orders that raise them.

import { announce, button, element } from "./view.js";

const clockTime = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });

export class AllAlerts {
  /** @param {{list: HTMLElement, open: (streamId, atS) => void}} options */
  constructor({ list, open }) {
    Object.assign(this, { list, open });
    this.known = new Set();
    this.isFirst = true;
  }

  /** `alerts`: newest first, as the server lists them. */
  show(alerts) {
    const keys = alerts.map(({ stream, alert }) => `${stream}/${alert.id}`);
    if (keys.join() === [...this.known].join()) return;
    const fresh = alerts.filter((_, index) => !this.known.has(keys[index]));
    if (!this.isFirst && fresh.length) announce(`${fresh[0].name}: ${fresh[0].alert.text}`);
    this.known = new Set(keys);
    this.isFirst = false;
    this.list.replaceChildren(...alerts.map((one) => this._item(one)));
  }

  _item({ stream, name, alert }) {
    const item = element("li", "alert");
    item.dataset.kind = alert.kind;
    const open = button("", () => this.open(stream, alert.evidence.start_s));
    open.className = "alert-open";
    const when = element("time", "", clockTime.format(new Date(alert.decided_at * 1000)));
    when.dateTime = new Date(alert.decided_at * 1000).toISOString();
    open.append(when, element("strong", "", name), element("span", "alert-text", alert.text));
    item.append(open);
    return item;
  }
}

export class Orders {
  /** @param {{api, list: HTMLElement, failed: (message) => void}} options */
  constructor({ api, list, failed }) {
    Object.assign(this, { api, list, failed });
  }

  async add(condition, labels) {
    await this.api.json("v1/watches", { method: "POST", body: { condition, labels, include_frame: false } });
    await this.refresh();
  }

  async refresh() {
    const { data } = await this.api.json("v1/watches");
    const key = data.map(({ id }) => id).join();
    if (key === this.shown) return;
    this.shown = key;
    this.list.replaceChildren(...data.map((order) => this._item(order)));
  }

  _item(order) {
    const item = element("li", "watch-row");
    const words = order.condition ?? order.question ?? order.instruction ?? "";
    item.append(element("span", "watch-words", words), element("span", "watch-state", order.labels.join(" · ") || "all"));
    const remove = button("Remove", async () => {
      remove.disabled = true;
      try {
        await this.api.json(`v1/watches/${encodeURIComponent(order.id)}`, { method: "DELETE" });
        await this.refresh();
      } catch (error) {
        remove.disabled = false;
        this.failed(error.message);
      }
    });
    remove.setAttribute("aria-label", `Remove: ${words}`);
    item.append(remove);
    return item;
  }
}
