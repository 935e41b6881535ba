// The list of questions and their answers. No connection in here.

import { button, element, look, seconds } from "./view.js";

const MAX_TURNS = 200;
const WAIT_TOLD_S = 2; // a wait that is shorter is not told
const byId = (id) => document.getElementById(id);

export class Transcript {
  /** @param {(question: object) => void} onCancel  ends an answer */
  constructor(onCancel) {
    this.onCancel = onCancel;
    this.turns = new WeakMap(); // question -> its elements
    this.running = new Map(); // question -> since when, by performance.now()
  }

  /** Add or bring up to date one question with its answer; `askedAt`: stream time in seconds. */
  show(question, askedAt) {
    const box = byId("transcript-box");
    const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 48;
    const turn = this.turns.get(question) ?? this._add(question, askedAt);
    const isRunning = question.status === "asking" || question.status === "answering";
    if (!isRunning) this.running.delete(question);
    else if (!this.running.has(question)) this.running.set(question, performance.now());
    turn.root.dataset.status = question.status;
    turn.root.setAttribute("aria-busy", String(isRunning));
    if (question.facts.asked_s != null) turn.time.textContent = seconds(question.facts.asked_s);
    turn.answer.textContent = question.status === "failed"
      ? question.error || "No answer came."
      : question.answer.trimStart() || (isRunning ? "" : "(nothing)");
    turn.based.replaceChildren(...(isRunning ? [turn.waited, turn.cancel] : basis(question)));
    look(isRunning ? "down" : "ahead");
    if (box.scrollHeight > box.clientHeight + 1) {
      if (atEnd || question.status === "asking") box.scrollTop = box.scrollHeight;
    } else if (question.status !== "answering") {
      turn.root.scrollIntoView({ block: "nearest" }); // narrow: the page scrolls, not the list
    }
  }

  /** Where the pictures go that the answer to `question` rests on. */
  evidenceOf(question) {
    return this.turns.get(question).seen;
  }

  /** Say at questions without a word of an answer how long they have waited. */
  tellWaits() {
    for (const [question, since] of this.running) {
      const waitedS = Math.floor((performance.now() - since) / 1000);
      const { waited } = this.turns.get(question);
      const text = question.answer || waitedS < WAIT_TOLD_S ? "" : `no word yet, after ${waitedS} s`;
      if (waited.textContent !== text) waited.textContent = text;
    }
  }

  _add(question, askedAt) {
    const transcript = byId("transcript");
    const root = element("li", "turn");
    const time = element("time", "", seconds(askedAt));
    const asked = element("div", "asked", question.text);
    const answer = element("div", "answer");
    const based = element("div", "based");
    const seen = element("div", "evidence");
    const waited = element("span");
    waited.setAttribute("aria-hidden", "true"); // it changes each second: not to be read out
    const cancel = button("Stop", () => this.onCancel(question));
    cancel.setAttribute("aria-label", `Stop answering: ${question.text}`);
    root.append(time, asked, answer, seen, based);
    transcript.append(root);
    while (transcript.children.length > MAX_TURNS) transcript.firstElementChild.remove();
    const turn = { root, time, answer, seen, based, waited, cancel };
    this.turns.set(question, turn);
    return turn;
  }
}

function basis({ status, facts, error }) {
  const parts = [];
  if (status === "cancelled") parts.push("stopped");
  if (status === "incomplete") parts.push(`cut: ${error || "too long"}`);
  if (facts.seen_until_s != null) {
    const missedS = facts.asked_s - facts.seen_until_s;
    const gap = missedS >= 0.05 ? `, ${seconds(missedS)} before the question` : "";
    parts.push(`had seen until ${seconds(facts.seen_until_s)}${gap}`);
  } else if (status === "completed") {
    parts.push("had seen nothing yet");
  }
  if (facts.ttft_ms != null) parts.push(`first word after ${Math.round(facts.ttft_ms)} ms`);
  if (facts.memory_incomplete) parts.push("part of its memory could not be read");
  return parts.map((text) => element("span", "", text));
}
