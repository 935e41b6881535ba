// The page: wires a source, the capture, the connection and the view to each other.

import { Capture } from "./capture.js";
import { Evidence } from "./evidence.js";
import { Presence } from "./presence.js";
import { Realtime } from "./realtime.js";
import { snippets } from "./snippets.js";
import { openSource, SourceError } from "./sources.js";
import { Strip } from "./strip.js";
import { StreamTime } from "./time.js";
import { Transcript } from "./transcript.js";
import * as view from "./view.js";
import { Watches } from "./watches.js";
import { WhipSender } from "./whip.js";

const KEY_STORE = "onlooker.key";
const REDRAW_MS = 33;
const REFRESH_MS = 250; // of the numbers that go on by themselves
const WAY_STORE = "onlooker.way";
const THEME_STORE = "onlooker.theme";
const byId = (id) => document.getElementById(id);

const ABOUT_THE_WORLD = [
  "What do you see?", "How many objects are there?", "What number is on the sign?",
  "What is moving?", "What is on the left?", "Have you seen a red circle?",
];
const ABOUT_ANYTHING = [
  "What is happening?", "What has just changed?", "How many people are there?",
  "What text can you read?",
];

const base = new URL(".", location.href);
base.search = base.hash = "";
const time = new StreamTime(sessionStorage, new URLSearchParams(location.search).get("stream"));
const now = () => time.now();
const link = new Realtime({ base, stream: time.id, key: sessionStorage.getItem(KEY_STORE) ?? "" });
const strip = new Strip(byId("strip"), now);
const senders = {
  pictures: new Capture(link, now, (sent) => strip.sent(sent)),
  webrtc: new WhipSender(link, () => sendAgain()),
};
let capture = senders.pictures; // what sends now, whatever the way
const presence = new Presence({
  retry: () => link.retryNow(),
  restart: () => link.restart(),
  settings: () => openSettings(),
});
const transcript = new Transcript((question) => link.cancel(question));
const evidence = new Evidence({ base, key: () => link.key, shape: () => (source?.width && source.height ? source.width / source.height : 4 / 3) });

let source = null;
let opening = 0; // the newest attempt to open a source wins
let isFed = false; // whether anybody feeds the stream, as the server says
const askedAt = new WeakMap();

// ---- sources ----

async function watch(kind, file) {
  const attempt = ++opening;
  view.notify("");
  try {
    const opened = await openSource(kind, { video: byId("video"), canvas: byId("world"), file });
    if (attempt !== opening) return opened.stop();
    stopSource();
    source = opened;
    opened.ended.then(() => source === opened && stopSource());
    view.showSource(source);
    animate(source);
    await send();
  } catch (error) {
    if (!(error instanceof SourceError)) throw error;
    view.notify(error.message);
  }
}

/** Send what is watched, the way that is picked; as pictures where that way fails. */
async function send() {
  const sent = source;
  const before = capture;
  capture = senders[byId("way").value] ?? senders.pictures;
  try {
    if (before !== capture) await before.stop();
    const isLater = capture === senders.webrtc && !link.live; // as soon as there is a session
    if (source === sent && !isLater) await capture.start(source);
  } catch (error) {
    if (!(error instanceof SourceError)) throw error;
    if (source !== sent) return;
    byId("way").value = "pictures";
    await send();
    view.notify(`${error.message.replace(/\.?$/, ".")} It is sent as JPEG pictures instead.`);
  }
  view.showPace(capture.pace, capture.wantedFps, source);
}

// WebRTC's connection does not come again by itself, as the WebSocket does. `isCut`: the server gets
// nothing any more, which the browser notices later.
async function sendAgain(isCut = false) {
  if (!source || !link.live || capture !== senders.webrtc || (capture.sending && !isCut)) return;
  await send();
}

function stopSource() {
  capture.stop();
  source?.stop();
  source = null;
  view.showSource(null);
  view.showRate(null);
  view.showPace(null);
}

// Keeps a drawn source moving between the pictures that are sent.
function animate(shown) {
  let shownAt = 0;
  const step = (instant) => {
    if (source !== shown) return;
    requestAnimationFrame(step);
    if (instant - shownAt < REDRAW_MS) return;
    shownAt = instant;
    const at = now();
    shown.aim(at);
    if (shown.truth) view.showTruth(shown.truth(at));
  };
  requestAnimationFrame(step);
}

for (const button of document.querySelectorAll("[data-source]")) {
  if (button.tagName !== "BUTTON") continue;
  button.addEventListener("click", () => {
    if (button.dataset.source === "file") byId("file").click();
    else watch(button.dataset.source);
  });
}
byId("file").addEventListener("change", ({ target }) => {
  if (target.files[0]) watch("file", target.files[0]);
  target.value = "";
});
byId("stop").addEventListener("click", () => {
  opening += 1;
  stopSource();
});
byId("fps").addEventListener("change", ({ target }) => {
  for (const each of Object.values(senders)) each.setFps(Number(target.value));
  view.showPace(capture.pace, capture.wantedFps, source);
});

byId("way").addEventListener("change", ({ target }) => {
  localStorage.setItem(WAY_STORE, target.value);
  if (!source) return;
  view.notify("");
  send();
});

// ---- questions ----

let wasUnheard = false;

/** Whether somebody is there to hear; else says that nobody is. */
function isHeard() {
  if (!link.live) {
    view.notify("The page is not connected, so nobody hears this. What you typed stays; send it again then.");
    wasUnheard = true;
  }
  return link.live;
}

/** Ask; returns whether that could be done. */
function ask(text) {
  const question = text.trim();
  if (!question || !isHeard()) return false;
  strip.asked(now());
  link.ask(question);
  showCode(question);
  return true;
}

byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  if (ask(byId("question").value)) byId("question").value = "";
});
link.addEventListener("answer", ({ detail: { question } }) => {
  if (!askedAt.has(question)) askedAt.set(question, now());
  transcript.show(question, askedAt.get(question));
  evidence.show(question, transcript.evidenceOf(question));
  strip.sawUntil(question.facts.seen_until_s);
});
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, select, textarea, dialog");
  if (event.key === "/" && !typing) {
    event.preventDefault();
    byId("question").focus();
  }
});

// ---- watches ----

const watches = new Watches({
  remove: (id) => link.deleteWatch(id),
  pause: (id, paused) => link.changeWatch(id, { paused }),
});

byId("tell").addEventListener("submit", (event) => {
  event.preventDefault();
  const condition = byId("condition").value.trim();
  if (!condition || !isHeard()) return;
  link.addWatch({ condition, include_frame: true });
  byId("condition").value = "";
});
byId("comment").addEventListener("click", () => {
  if (isHeard()) link.addWatch({ instruction: "", include_frame: true });
});
link.addEventListener("watches", ({ detail }) => {
  for (const watch of detail.watches) watches.show(watch.id, watch);
});
link.addEventListener("watch", ({ detail }) => watches.show(detail.watch_id, detail.watch));
link.addEventListener("alert", ({ detail: { alert } }) => {
  strip.sawUntil(alert.evidence.end_s);
  if (watches.alert(alert)) strip.alerted(alert.evidence.end_s);
});
link.addEventListener("scene", ({ detail }) => strip.sceneChanged(detail.at_s));

// ---- connection ----

link.addEventListener("state", ({ detail }) => {
  presence.changed(detail);
  if (!link.live) {
    setPace(null);
    view.showPace(null);
  }
  refresh();
  if (detail.text === "needs-key") openSettings();
});
link.addEventListener("session", ({ detail: session }) => {
  view.showSession(session);
  const isDemo = view.knowsOnlyTheWorld(session.capabilities) || session.capabilities.engine_mode === "fake";
  view.showSuggestions(isDemo ? ABOUT_THE_WORLD : ABOUT_ANYTHING, ask);
  view.showStart(isDemo ? "world" : "webcam");
  showCode(isDemo ? ABOUT_THE_WORLD[0] : ABOUT_ANYTHING[0]);
  if (wasUnheard) view.notify("");
  wasUnheard = false;
  catchUp().then(sendAgain);
});
link.addEventListener("ack", ({ detail: ack }) => {
  const until = (ack.seen_until_s ?? 0) + (ack.lag_s ?? 0);
  if (!source || capture === senders.webrtc) time.follow(until); // the server says when frames came
  strip.acknowledged(ack);
  view.showAck(ack, capture.counts.passed);
});
link.addEventListener("pace", ({ detail: pace }) => {
  setPace(pace);
  view.showPace(pace, capture.wantedFps, source);
});
link.addEventListener("health", ({ detail }) => view.showHealth(detail.health));
link.addEventListener("stream", ({ detail: event }) => {
  if (event.type !== "stream.closed") {
    isFed = event.stream.source.kind !== "none";
    view.showHealth(event.stream.health);
    return;
  }
  stopSource();
  link.close();
  view.notify(`The stream was closed: ${event.reason}.`, { text: "Begin a new one", run: freshStream });
});
link.addEventListener("problem", ({ detail: { error } }) => {
  if (error.code === "conflict") {
    stopSource();
    view.notify(`${error.message}.`.replace(/\.\.$/, "."), { text: "Use a new stream", run: freshStream });
  } else {
    view.notify(error.message);
  }
});
globalThis.addEventListener("online", () => link.retryNow());

// Another program may have fed this stream before: its time must not run backwards. Returns whether
// nobody feeds it now.
async function catchUp() {
  try {
    const headers = link.key ? { Authorization: `Bearer ${link.key}` } : {};
    const reply = await fetch(new URL(`v1/streams/${encodeURIComponent(time.id)}`, base), { headers });
    if (!reply.ok) return false;
    const stream = await reply.json();
    time.atLeast((stream.seen_until_s ?? 0) + (stream.lag_s ?? 0));
    isFed = stream.source.kind !== "none";
    view.showHealth(stream.health);
    strip.sawUntil(stream.seen_until_s);
    view.showAck(stream, capture.counts.passed);
    return !isFed;
  } catch {
    return false; // the connection tells of what is wrong; this was only to start well
  }
}

/** The numbers that go on by themselves; where the server is gone, nobody knows them. */
function refresh() {
  view.showSeen(strip.seenUntil, presence.here && (source || isFed) ? now() : null);
  view.showRate(presence.here && source ? capture.rate : null);
  transcript.tellWaits();
}

function setPace(pace) {
  for (const each of Object.values(senders)) each.setPace(pace);
}

function freshStream() {
  time.begin();
  reconnect();
}

function reconnect() {
  isFed = false;
  strip.clear();
  watches.clear();
  view.resetGauges();
  link.restart({ stream: time.id, key: link.key });
}

// ---- settings, theme, code ----

function openSettings() {
  byId("key").value = link.key;
  byId("stream").value = time.id;
  if (!byId("settings").open) byId("settings").showModal();
}

byId("connection").addEventListener("click", () => {
  link.retryNow();
  openSettings();
});
byId("fresh").addEventListener("click", () => {
  byId("settings").close("fresh");
  freshStream();
});
byId("settings").addEventListener("close", () => {
  if (byId("settings").returnValue !== "connect") return;
  link.key = byId("key").value.trim();
  sessionStorage.setItem(KEY_STORE, link.key);
  if (byId("stream").value !== time.id) {
    stopSource();
    time.begin(byId("stream").value);
  }
  reconnect();
});

byId("theme").addEventListener("click", () => {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const shown = document.documentElement.dataset.theme ?? (dark ? "dark" : "light");
  setTheme(shown === "dark" ? "light" : "dark");
});

function setTheme(theme) {
  if (!theme) return;
  document.documentElement.dataset.theme = theme;
  localStorage.setItem(THEME_STORE, theme);
}

function showCode(question) {
  view.showSnippets(
    snippets({
      base,
      stream: time.id,
      model: link.session?.model ?? "",
      needsKey: Boolean(link.key),
      question,
    }),
  );
}

byId("copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(byId("snippet").textContent);
    byId("copy").textContent = "Copied";
  } catch {
    byId("copy").textContent = "Copy by hand";
  }
  setTimeout(() => { byId("copy").textContent = "Copy"; }, 2000);
});

setTheme(localStorage.getItem(THEME_STORE));
// Phones cannot share their screen; without https there is no camera either, and the page says why.
if (navigator.mediaDevices && !navigator.mediaDevices.getDisplayMedia) {
  document.querySelector("[data-source=screen]").hidden = true;
}
if (localStorage.getItem(WAY_STORE) in senders) byId("way").value = localStorage.getItem(WAY_STORE);
view.showSuggestions(ABOUT_THE_WORLD, ask);
showCode(ABOUT_THE_WORLD[0]);
setInterval(refresh, REFRESH_MS);
link.connect();
