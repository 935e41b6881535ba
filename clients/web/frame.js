// The binary frame message: 20 bytes big-endian, then the payload (docs/protocol.md).

export const HEADER_BYTES = 20;
export const VERSION = 1;

export const CODECS = Object.freeze({
  jpeg: 1, png: 2, webp: 3, h264: 4, vp8: 5, vp9: 6, webm: 7, fmp4: 8,
});

export const KEY_FRAME = 1;
export const LAST_FRAME = 2;

const MAGIC = 0x4f4c; // "OL"
const MAX_CODEC = 8;
const MAX_FLAGS = 3;
const MAX_CAPTURE_US = BigInt(Number.MAX_SAFE_INTEGER); // 285 years

/**
 * The header of one frame message.
 * @param {{codec: number, sequence: number, captureUs: bigint, flags?: number, slot?: number}} frame
 * @returns {Uint8Array} 20 bytes
 */
export function packHeader({ codec, sequence, captureUs, flags = 0, slot = 0 }) {
  check(Number.isInteger(codec) && codec >= 1 && codec <= MAX_CODEC, `no codec ${codec}`);
  check(Number.isInteger(flags) && flags >= 0 && flags <= MAX_FLAGS, `no such flags: ${flags}`);
  check(Number.isInteger(slot) && slot >= 0 && slot <= 0xff, `slot ${slot} is not within 0-255`);
  check(
    Number.isInteger(sequence) && sequence >= 0 && sequence <= 0xffffffff,
    `sequence ${sequence} does not fit 32 bits`,
  );
  check(captureUs >= 0n && captureUs <= MAX_CAPTURE_US, `capture time ${captureUs} is too far`);
  const bytes = new Uint8Array(HEADER_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, MAGIC);
  view.setUint8(2, VERSION);
  view.setUint8(3, codec);
  view.setUint8(4, flags);
  view.setUint8(5, slot);
  view.setUint16(6, 0);
  view.setUint32(8, sequence);
  view.setBigUint64(12, captureUs);
  return bytes;
}

/**
 * What a header says. Throws where the bytes are no frame message.
 * @param {Uint8Array} bytes
 */
export function unpackHeader(bytes) {
  check(bytes.byteLength >= HEADER_BYTES, `a frame message has at least ${HEADER_BYTES} bytes`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  check(view.getUint16(0) === MAGIC, "not a frame message: it does not start with OL");
  check(view.getUint8(2) === VERSION, `version ${view.getUint8(2)} is not known here`);
  const codec = view.getUint8(3);
  check(codec >= 1 && codec <= MAX_CODEC, `no codec ${codec}`);
  const flags = view.getUint8(4);
  check(flags <= MAX_FLAGS && view.getUint16(6) === 0, "the reserved bits are not 0");
  const captureUs = view.getBigUint64(12);
  check(captureUs <= MAX_CAPTURE_US, "the capture time is over 2**53-1");
  return { codec, flags, slot: view.getUint8(5), sequence: view.getUint32(8), captureUs };
}

/** Seconds of stream time as whole microseconds. */
export function microseconds(seconds) {
  check(Number.isFinite(seconds) && seconds >= 0, `${seconds} is no stream time`);
  return BigInt(Math.round(seconds * 1e6));
}

/**
 * One message: header and picture, copied once.
 * @param {object} header as for packHeader
 * @param {ArrayBuffer} payload
 * @returns {ArrayBuffer}
 */
export function frameMessage(header, payload) {
  const message = new Uint8Array(HEADER_BYTES + payload.byteLength);
  message.set(packHeader(header), 0);
  message.set(new Uint8Array(payload), HEADER_BYTES);
  return message.buffer;
}

function check(holds, message) {
  if (!holds) throw new RangeError(message);
}
