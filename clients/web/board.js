// The board: all cameras of a server and of its fleet, what they alert of, questions to all of them, and
// the player of their past.

import { AllAlerts, Orders } from "./all_alerts.js";
import { Api, ApiError } from "./api.js";
import { Player } from "./player.js";
import { Surveys } from "./surveys.js";
import { Tiles } from "./tiles.js";
import { button, look, notify } from "./view.js";

const REFRESH_MS = 2000;
const MAX_ALERTS = 100;
const MAX_PAGES = 10; // of streams, 100 each
const THEME_STORE = "onlooker.theme";
const byId = (id) => document.getElementById(id);

const base = new URL(".", location.href);
base.search = base.hash = "";
const api = new Api(base);
const failed = (message) => notify(message);
const player = new Player({ api, failed });
const tiles = new Tiles({ api, list: byId("tiles"), open: (stream) => open(stream.id) });
const surveys = new Surveys({ api, list: byId("all-answers"), open, named: (ids) => tiles.mark(ids) });
const allAlerts = new AllAlerts({ list: byId("all-alerts"), open });
const orders = new Orders({ api, list: byId("orders"), failed });

let streams = [];
let chosen = new Set(); // labels
let refreshing = false;

function open(id, atS = null) {
  const stream = streams.find((one) => one.id === id);
  if (!stream) return failed(`The stream ${id} is not open any more.`);
  location.hash = encodeURIComponent(id);
  player.open(stream, atS).catch((error) => failed(error.message));
  return undefined;
}

// ---- what there is ----

async function allStreams() {
  const found = [];
  let after = "";
  for (let page = 0; page < MAX_PAGES; page += 1) {
    const told = await api.json(`v1/streams?servers=all&limit=100${after}`);
    found.push(...told.data);
    if (!told.has_more) return { found, unreached: told.unreached };
    after = `&after=${encodeURIComponent(told.last_id)}`;
  }
  return { found, unreached: [] };
}

async function refresh() {
  if (refreshing || document.hidden) return;
  refreshing = true;
  try {
    const [{ found, unreached }, alerts] = await Promise.all([allStreams(), api.json(`v1/alerts?limit=${MAX_ALERTS}`), orders.refresh()]);
    streams = found;
    showStreams(unreached);
    allAlerts.show(alerts.data);
    byId("no-alerts").hidden = alerts.data.length > 0;
    player.update(streams.find((one) => one.id === player.stream?.id), alerts.data);
    showState("live", "Live");
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    const needsKey = error.status === 401 || error.status === 403;
    showState(needsKey ? "refused" : "waiting", needsKey ? "Needs a key" : "No server");
    if (needsKey && !byId("settings").open) openSettings();
    else if (!needsKey) notify(`${error.message} What is shown is old; it is tried again.`);
  } finally {
    refreshing = false;
  }
}

function showStreams(unreached) {
  const shown = streams.filter((one) => [...chosen].every((label) => one.labels.includes(label)));
  tiles.show(shown);
  byId("no-cameras").hidden = streams.length > 0;
  byId("count").textContent = shown.length === streams.length ? streams.length === 1 ? "1 camera" : `${streams.length} cameras` : `${shown.length} of ${streams.length} cameras`;
  byId("unreached").hidden = !unreached.length;
  byId("unreached").textContent = `Missing: the cameras of ${unreached.join(", ")}, which did not answer.`;
  showLabels();
}

function showLabels() {
  const all = [...new Set(streams.flatMap((one) => one.labels))].sort();
  const box = byId("labels");
  if (box.dataset.labels === all.join()) return;
  box.dataset.labels = all.join();
  chosen = new Set([...chosen].filter((label) => all.includes(label)));
  box.replaceChildren(...all.map((label) => {
    const pick = button(label, () => {
      if (!chosen.delete(label)) chosen.add(label);
      pick.setAttribute("aria-pressed", String(chosen.has(label)));
      showStreams([]);
    });
    pick.setAttribute("aria-pressed", String(chosen.has(label)));
    return pick;
  }));
}

function showState(state, text) {
  if (state === "live" && byId("connection").dataset.state === "waiting") notify("");
  byId("connection").dataset.state = state;
  document.body.dataset.server = state === "live" ? "live" : "gone";
  look(state === "live" ? "ahead" : "away");
  if (byId("connection-text").textContent !== text) byId("connection-text").textContent = text;
}

// ---- what is done ----

byId("ask-all").addEventListener("submit", (event) => {
  event.preventDefault();
  const question = byId("all-question").value.trim();
  if (!question) return;
  byId("all-question").value = "";
  tiles.mark(null);
  surveys.ask(question, [...chosen]);
});
byId("tell").addEventListener("submit", async (event) => {
  event.preventDefault();
  const condition = byId("condition").value.trim();
  if (!condition) return;
  try {
    await orders.add(condition, [...chosen]);
    byId("condition").value = "";
  } catch (error) {
    failed(error.message);
  }
});
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, select, textarea, dialog");
  if (event.key === "/" && !typing) {
    event.preventDefault();
    byId("all-question").focus();
  } else if (event.key === "Escape" && !byId("player").hidden && !byId("settings").open) {
    player.close();
  }
});

// ---- key and theme ----

function openSettings() {
  byId("key").value = api.key;
  byId("settings").showModal();
}

byId("connection").addEventListener("click", openSettings);
byId("settings").addEventListener("close", () => {
  if (byId("settings").returnValue !== "connect") return;
  api.setKey(byId("key").value.trim());
  refresh();
});
byId("theme").addEventListener("click", () => {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  setTheme((document.documentElement.dataset.theme ?? (dark ? "dark" : "light")) === "dark" ? "light" : "dark");
});

function setTheme(theme) {
  if (!theme) return;
  document.documentElement.dataset.theme = theme;
  localStorage.setItem(THEME_STORE, theme);
}

setTheme(localStorage.getItem(THEME_STORE));
document.addEventListener("visibilitychange", refresh);
setInterval(refresh, REFRESH_MS);
refresh().then(() => {
  if (location.hash.length > 1) open(decodeURIComponent(location.hash.slice(1)));
});
