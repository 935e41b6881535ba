// What can be watched: a camera, the screen, a video file, the drawn world.
//
// A source is {kind, label, element, width, height, aim(t), stop(), ended, media?(fps), truth?(t)}:
// `element` is what is shown and copied from (<video> or <canvas>), `aim` brings it to stream time
// t, `media` gives it as a MediaStream where the browser can.

import { createWorld, describe, draw } from "./world.js";

const WORLD_WIDTH = 640;
const WORLD_HEIGHT = 480;
export const WORLD_SEED = 7;

const CAMERA = { video: { width: { ideal: 640 }, height: { ideal: 480 }, facingMode: "environment" }, audio: false };
const SCREEN = { video: { frameRate: { ideal: 15 } }, audio: false };

/** Why a source could not be opened, for people. */
export class SourceError extends Error {}

/**
 * @param {"world" | "webcam" | "screen" | "file"} kind
 * @param {{video: HTMLVideoElement, canvas: HTMLCanvasElement, file?: File}} places
 */
export async function openSource(kind, { video, canvas, file }) {
  if (kind === "world") return openWorld(canvas);
  if (kind === "file") return openFile(video, file);
  const media = navigator.mediaDevices;
  if (!media?.getUserMedia) {
    throw new SourceError(
      "Browsers give the camera only to pages over https or on localhost. Open this page so; " +
        "`onlooker serve --tls-self-signed` serves https.",
    );
  }
  if (kind === "screen" && !media.getDisplayMedia) {
    throw new SourceError("This browser cannot share a screen. Phones usually cannot.");
  }
  try {
    const stream = await (kind === "screen" ? media.getDisplayMedia(SCREEN) : media.getUserMedia(CAMERA));
    return await openStream(kind, video, stream);
  } catch (error) {
    throw new SourceError(explain(kind, error));
  }
}

function explain(kind, error) {
  const what = kind === "screen" ? "the screen" : "the camera";
  if (error.name === "NotAllowedError") return `Sharing ${what} was not allowed. Allow it in the address bar, then try again.`;
  if (error.name === "NotFoundError") return "No camera was found. Plug one in, or pick another source.";
  if (error.name === "NotReadableError") return "The camera is in use by another program. Close that, then try again.";
  return `Could not open ${what}: ${error.message}`;
}

function openWorld(canvas) {
  const world = createWorld(WORLD_SEED);
  canvas.width = WORLD_WIDTH;
  canvas.height = WORLD_HEIGHT;
  const context = canvas.getContext("2d");
  return {
    kind: "world",
    label: `The drawn world, seed ${WORLD_SEED}`,
    element: canvas,
    width: WORLD_WIDTH,
    height: WORLD_HEIGHT,
    aim: (t) => draw(context, world.stateAt(t), WORLD_WIDTH, WORLD_HEIGHT),
    media: (fps) => canvas.captureStream?.(fps),
    truth: (t) => describe(world.stateAt(t)),
    stop: () => {},
    ended: new Promise(() => {}),
  };
}

async function openStream(kind, video, stream) {
  const track = stream.getVideoTracks()[0];
  video.srcObject = stream;
  video.loop = false;
  await started(video);
  return {
    kind,
    label: kind === "screen" ? "The screen" : track.label || "The camera",
    element: video,
    get width() { return video.videoWidth; },
    get height() { return video.videoHeight; },
    aim: () => {},
    media: () => stream,
    stop: () => {
      stream.getTracks().forEach((each) => each.stop());
      video.srcObject = null;
    },
    ended: new Promise((resolve) => track.addEventListener("ended", resolve, { once: true })),
  };
}

async function openFile(video, file) {
  if (!file) throw new SourceError("No file was picked.");
  const url = URL.createObjectURL(file);
  video.src = url;
  video.loop = true;
  try {
    await started(video);
  } catch {
    URL.revokeObjectURL(url);
    video.removeAttribute("src");
    throw new SourceError(`This browser cannot play ${file.name}. MP4 (H.264) and WebM usually work.`);
  }
  return {
    kind: "file",
    label: file.name,
    element: video,
    get width() { return video.videoWidth; },
    get height() { return video.videoHeight; },
    aim: () => {},
    media: () => video.captureStream?.(),
    stop: () => {
      video.pause();
      video.removeAttribute("src");
      video.load();
      URL.revokeObjectURL(url);
    },
    ended: new Promise(() => {}),
  };
}

async function started(video) {
  video.muted = true;
  await video.play();
  if (!video.videoWidth) {
    await new Promise((resolve) => video.addEventListener("loadeddata", resolve, { once: true }));
  }
}
