// The protocol client: one WebSocket, its reconnection, questions in flight. No DOM in here.

import { CODECS, frameMessage, microseconds } from "./frame.js";

const FIRST_DELAY_MS = 500;
const MAX_DELAY_MS = 15_000;
const MOVED_SPREAD_MS = 100; // where the stream went on elsewhere; not all in the same moment
const CONNECT_MS = 10_000; // an attempt to connect that takes longer has failed
const REPLY_MS = 5000; // so has a request over HTTP
const LOOK_MS = 1000;
const IDLE_MS = 3000; // nothing came for so long: ask whether anybody is there
const QUIET_MS = 4000; // that question is unanswered for so long: say so
const SILENCE_MS = 30_000; // and for so long: the line is dead
const MAX_BUFFERED_BYTES = 512 * 1024; // beyond this a frame waits for the next turn instead
const MAX_QUESTIONS = 16;
const TOKEN_S = 7200; // the connection ends with its token, and is made anew
const SCOPES = ["read", "ask", "push", "watch"]; // all that the page does

/**
 * Events (all CustomEvents with `detail`):
 *   state    {state: "connecting" | "live" | "quiet" | "waiting" | "refused" | "closed", text, heardAt}
 *            quiet: connected, but the server does not answer; heardAt: when it last said anything
 *   session  the `session` of session.created
 *   ack, pace, stream, problem, watch, watches, alert, scene, health   the server event
 *   answer   {question}  whenever a question moves on: see `ask`
 */
export class Realtime extends EventTarget {
  /** @param {{base: URL, stream: string, key?: string, open?: typeof WebSocket}} options */
  constructor({ base, stream, key = "", open = globalThis.WebSocket }) {
    super();
    this.base = base;
    this.stream = stream;
    this.key = key;
    this.session = null;
    this.sequence = 0;
    this.state = "closed";
    this._open = open;
    this._socket = null;
    this._attempt = 0;
    this._retryTimer = 0;
    this._dialTimer = 0;
    this._lookTimer = 0;
    this._heardAt = 0; // by performance.now(), as the next
    this._pingedAt = 0;
    this._questions = new Map(); // ask id -> question
    this._asked = 0;
    this._wanted = false;
    this._retryAfterMs = 0;
    this._lastEvent = null; // of the stream: what was missed since then is sent again
  }

  // ---- connection ----

  connect() {
    this._wanted = true;
    this._dial();
  }

  close() {
    this._wanted = false;
    clearTimeout(this._retryTimer);
    this._drop("closed");
    this._say("closed", "Not connected");
  }

  /** Connect again from scratch, with another stream or key where given. */
  restart({ stream = this.stream, key = this.key } = {}) {
    this._wanted = false;
    clearTimeout(this._retryTimer);
    this._drop("restarted");
    if (stream !== this.stream) this._lastEvent = null;
    this.stream = stream;
    this.key = key;
    this._attempt = 0;
    this.connect();
  }

  /** Whether there is a session: also while the server is quiet, since it may only be slow. */
  get live() {
    return this.session !== null;
  }

  async _dial() {
    clearTimeout(this._retryTimer);
    this._say("connecting", this._attempt ? "Reconnecting" : "Connecting");
    const protocols = ["realtime"];
    if (this.key) {
      const credential = await this._credential();
      if (!this._wanted) return;
      if (!credential) return this._failed();
      protocols.push(credential);
    }
    const url = new URL("v1/realtime", this.base);
    url.protocol = this.base.protocol === "https:" ? "wss:" : "ws:";
    url.searchParams.set("stream", this.stream);
    url.searchParams.set("events", "all");
    if (this._lastEvent !== null) url.searchParams.set("after", this._lastEvent);
    const socket = new this._open(url, protocols);
    socket.binaryType = "arraybuffer";
    this._socket = socket;
    this._dialTimer = setTimeout(() => this._closed({ code: 1006 }), CONNECT_MS);
    socket.onmessage = (message) => this._socket === socket && this._take(message.data);
    socket.onclose = (event) => this._socket === socket && this._closed(event);
  }

  /** The subprotocol that shows who we are: a short-lived token where one can be had. */
  async _credential() {
    try {
      const reply = await fetch(new URL("v1/realtime/client_secrets", this.base), {
        method: "POST",
        headers: { Authorization: `Bearer ${this.key}`, "Content-Type": "application/json" },
        body: JSON.stringify({ scopes: SCOPES, expires_after: { seconds: TOKEN_S } }),
        signal: AbortSignal.timeout(REPLY_MS),
      });
      if (reply.ok) return `onlooker-token.${(await reply.json()).value}`;
      // A key that may make no tokens, or none for all this, is used itself, for what it may do.
      return reply.status === 403 ? `openai-insecure-api-key.${this.key}` : null;
    } catch {
      return null;
    }
  }

  _closed(event) {
    this._drop("the connection was lost");
    if (!this._wanted) return;
    if (event.reason === "token_expired") return this._dial(); // with a new one, at once
    if (event.reason === "moved") return this._follow();
    if (event.code === 1008) return this._refused(event.reason || "The server refused this connection");
    this._failed();
  }

  /** The stream goes on at another server, which is reached at the same address. */
  _follow() {
    this._retryTimer = setTimeout(() => this._dial(), MOVED_SPREAD_MS * Math.random());
    this._say("connecting", "Reconnecting");
  }

  // A browser does not say why an upgrade failed, so the cause is asked for over HTTP.
  async _failed() {
    this._say("connecting", "Reconnecting");
    let status = 0;
    try {
      const headers = this.key ? { Authorization: `Bearer ${this.key}` } : {};
      const signal = AbortSignal.timeout(REPLY_MS);
      status = (await fetch(new URL("v1/models", this.base), { headers, signal })).status;
    } catch {
      status = 0;
    }
    if (!this._wanted) return;
    if (status === 401 || status === 403) {
      const isUnknown = status === 401 ? "The server does not know this API key" : "This API key may not watch here";
      return this._refused(this.key ? isUnknown : "needs-key");
    }
    const delay = Math.max(
      this._retryAfterMs,
      Math.min(MAX_DELAY_MS, FIRST_DELAY_MS * 2 ** this._attempt) * (0.7 + 0.6 * Math.random()),
    );
    this._retryAfterMs = 0;
    this._attempt += 1;
    const cause = status === 0 ? "No answer from the server" : "The server takes no connections now";
    this._say("waiting", cause);
    this._retryTimer = setTimeout(() => this._dial(), delay);
  }

  /** Skip the wait before the next attempt. */
  retryNow() {
    if (this.state === "waiting" || this.state === "refused") {
      this._wanted = true;
      this._dial();
    }
  }

  _refused(text) {
    this._wanted = false;
    this._say("refused", text);
  }

  _drop(reason) {
    clearInterval(this._lookTimer);
    clearTimeout(this._dialTimer);
    const socket = this._socket;
    this._socket = null;
    this.session = null;
    this.state = "connecting";
    if (socket && socket.readyState < 2) socket.close(1000);
    for (const question of [...this._questions.values()]) {
      this._end(question, "failed", reason);
    }
  }

  _say(state, text) {
    this.state = state;
    const ago = performance.now() - this._heardAt;
    const heardAt = this._heardAt ? new Date(Date.now() - ago) : null;
    this._emit("state", { state, text, heardAt });
  }

  _emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  _send(event) {
    this._socket.send(JSON.stringify(event));
  }

  // ---- frames ----

  /** Whether a frame sent now would leave soon: false while earlier ones still wait. */
  get roomForFrame() {
    return this.live && this._socket.bufferedAmount < MAX_BUFFERED_BYTES;
  }

  /**
   * Send one picture. Returns its sequence number, or null where it was not sent.
   * @param {ArrayBuffer} payload  @param {number} captureS stream time in seconds
   */
  sendFrame(payload, captureS, codec = CODECS.jpeg, flags = 0) {
    if (!this.roomForFrame) return null;
    this.sequence = (this.sequence + 1) >>> 0;
    const header = { codec, sequence: this.sequence, captureUs: microseconds(captureS), flags };
    this._socket.send(frameMessage(header, payload));
    return this.sequence;
  }

  // ---- questions ----

  /**
   * Ask about the stream as it is now. The question comes back in `answer` events with
   * {text, answer, status: "asking" | "answering" | "completed" | "cancelled" | "incomplete" |
   * "failed", error, facts}; it always ends with one of the last four.
   */
  ask(text) {
    const id = `ask_${++this._asked}`;
    const question = { id, text, answer: "", status: "asking", responseId: null, isSent: false, error: "", facts: {} };
    if (!this.live) return this._end(question, "failed", "Not connected");
    if (this._questions.size >= MAX_QUESTIONS) {
      return this._end(question, "failed", "Too many questions at once: wait for an answer first");
    }
    this._questions.set(id, question);
    this._emit("answer", { question });
    this._next();
    return question;
  }

  // One after the other: a conversation has one answer at a time.
  _next() {
    const question = this._questions.values().next().value;
    if (!question || question.status !== "asking" || question.isSent) return;
    question.isSent = true;
    const { id, text } = question;
    this._send({
      type: "conversation.item.create",
      event_id: `${id}_item`,
      item: { type: "message", role: "user", content: [{ type: "input_text", text }] },
    });
    this._send({ type: "response.create", event_id: id, response: { metadata: { ask: id } } });
  }

  /** End a running answer, or one that was not begun yet. */
  cancel(question) {
    if (!this.live || !this._questions.has(question.id)) return;
    if (question.responseId) {
      this._send({ type: "response.cancel", response_id: question.responseId });
    } else if (!question.isSent) {
      this._end(question, "cancelled");
    }
  }

  _end(question, status, error = "") {
    this._questions.delete(question.id);
    question.status = status;
    question.error = error;
    this._emit("answer", { question });
    if (this.live && this._socket) this._next();
    return question;
  }

  _byResponse(responseId) {
    for (const question of this._questions.values()) {
      if (question.responseId === responseId) return question;
    }
    return null;
  }

  // ---- watches ----

  /** Leave, change or delete a standing question; what becomes of it comes as `watch` events. */
  addWatch(watch) {
    this._request("stream.watch.create", { watch });
  }

  changeWatch(id, watch) {
    this._request("stream.watch.update", { watch_id: id, watch });
  }

  deleteWatch(id) {
    this._request("stream.watch.delete", { watch_id: id });
  }

  _request(type, fields) {
    if (this.live) this._send({ type, ...fields });
    else this._emit("problem", { error: { code: "not_connected", message: "Not connected" } });
  }

  _numbered(name, event) {
    if (event.slot) return;
    this._lastEvent = Math.max(this._lastEvent ?? 0, event.event_number);
    this._emit(name, event);
  }

  // ---- server events ----

  _take(data) {
    this._heardAt = performance.now();
    if (this.state === "quiet") this._say("live", "Live");
    let event;
    try {
      event = JSON.parse(data);
    } catch {
      return;
    }
    const handler = HANDLERS[event.type];
    if (handler) handler(this, event);
  }

  _created(event) {
    this.session = event.session;
    this._attempt = 0;
    clearTimeout(this._dialTimer);
    this._lookTimer = setInterval(() => this._look(), LOOK_MS);
    this._say("live", "Live");
    this._emit("session", event.session);
    this._send({ type: "stream.watch.list" });
  }

  // Only an unanswered ping tells that nobody is there: timers of a page in the background may come
  // once a minute, so that nothing was heard for long says nothing.
  _look() {
    const instant = performance.now();
    if (this._pingedAt <= this._heardAt) {
      if (instant - this._heardAt < IDLE_MS) return;
      this._pingedAt = instant;
      this._send({ type: "ping" });
    } else if (instant - this._pingedAt > SILENCE_MS) {
      this._drop("the server went silent");
      this._failed();
    } else if (instant - this._pingedAt > QUIET_MS && this.state === "live") {
      this._say("quiet", "The server does not answer");
    }
  }

  _answerCreated({ response }) {
    const id = response.metadata?.ask;
    const waiting = [...this._questions.values()].find((q) => (id ? q.id === id : !q.responseId));
    if (!waiting) return;
    waiting.responseId = response.id;
    waiting.status = "answering";
    this._emit("answer", { question: waiting });
  }

  _answerDelta(event) {
    const question = this._byResponse(event.response_id);
    if (!question) return;
    question.answer += event.delta;
    this._emit("answer", { question });
  }

  _answerDone({ response }) {
    const question = this._byResponse(response.id);
    if (!question) return;
    question.facts = response.onlooker ?? {};
    question.usage = response.usage;
    // What was only said meanwhile is no part of the answer.
    const said = (response.output ?? []).flatMap((item) => item.content ?? []);
    question.answer = said.map((part) => part.text ?? "").join("") || question.answer;
    const reason = response.status_details?.error?.message ?? response.status_details?.reason ?? "";
    this._end(question, response.status, response.status === "completed" ? "" : reason);
  }

  _error(event) {
    const about = event.error?.event_id?.replace(/_item$/, "");
    const question = about && this._questions.get(about);
    if (question && !question.responseId) this._end(question, "failed", event.error.message);
    else this._emit("problem", event);
  }

  _closing(event) {
    this._retryAfterMs = 1000 * (event.retry_after_s ?? 0);
  }
}

const HANDLERS = {
  "session.created": (client, event) => client._created(event),
  "session.closing": (client, event) => client._closing(event),
  "input_video.ack": (client, event) => client._emit("ack", event),
  "input_video.pace": (client, event) => client._emit("pace", event),
  "stream.updated": (client, event) => client._emit("stream", event),
  "stream.closed": (client, event) => client._emit("stream", event),
  "stream.alert": (client, event) => client._numbered("alert", event),
  "stream.watch": (client, event) => client._numbered("watch", event),
  "stream.health": (client, event) => client._numbered("health", event),
  "stream.scene": (client, event) => client._numbered("scene", event),
  "stream.watches": (client, event) => client._emit("watches", event),
  "response.created": (client, event) => client._answerCreated(event),
  "response.output_text.delta": (client, event) => client._answerDelta(event),
  "response.done": (client, event) => client._answerDone(event),
  error: (client, event) => client._error(event),
};
