// Says when the server is gone, everywhere at once: a line on top that is read out once, and numbers that
// look as old as they are. No connection in here.

import { announce, look } from "./view.js";

const byId = (id) => document.getElementById(id);

const ON_THE_CHIP = {
  live: "Live", connecting: "Connecting", waiting: "No server", quiet: "No answer", refused: "Refused", closed: "Closed",
};

export class Presence {
  /** @param {{retry: () => void, restart: () => void, settings: () => void}} actions */
  constructor(actions) {
    this.actions = actions;
    this.here = false; // whether what the page shows is as it is now
    this._said = "";
    byId("gone-action").addEventListener("click", () => this._act());
    this._act = actions.retry;
  }

  /** The connection's state has changed; `heardAt`: when the server last said anything, or null. */
  changed({ state, text, heardAt }) {
    this.here = state === "live";
    document.body.dataset.server = this.here ? "live" : "gone";
    byId("connection").dataset.state = state;
    byId("connection-text").textContent = text === "needs-key" ? "Needs a key" : ON_THE_CHIP[state];
    look(this.here ? "ahead" : "away");
    const { waiting, quiet, refused } = this._lines(text, heardAt);
    if (state === "waiting") this._tell(waiting);
    else if (state === "quiet") this._tell(quiet);
    else if (state === "refused") this._tell(refused);
    else if (state !== "connecting") this._tell(null); // an attempt changes nothing that was told
    byId("settings-state").textContent = {
      live: "Connected.", connecting: "Connecting…", closed: "Not connected.",
      waiting: `${waiting.what} ${waiting.then}`, quiet: quiet.what, refused: refused.what,
    }[state];
  }

  _lines(text, heardAt) {
    const { retry, restart, settings } = this.actions;
    const old = heardAt ? `All numbers are from ${heardAt.toLocaleTimeString()}. ` : "";
    const needsKey = text === "needs-key";
    return {
      waiting: { what: `${text}.`, then: `${old}This page tries again by itself.`, action: "Try now", act: retry },
      quiet: { what: "The server does not answer.", then: old, action: "Connect again", act: restart },
      refused: {
        what: needsKey ? "This server wants an API key." : `${text}.`,
        then: old,
        action: needsKey ? "Enter a key" : "Change the key",
        act: settings,
      },
    };
  }

  _tell(line) {
    byId("gone").hidden = !line;
    const said = line ? `${line.what} ${line.then}` : "";
    if (said === this._said) return;
    if (!line) announce("Connected again.");
    this._said = said;
    if (!line) return;
    announce(said);
    byId("gone-what").textContent = line.what;
    byId("gone-then").textContent = line.then;
    byId("gone-action").textContent = line.action;
    this._act = line.act;
  }
}
