// Sends a source as coded video over WebRTC, by WHIP (RFC 9725, docs/webrtc.md).

import { SourceError } from "./sources.js";

const OFFER = "application/sdp";
const GATHER_MS = 1500; // addresses that are found later are not told
const TRIES = 4; // while the source before lets go of the stream
const TRY_AGAIN_MS = 400;
const CONNECT_MS = 15000;
const LOOK_MS = 1000;
const DRAWN_FPS = 30; // of a canvas, as it is watched; `fps` says how many of these are sent

export class WhipSender {
  /**
   * @param {import("./realtime.js").Realtime} link  says which stream and key
   * @param {() => void} onLost  called when the connection has ended by itself
   */
  constructor(link, onLost) {
    this.link = link;
    this.onLost = onLost;
    this.wantedFps = 4;
    this.pace = null; // {fps, width, height}
    this.counts = { sent: 0, passed: 0 };
    this.rate = null; // pictures a second, as the browser measures it
    this._source = null;
    this._peer = null;
    this._location = null;
    this._looking = 0;
    globalThis.addEventListener("pagehide", () => this.stop());
  }

  get sending() {
    return this._peer !== null;
  }

  /** Begin to send; throws a SourceError that says why that cannot be. */
  async start(source) {
    await this.stop();
    const media = source.media?.(DRAWN_FPS);
    const [track] = media?.getVideoTracks() ?? [];
    if (!track || !globalThis.RTCPeerConnection) {
      throw new SourceError("This browser cannot send this source over WebRTC.");
    }
    const peer = new RTCPeerConnection({ iceServers: await this._iceServers() });
    this._peer = peer;
    this._source = source;
    try {
      peer.addTransceiver(track, { direction: "sendonly", streams: [media], sendEncodings: [this._limits()] });
      await peer.setLocalDescription();
      await gathered(peer);
      const reply = await this._post(peer.localDescription.sdp);
      await peer.setRemoteDescription({ type: "answer", sdp: await reply.text() });
      await connected(peer);
    } catch (error) {
      if (this._peer !== peer) return; // another source was picked meanwhile
      await this.stop();
      if (error instanceof SourceError) throw error;
      throw new SourceError(`WebRTC did not work: ${error.message}.`);
    }
    peer.addEventListener("connectionstatechange", () => {
      if (this._peer !== peer || !["failed", "closed"].includes(peer.connectionState)) return;
      this.stop().then(() => this.onLost());
    });
    this._looking = setInterval(() => this._look(peer), LOOK_MS);
  }

  /** Stop sending; done when the stream can have another source. */
  async stop() {
    const [peer, location] = [this._peer, this._location];
    this._peer = this._location = this._source = null;
    this.rate = null;
    clearInterval(this._looking);
    if (location) {
      await fetch(location, { method: "DELETE", headers: this._headers(), keepalive: true }).catch(() => {});
    }
    peer?.close();
  }

  setFps(fps) {
    this.wantedFps = fps;
    this._limit();
  }

  setPace(pace) {
    this.pace = pace;
    this._limit();
  }

  // What the server can use at most: its wish becomes the encoder's frame rate and size.
  _limits() {
    const { width, height } = this._source ?? {};
    const wish = this.pace;
    const scale = wish && width ? Math.min(width / wish.width, height / wish.height) : 1;
    return {
      maxFramerate: wish ? Math.min(this.wantedFps, Math.max(0.1, wish.fps)) : this.wantedFps,
      scaleResolutionDownBy: Math.max(1, scale),
    };
  }

  async _limit() {
    for (const sender of this._peer?.getSenders() ?? []) {
      const parameters = sender.getParameters();
      for (const encoding of parameters.encodings) Object.assign(encoding, this._limits());
      await sender.setParameters(parameters).catch(() => {}); // the connection ended meanwhile
    }
  }

  async _look(peer) {
    for (const part of (await peer.getStats()).values()) {
      if (part.type !== "outbound-rtp" || this._peer !== peer) continue;
      this.rate = part.framesPerSecond ?? null;
      this.counts.sent = part.framesSent ?? 0;
    }
  }

  get _address() {
    return new URL(`v1/whip/${encodeURIComponent(this.link.stream)}`, this.link.base);
  }

  _headers(more = {}) {
    return this.link.key ? { Authorization: `Bearer ${this.link.key}`, ...more } : more;
  }

  async _iceServers() {
    const reply = await fetch(this._address, { method: "OPTIONS", headers: this._headers() }).catch(() => null);
    return iceServers(reply?.headers.get("link") ?? "");
  }

  async _post(offer) {
    for (let attempt = 1; ; attempt += 1) {
      const headers = this._headers({ "Content-Type": OFFER });
      const reply = await fetch(this._address, { method: "POST", headers, body: offer });
      if (reply.ok) {
        this._location = new URL(reply.headers.get("location"), this.link.base);
        return reply;
      }
      if (reply.status !== 409 || attempt === TRIES) {
        const { error } = await reply.json().catch(() => ({ error: { message: reply.statusText } }));
        throw new SourceError(error.message);
      }
      await new Promise((resolve) => setTimeout(resolve, TRY_AGAIN_MS));
    }
  }
}

/** The ICE servers that a `Link` header tells of, as RTCPeerConnection takes them. */
export function iceServers(header) {
  const found = [];
  for (const [, url, rest] of header.matchAll(/<((?:stun|turns?):[^>]+)>((?:\s*;\s*[\w-]+="(?:[^"\\]|\\.)*")*)/g)) {
    const given = Object.fromEntries(
      [...rest.matchAll(/([\w-]+)="((?:[^"\\]|\\.)*)"/g)].map(([, name, text]) => [name, text.replace(/\\(.)/g, "$1")]),
    );
    if (given.rel !== "ice-server") continue;
    found.push({ urls: url, ...(given.username && { username: given.username, credential: given.credential }) });
  }
  return found;
}

function gathered(peer) {
  if (peer.iceGatheringState === "complete") return null;
  return new Promise((resolve) => {
    setTimeout(resolve, GATHER_MS);
    peer.addEventListener("icegatheringstatechange", () => peer.iceGatheringState === "complete" && resolve());
  });
}

function connected(peer) {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error("no UDP packets get through to the server's ports")), CONNECT_MS);
    const look = () => {
      if (peer.connectionState === "connected") resolve();
      else if (["failed", "closed"].includes(peer.connectionState)) reject(new Error("the connection failed"));
      else return;
      clearTimeout(late);
    };
    peer.addEventListener("connectionstatechange", look);
    look();
  });
}
