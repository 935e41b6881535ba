// The drawn world in a browser: the same seed gives the same world as onlooker.demo_model.world.
//
//   const world = createWorld(7);
//   const scene = world.stateAt(12.5);          // seconds; any time, at once
//   draw(canvas.getContext("2d"), scene, 640, 480);
//   describe(scene);                            // the truth in words
//
// Numbers and their order follow demo_model/table.py and demo_model/rolling.py step by step; a test
// compares both. Only operations that IEEE 754 fixes are used on the way from seed to state.

import {
  SHAPES, SIZES, PLACES, COLOR_NAMES, PLACE_NAMES, MAX_OBJECTS, JITTER, SIGN_WIDTH, SIGN_HEIGHT,
  SIGN_MARGIN, TONES, TILTS, SCENE_MS, SCENE_JITTER_MS, MIN_GAP_MS, SPEED, mix, Rng,
} from "./world_table.js";

export { describe, draw } from "./world_draw.js";
export { COLORS, PLACES, SHAPES, SIZES } from "./world_table.js";

const CACHED_SCENES = 64;
const MAX_TIME_S = 10_000_000;

// ---- paths: lists of [ms, x, y], travelled at constant speed ----

function leg(path, ms) {
  for (let i = 0; i + 1 < path.length; i += 1) if (ms < path[i + 1][0]) return i;
  return -1;
}

function position(path, ms) {
  const at = leg(path, ms);
  if (at < 0) return path[path.length - 1].slice(1);
  const [t0, x0, y0] = path[at];
  const [t1, x1, y1] = path[at + 1];
  const part = Math.max((ms - t0) / (t1 - t0), 0);
  return [x0 + (x1 - x0) * part, y0 + (y1 - y0) * part];
}

function velocity(path, ms) {
  const at = leg(path, ms);
  if (at < 0) return [0, 0];
  const [t0, x0, y0] = path[at];
  const [t1, x1, y1] = path[at + 1];
  return [((x1 - x0) * 1000) / (t1 - t0), ((y1 - y0) * 1000) / (t1 - t0)];
}

const lastOf = (path) => path[path.length - 1];

function overSign(path, radius, startMs) {
  for (let ms = startMs; ms < lastOf(path)[0] + 100; ms += 100) {
    const [x, y] = position(path, ms);
    const dx = Math.max(1 - SIGN_MARGIN - SIGN_WIDTH - x, 0);
    const dy = Math.max(y - SIGN_MARGIN - SIGN_HEIGHT, 0);
    if (dx * dx + dy * dy < radius * radius * 0.99) return true;
  }
  return false;
}

function meet(a, ra, b, rb, startMs) {
  const least = (ra + rb - 0.03) * (ra + rb - 0.03);
  const end = Math.max(lastOf(a)[0], lastOf(b)[0], startMs) + 100;
  for (let ms = startMs; ms < end; ms += 100) {
    const [ax, ay] = position(a, ms);
    const [bx, by] = position(b, ms);
    if ((ax - bx) * (ax - bx) + (ay - by) * (ay - by) < least) return true;
  }
  return false;
}

function rest(rng, place) {
  const [x, y] = PLACES[place];
  return [x + rng.uniform(-JITTER, JITTER), y + rng.uniform(-JITTER, JITTER)];
}

function nearest(x, y) {
  let best = PLACE_NAMES[0];
  let least = Infinity;
  for (const name of PLACE_NAMES) {
    const far = Math.abs(PLACES[name][0] - x) + Math.abs(PLACES[name][1] - y);
    if (far < least) [best, least] = [name, far];
  }
  return best;
}

const taken = (tracks) => new Set(tracks.map(({ path }) => nearest(...lastOf(path).slice(1))));

function clear(path, size, others, ms) {
  const radius = SIZES[size];
  if (overSign(path, radius, ms)) return false;
  return !others.some((other) => meet(path, radius, other.path, SIZES[other.size], ms));
}

function newTrack(rng, tracks, ms, ident) {
  const strict = rng.below(4) > 0;
  const used = taken(tracks);
  const free = PLACE_NAMES.filter((place) => !used.has(place));
  for (let attempt = 0; attempt < 16; attempt += 1) {
    const color = rng.pick(COLOR_NAMES);
    const shape = rng.pick(SHAPES);
    const size = rng.below(2) ? "large" : "small";
    const [x, y] = rest(rng, rng.pick(free));
    if (tracks.some((t) => t.color === color && t.shape === shape)) continue;
    if (strict && tracks.some((t) => t.color === color || t.shape === shape)) continue;
    const path = [[ms, x, y]];
    if (clear(path, size, tracks, ms)) return { ident, color, shape, size, path };
  }
  return null;
}

function newPath(rng, track, others, ms, end) {
  const used = taken(others);
  const stops = others.filter((o) => o.path.length > 1).map((o) => lastOf(o.path)[0]);
  const [, x0, y0] = lastOf(track.path);
  for (let attempt = 0; attempt < 12; attempt += 1) {
    const path = [[ms, x0, y0]];
    const visited = [nearest(x0, y0)];
    const speed = rng.uniform(SPEED[0], SPEED[1]);
    const legs = 1 + rng.below(2);
    for (let i = 0; i < legs; i += 1) {
      const place = rng.pick(PLACE_NAMES);
      const [x, y] = rest(rng, place);
      if (visited.includes(place)) break;
      const [lastMs, lastX, lastY] = lastOf(path);
      const dx = x - lastX;
      const dy = y - lastY;
      path.push([lastMs + Math.trunc((Math.sqrt(dx * dx + dy * dy) * 1000) / speed), x, y]);
      visited.push(place);
    }
    if (path.length < 2 || used.has(lastOf(visited))) continue;
    const stop = lastOf(path)[0];
    if (end - MIN_GAP_MS < stop && stop < end) continue;
    if (stops.some((other) => Math.abs(stop - other) < MIN_GAP_MS)) continue;
    if (clear(path, track.size, others, ms)) return path;
  }
  return null;
}

function sceneStartMs(seed, index) {
  if (index === 0) return 0;
  return index * SCENE_MS + new Rng(mix(seed, index, 0)).below(SCENE_JITTER_MS);
}

/** Rolls one scene from its first moment to its last. */
class Roller {
  constructor(seed, index) {
    this.rng = new Rng(mix(seed, index, 1));
    this.ms = sceneStartMs(seed, index);
    this.end = sceneStartMs(seed, index + 1);
    this.index = index;
    this.tracks = [];
    this.sign = null;
    this.idents = 0;
    this.steps = [];
  }

  roll() {
    const { rng } = this;
    const tone = rng.below(TONES.length / 2) * 2 + (this.index % 2);
    const background = { tone, tilt: rng.below(TILTS.length), grain: rng.bits() };
    const objects = 1 + rng.below(MAX_OBJECTS);
    for (let i = 0; i < objects; i += 1) this.appear();
    if (rng.below(5) > 1) this.sign = rng.below(10);
    this.note("cut");
    while (this.step());
    return { index: this.index, background, steps: this.steps };
  }

  note(kind) {
    this.steps.push({ ms: this.ms, kind, tracks: [...this.tracks], sign: this.sign });
  }

  step() {
    const { rng } = this;
    const slow = rng.below(10) < 3;
    const gap = slow ? 4000 + rng.below(4000) : MIN_GAP_MS + rng.below(1800);
    const stops = this.tracks.filter((t) => t.path.length > 1).map((t) => lastOf(t.path)[0]);
    const stop = stops.length ? Math.min(...stops) : null;
    let due = this.ms + gap;
    if (stop !== null && due > stop - MIN_GAP_MS) due = stop;
    if (due > this.end - MIN_GAP_MS) return false;
    this.ms = due;
    if (due === stop) {
      const at = this.tracks.findIndex((t) => t.path.length > 1 && lastOf(t.path)[0] === stop);
      this.replace(at, { path: [lastOf(this.tracks[at].path)] });
      this.note("stop");
    } else {
      this.change();
    }
    return true;
  }

  replace(at, fields) {
    this.tracks[at] = { ...this.tracks[at], ...fields };
  }

  change() {
    const pick = this.rng.below(12);
    if (pick < 3 && this.tracks.length < MAX_OBJECTS && this.appear()) {
      this.note("appear");
    } else if (pick >= 3 && pick < 5 && this.tracks.length > 1) {
      this.tracks.splice(this.rng.below(this.tracks.length), 1);
      this.note("leave");
    } else if (pick >= 5 && pick < 7) {
      this.recolor();
    } else if (!(pick >= 7 && pick < 10 && this.start())) {
      this.changeSign();
    }
  }

  appear() {
    const track = newTrack(this.rng, this.tracks, this.ms, this.idents);
    if (track === null) return false;
    this.idents += 1;
    this.tracks.push(track);
    return true;
  }

  recolor() {
    const at = this.rng.below(this.tracks.length);
    const used = this.tracks.map((t) => t.color);
    const free = COLOR_NAMES.filter((color) => !used.includes(color));
    this.replace(at, { color: this.rng.pick(free) });
    this.note("color");
  }

  start() {
    const still = [...this.tracks.keys()].filter((i) => this.tracks[i].path.length === 1);
    if (!still.length) return false;
    const at = this.rng.pick(still);
    const others = this.tracks.filter((_, i) => i !== at);
    const path = newPath(this.rng, this.tracks[at], others, this.ms, this.end);
    if (path === null) return false;
    this.replace(at, { path });
    this.note("start");
    return true;
  }

  changeSign() {
    const old = this.sign;
    if (old !== null && this.rng.below(5) === 0) {
      this.sign = null;
    } else {
      this.sign = this.rng.below(old === null ? 10 : 9);
      if (old !== null && this.sign >= old) this.sign += 1;
    }
    this.note("sign");
  }
}

function placeOf(x, y) {
  const dx = x - 0.5;
  const dy = y - 0.5;
  if (Math.abs(dx) < 0.165 && Math.abs(dy) < 0.165) return "middle";
  if (Math.abs(dx) > Math.abs(dy)) return dx < 0 ? "left" : "right";
  return dy < 0 ? "top" : "bottom";
}

function objectAt(track, ms) {
  const [x, y] = position(track.path, ms);
  const [vx, vy] = velocity(track.path, ms);
  const moving = track.path.length > 1 && ms < lastOf(track.path)[0];
  const { ident, color, shape, size } = track;
  return { ident, color, shape, size, x, y, moving, vx, vy, place: placeOf(x, y) };
}

function milliseconds(seconds) {
  const ms = seconds * 1000;
  const whole = Math.floor(ms + 0.5);
  return Math.abs(ms - whole) < 1e-5 ? whole : ms;
}

/**
 * The world of a seed.
 * @param {number} seed a whole number from 0 to 2**32 - 1
 * @returns {{seed: number, stateAt: (seconds: number) => object}}
 */
export function createWorld(seed) {
  if (!Number.isInteger(seed) || seed < 0 || seed > 0xffffffff) {
    throw new RangeError(`a world's seed is a whole number from 0 to 2**32 - 1, not ${seed}`);
  }
  const rolls = new Map();

  function rolled(index) {
    let roll = rolls.get(index);
    if (roll === undefined) {
      roll = new Roller(seed, index).roll();
      rolls.set(index, roll);
      if (rolls.size > CACHED_SCENES) rolls.delete(rolls.keys().next().value);
    }
    return roll;
  }

  /** What is true at a time: {objects, sign (0-9 or null), background, index of the scene}. */
  function stateAt(seconds) {
    if (!(seconds >= 0 && seconds <= MAX_TIME_S)) {
      throw new RangeError(`a world's time goes from 0 to ${MAX_TIME_S} seconds, not ${seconds}`);
    }
    const ms = milliseconds(seconds);
    let index = Math.floor(ms / SCENE_MS);
    if (ms < sceneStartMs(seed, index)) index -= 1;
    const { steps, background } = rolled(index);
    let at = steps.length - 1;
    while (at > 0 && steps[at].ms > ms) at -= 1;
    const objects = steps[at].tracks.map((track) => objectAt(track, ms));
    return { objects, sign: steps[at].sign, background, index };
  }

  return { seed, stateAt };
}
