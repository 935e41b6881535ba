// Reads cases on standard input, packs and unpacks them with the page's code, prints what came out.
import { packHeader, unpackHeader, microseconds, frameMessage } from "../../../clients/web/frame.js";

let input = "";
for await (const piece of process.stdin) input += piece;
const { pack, unpack, times } = JSON.parse(input);

const attempt = (work) => {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return null;
  }
};
const hex = (bytes) => Buffer.from(bytes).toString("hex");

console.log(JSON.stringify({
  packed: pack.map((h) => attempt(() => hex(packHeader({ ...h, captureUs: BigInt(h.captureUs) })))),
  unpacked: unpack.map((text) => attempt(() => {
    const { captureUs, ...rest } = unpackHeader(new Uint8Array(Buffer.from(text, "hex")));
    return { ...rest, captureUs: captureUs.toString() };
  })),
  micros: times.map((seconds) => attempt(() => microseconds(seconds).toString())),
  message: hex(frameMessage(
    { codec: 1, sequence: 7, captureUs: 5n }, new Uint8Array([1, 2, 3]).buffer,
  )),
}));
