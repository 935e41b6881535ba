// Puts what happens on the page. Reads nothing, decides nothing.

const byId = (id) => document.getElementById(id);

export const seconds = (value) => (value < 60 ? `${value.toFixed(1)} s` : clock(value));

function clock(value) {
  const whole = Math.floor(value);
  const two = (part) => String(part).padStart(2, "0");
  const hours = Math.floor(whole / 3600);
  const rest = `${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
  return hours ? `${hours}:${rest}` : rest;
}

function write(id, text) {
  if (byId(id).textContent !== text) byId(id).textContent = text;
}

export function element(name, className = "", text = "") {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

export function button(text, onClick) {
  const made = element("button", "", text);
  made.type = "button";
  made.addEventListener("click", onClick);
  return made;
}

// ---- what is told ----

/** Have a screen reader read something out, once. */
export function announce(text) {
  byId("said").textContent = text;
}

/** Something that people should know, until they put it away; `action`: one thing to do, {text, run}. */
export function notify(text, action = null) {
  const notice = byId("notice");
  notice.hidden = !text;
  notice.replaceChildren();
  if (!text) return;
  announce(text);
  notice.append(element("p", "", text));
  if (action) notice.append(button(action.text, () => { notify(""); action.run(); }));
  const away = button("×", () => notify(""));
  away.className = "away";
  away.setAttribute("aria-label", "Put this message away");
  notice.append(away);
}

/** Where the eyes look: "ahead", "down" at a question, "away" when nobody is there. */
export function look(where) {
  document.querySelector(".mark").dataset.looking = where;
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

/** What to try first: the drawn world where the model knows nothing else, else the camera. */
export function showStart(kind) {
  for (const each of document.querySelectorAll(".starts [data-source]")) {
    each.classList.toggle("primary", each.dataset.source === kind);
  }
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
  for (const each of document.querySelectorAll(".segments [data-source]")) {
    each.setAttribute("aria-pressed", String(each.dataset.source === source?.kind));
  }
}

export function showTruth(text) {
  write("truth", text);
}

export function showAck({ totals }, passed) {
  const dropped = Object.values(totals.dropped).reduce((sum, count) => sum + count, 0) + passed;
  write("kept", String(totals.kept));
  write("skipped", String(totals.skipped));
  write("dropped", String(dropped));
  byId("dropped").dataset.warn = String(dropped > 0);
  const reasons = Object.entries(totals.dropped).map(([why, count]) => `${count} ${why.replaceAll("_", " ")}`);
  if (passed) reasons.push(`${passed} not sent: the line was busy`);
  byId("dropped").title = reasons.join(", ");
}

/**
 * How far the model has seen. `nowS`: stream time, or null where nobody knows how far the stream is.
 * Both numbers mean what an answer's "had seen until" and "before the question" mean.
 */
export function showSeen(untilS, nowS) {
  const isKnown = untilS !== null && nowS !== null;
  write("lag", isKnown ? seconds(Math.max(0, nowS - untilS)) : "–");
  write("seen", untilS === null ? "–" : seconds(untilS));
}

/** `fps`: what is sent, or null where nothing is. */
export function showRate(fps) {
  write("rate", fps === null ? "–" : `${Number(fps.toFixed(1))} fps`);
}

/** Why less is sent than people allow. */
export function showPace(pace, allowedFps, isSending) {
  const isLess = isSending && pace && pace.fps < allowedFps;
  const asked = isLess ? `${Number(pace.fps.toFixed(2))} fps: ${reasonOf(pace)}` : "";
  write("pace", isLess ? `You allow ${allowedFps} fps; the server asks for ${asked}.` : "");
}

const TROUBLES = {
  black: "the picture is black",
  blocked: "something covers the camera",
  frozen: "the picture is frozen",
  blurred: "the picture is blurred",
  moved: "the camera shows another view than before",
};

/** What the server finds wrong with the camera's view; `health` is one of its words, or null. */
export function showHealth(health) {
  const trouble = TROUBLES[health] ?? (health && health !== "ok" ? health : "");
  write("health", trouble && `Camera: ${trouble}.`);
}

function reasonOf({ reason }) {
  const [, level] = reason.match(/^quality level (\d+)$/) ?? [];
  if (level === undefined) return reason;
  return level === "0" ? "what the model looks at" : `it has more to do than it can (quality level ${level})`;
}

export function resetGauges() {
  for (const id of ["kept", "skipped", "dropped"]) byId(id).textContent = "0";
  byId("dropped").dataset.warn = "false";
  showSeen(null, null);
}

// ---- suggestions and snippets ----

export function showSuggestions(questions, onPick) {
  byId("suggestions").replaceChildren(...questions.map((text) => button(text, () => onPick(text))));
}

let chosen = "python";

export function showSnippets(list) {
  const tabs = byId("tabs");
  const select = (id, focus) => {
    chosen = id;
    showSnippets(list);
    if (focus) tabs.querySelector("[aria-selected=true]").focus();
  };
  const last = list.length - 1;
  tabs.replaceChildren(
    ...list.map(({ id, name }, index) => {
      const tab = button(name, () => select(id, true));
      tab.id = `tab-${id}`;
      tab.setAttribute("role", "tab");
      tab.setAttribute("aria-selected", String(id === chosen));
      tab.setAttribute("aria-controls", "panel");
      tab.tabIndex = id === chosen ? 0 : -1;
      tab.addEventListener("keydown", (event) => {
        const next = index === last ? 0 : index + 1;
        const before = index === 0 ? last : index - 1;
        const to = { ArrowRight: next, ArrowLeft: before, Home: 0, End: last }[event.key];
        if (to === undefined) return;
        event.preventDefault();
        select(list[to].id, true);
      });
      return tab;
    }),
  );
  const current = list.find(({ id }) => id === chosen);
  byId("panel").setAttribute("aria-labelledby", `tab-${chosen}`);
  byId("snippet-about").textContent = current.about;
  byId("snippet").textContent = current.code;
}

