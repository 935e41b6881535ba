// Calls of the HTTP API, with the key of this tab. No DOM in here.

const KEY_STORE = "onlooker.key";
const REPLY_MS = 20_000;

export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export class Api {
  /** @param {URL} base  where the page is */
  constructor(base) {
    this.base = base;
    this.key = sessionStorage.getItem(KEY_STORE) ?? "";
  }

  setKey(key) {
    this.key = key;
    sessionStorage.setItem(KEY_STORE, key);
  }

  /** The JSON of a reply; throws ApiError. `signal`: ends it early. */
  async json(path, { method = "GET", body, signal, limitMs = REPLY_MS } = {}) {
    const reply = await this._call(path, { method, body, signal, limitMs });
    return reply.status === 204 ? null : reply.json();
  }

  /** A picture or film as an address for this page; whoever took it revokes it. */
  async blob(path, { signal } = {}) {
    const reply = await this._call(path, { signal, limitMs: REPLY_MS });
    return URL.createObjectURL(await reply.blob());
  }

  async _call(path, { method = "GET", body, signal, limitMs }) {
    const headers = {};
    if (this.key) headers.Authorization = `Bearer ${this.key}`;
    if (body !== undefined) headers["Content-Type"] = "application/json";
    const limit = AbortSignal.timeout(limitMs);
    let reply;
    try {
      reply = await fetch(new URL(path.replace(/^\//, ""), this.base), {
        method,
        headers,
        body: body === undefined ? undefined : JSON.stringify(body),
        signal: signal ? AbortSignal.any([signal, limit]) : limit,
      });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new ApiError(0, "The server does not answer.");
    }
    if (reply.ok) return reply;
    const told = await reply.json().catch(() => null);
    throw new ApiError(reply.status, told?.error?.message ?? `The server answered with status ${reply.status}.`);
  }
}

export const streamPath = (id) => `v1/streams/${encodeURIComponent(id)}`;

/** Show a picture of the album in an `img`, and forget the bytes; throws where there is none. */
export async function showPicture(api, path, img, signal) {
  const url = await api.blob(path, { signal });
  try {
    img.src = url;
    await img.decode();
  } finally {
    URL.revokeObjectURL(url);
  }
}
