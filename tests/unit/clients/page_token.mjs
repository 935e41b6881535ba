// How the page shows who it is: prints the subprotocols of every connection that it opens, as JSON.
// argv[2]: the status with which the server answers a request for a token.

import { Realtime } from "../../../clients/web/realtime.js";

const status = Number(process.argv[2]);
const asked = [];
globalThis.fetch = async (url, { body }) => {
  asked.push(JSON.parse(body));
  return { ok: status === 200, status, json: async () => ({ value: `token-${asked.length}` }) };
};

const opened = [];
class FakeSocket {
  constructor(url, protocols) {
    opened.push(protocols);
    queueMicrotask(() => {
      if (opened.length < 2) this.onclose({ code: 1008, reason: "token_expired" });
      else {
        console.log(JSON.stringify({ asked, opened }));
        process.exit(0);
      }
    });
  }

  close() {}
}

new Realtime({ base: new URL("http://127.0.0.1/"), stream: "door", key: "the-key-1", open: FakeSocket }).connect();
