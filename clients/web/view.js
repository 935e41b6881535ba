// Puts what happens on the page. Reads nothing, decides nothing.

const byId = (id) => document.getElementById(id);

const MAX_TURNS = 200;
const seconds = (value) => (value < 60 ? `${value.toFixed(1)} s` : clock(value));

function clock(value) {
  const whole = Math.floor(value);
  const two = (part) => String(part).padStart(2, "0");
  const hours = Math.floor(whole / 3600);
  const rest = `${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
  return hours ? `${hours}:${rest}` : rest;
}

// ---- connection ----

export function showConnection({ state, text }) {
  byId("connection").dataset.state = state;
  byId("connection-text").textContent = text === "needs-key" ? "Needs a key" : text;
  const words = {
    live: "Connected.",
    refused: text === "needs-key" ? "This server wants an API key." : `${text}.`,
    waiting: `${text}. The page tries again by itself.`,
  };
  byId("settings-state").textContent = words[state] ?? `${text}…`;
  byId("question").disabled = state === "refused";
  look(state === "live" ? "ahead" : "away");
}

export function showSession({ model, capabilities, stream }) {
  const mode = capabilities.engine_mode;
  byId("model").textContent = model === mode ? model : `${model}, ${mode}`;
  byId("stream-name").textContent = `Stream: ${stream}`;
  const knows = byId("knows");
  const text = capabilities.knows.replace(/\.$/, "");
  knows.textContent = /^[A-Z]/.test(text) ? `${text}.` : `This model knows ${text}.`;
}

/** Whether the served model is the small one that was trained on drawn shapes only. */
export function knowsOnlyTheWorld({ knows }) {
  return /drawn/i.test(knows);
}

let noticeTimer = 0;

/** Something that people should know; `action` is a button's {text, run}. It stays with an action. */
export function notify(text, action = null) {
  const notice = byId("notice");
  clearTimeout(noticeTimer);
  notice.hidden = !text;
  notice.textContent = text;
  if (action) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = action.text;
    button.addEventListener("click", () => {
      notify("");
      action.run();
    });
    notice.append(button);
  } else if (text) {
    noticeTimer = setTimeout(() => notify(""), 12_000);
  }
}

function look(where) {
  document.querySelector(".mark").dataset.looking = where;
}

// ---- what is watched ----

export function showSource(source) {
  byId("view").dataset.source = source ? source.kind : "none";
  byId("empty").hidden = Boolean(source);
  byId("video").hidden = !source || source.element !== byId("video");
  byId("world").hidden = !source || source.element !== byId("world");
  byId("source-label").textContent = source ? source.label : "";
  byId("truth-box").hidden = !source?.truth;
  byId("stop").disabled = !source;
  for (const button of document.querySelectorAll(".segments [data-source]")) {
    button.setAttribute("aria-pressed", String(button.dataset.source === source?.kind));
  }
}

export function showTruth(text) {
  const place = byId("truth");
  if (place.textContent !== text) place.textContent = text;
}

export function showAck({ totals, lag_s: lag }, passed) {
  const dropped = Object.values(totals.dropped).reduce((sum, count) => sum + count, 0) + passed;
  byId("kept").textContent = totals.kept;
  byId("skipped").textContent = totals.skipped;
  byId("dropped").textContent = dropped;
  byId("dropped").dataset.warn = String(dropped > 0);
  const reasons = Object.entries(totals.dropped).map(([why, count]) => `${count} ${why.replaceAll("_", " ")}`);
  if (passed) reasons.push(`${passed} not sent: the line was busy`);
  byId("dropped").title = reasons.join(", ");
  byId("lag").textContent = lag === null || lag === undefined ? "–" : `${lag.toFixed(2)} s`;
}

export function showRate(fps, isSending) {
  byId("rate").textContent = isSending ? `${Number(fps.toFixed(1))} fps` : "–";
}

export function showPace(pace, wantedFps, isSending) {
  const slows = isSending && pace && pace.fps < wantedFps;
  byId("pace").textContent = slows ? `The server asked for ${Number(pace.fps.toFixed(2))} fps: ${pace.reason}.` : "";
}

export function resetGauges() {
  for (const id of ["kept", "skipped", "dropped"]) byId(id).textContent = "0";
  byId("dropped").dataset.warn = "false";
  byId("lag").textContent = "–";
}

// ---- transcript ----

const turns = new WeakMap();

/** Add or bring up to date one question with its answer. */
export function showTurn(question, askedAt, onCancel) {
  const transcript = byId("transcript");
  let turn = turns.get(question);
  const atEnd = transcript.scrollHeight - transcript.scrollTop - transcript.clientHeight < 48;
  if (!turn) {
    turn = makeTurn(question, askedAt, onCancel);
    turns.set(question, turn);
    transcript.append(turn.root);
    while (transcript.children.length > MAX_TURNS) transcript.firstElementChild.remove();
  }
  const running = question.status === "asking" || question.status === "answering";
  turn.root.dataset.status = question.status;
  turn.root.setAttribute("aria-busy", String(running));
  if (question.facts.asked_s != null) turn.time.textContent = seconds(question.facts.asked_s);
  turn.answer.textContent = question.status === "failed"
    ? question.error || "No answer came."
    : question.answer.trimStart() || (running ? "" : "(nothing)");
  turn.based.replaceChildren(...basis(question, running, turn.cancel));
  look(running ? "down" : "ahead");
  if (transcript.scrollHeight > transcript.clientHeight + 1) {
    if (atEnd || question.status === "asking") transcript.scrollTop = transcript.scrollHeight;
  } else if (question.status !== "answering") {
    turn.root.scrollIntoView({ block: "nearest" }); // narrow: the page scrolls, not the list
  }
}

function makeTurn(question, askedAt, onCancel) {
  const root = element("li", "turn");
  const time = element("time", "", seconds(askedAt));
  const asked = element("div", "asked", question.text);
  const answer = element("div", "answer");
  const based = element("div", "based");
  const cancel = element("button", "", "Stop");
  cancel.type = "button";
  cancel.addEventListener("click", onCancel);
  root.append(time, asked, answer, based);
  return { root, time, answer, based, cancel };
}

function basis({ status, facts, error }, running, cancel) {
  if (running) return status === "answering" ? [cancel] : [];
  const parts = [];
  if (status === "cancelled") parts.push("stopped");
  if (status === "incomplete") parts.push(`cut: ${error || "too long"}`);
  if (facts.seen_until_s != null) parts.push(`had seen until ${seconds(facts.seen_until_s)}`);
  if (facts.ttft_ms != null) parts.push(`first word after ${Math.round(facts.ttft_ms)} ms`);
  if (facts.memory_incomplete) parts.push("part of its memory could not be read");
  return parts.map((text) => element("span", "", text));
}

export function element(name, className = "", text = "") {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

// ---- suggestions and snippets ----

export function showSuggestions(questions, onPick) {
  byId("suggestions").replaceChildren(
    ...questions.map((text) => {
      const button = element("button", "", text);
      button.type = "button";
      button.addEventListener("click", () => onPick(text));
      return button;
    }),
  );
}

let chosen = "python";

export function showSnippets(list) {
  const tabs = byId("tabs");
  const select = (id, focus) => {
    chosen = id;
    showSnippets(list);
    if (focus) tabs.querySelector("[aria-selected=true]").focus();
  };
  tabs.replaceChildren(
    ...list.map(({ id, name }, index) => {
      const tab = element("button", "", name);
      tab.type = "button";
      tab.id = `tab-${id}`;
      tab.setAttribute("role", "tab");
      tab.setAttribute("aria-selected", String(id === chosen));
      tab.setAttribute("aria-controls", "panel");
      tab.tabIndex = id === chosen ? 0 : -1;
      tab.addEventListener("click", () => select(id, true));
      tab.addEventListener("keydown", ({ key }) => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
        if (step) select(list[(index + step + list.length) % list.length].id, true);
      });
      return tab;
    }),
  );
  const current = list.find(({ id }) => id === chosen);
  byId("panel").setAttribute("aria-labelledby", `tab-${chosen}`);
  byId("snippet-about").textContent = current.about;
  byId("snippet").textContent = current.code;
}
