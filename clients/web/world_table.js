// What the drawn world is made of, and its random numbers (demo_model/table.py has the same).

export const COLORS = Object.freeze({
  red: [215, 30, 40],
  green: [35, 165, 60],
  blue: [35, 80, 225],
  yellow: [240, 215, 40],
  purple: [145, 50, 190],
  orange: [245, 125, 20],
});
export const SHAPES = Object.freeze(["circle", "square", "triangle", "star", "cross"]);
export const SIZES = Object.freeze({ small: 0.125, large: 0.165 });
export const PLACES = Object.freeze({
  left: [0.17, 0.5],
  right: [0.83, 0.5],
  top: [0.5, 0.17],
  bottom: [0.5, 0.83],
  middle: [0.5, 0.5],
});

export const COLOR_NAMES = Object.keys(COLORS);
export const PLACE_NAMES = Object.keys(PLACES);
export const MAX_OBJECTS = 3;
export const JITTER = 0.02;
export const SIGN_WIDTH = 0.275;
export const SIGN_HEIGHT = 0.3;
export const SIGN_MARGIN = 0.015;
export const TONES = [
  [58, 60, 66], [188, 186, 180], [72, 66, 60], [170, 178, 186], [52, 62, 60],
  [196, 188, 172], [66, 58, 68], [176, 186, 174], [44, 46, 52], [204, 202, 204],
];
export const TILTS = [
  [1.0, 0.0], [0.7, 0.7], [0.0, 1.0], [-0.7, 0.7],
  [-1.0, 0.0], [-0.7, -0.7], [0.0, -1.0], [0.7, -0.7],
];
export const GRADIENT = 26;
export const GRAIN = 7;
export const GRAIN_CELLS = 9;
export const STAR_INNER = 0.46;
export const SQUARE_HALF = 0.86;
export const TRIANGLE_OUTER = 1.18;
export const TRIANGLE_DOWN = 0.12;
export const STAR_OUTER = 1.14;
export const CROSS_ARM = 0.36;
export const PLATE = [246, 246, 242];
export const INK = [16, 16, 20];
export const GLYPHS = [
  [" ### ", "#   #", "#   #", "#   #", "#   #", "#   #", " ### "],
  ["  #  ", " ##  ", "# #  ", "  #  ", "  #  ", "  #  ", "#####"],
  [" ### ", "#   #", "    #", "   # ", "  #  ", " #   ", "#####"],
  ["#### ", "    #", "    #", " ### ", "    #", "    #", "#### "],
  ["#  # ", "#  # ", "#  # ", "#####", "   # ", "   # ", "   # "],
  ["#####", "#    ", "#    ", "#### ", "    #", "    #", "#### "],
  [" ### ", "#    ", "#    ", "#### ", "#   #", "#   #", " ### "],
  ["#####", "    #", "   # ", "   # ", "  #  ", "  #  ", "  #  "],
  [" ### ", "#   #", "#   #", " ### ", "#   #", "#   #", " ### "],
  [" ### ", "#   #", "#   #", " ####", "    #", "    #", " ### "],
];
export const SCENE_MS = 24_000;
export const SCENE_JITTER_MS = 9_000;
export const MIN_GAP_MS = 1_200;
export const SPEED = [0.12, 0.19];

// ---- random numbers: 32 bits a step ----

export function fmix(value) {
  value ^= value >>> 16;
  value = Math.imul(value, 0x85ebca6b);
  value ^= value >>> 13;
  value = Math.imul(value, 0xc2b2ae35);
  return (value ^ (value >>> 16)) >>> 0;
}

export function mix(...parts) {
  let value = 0x9e3779b9;
  for (const part of parts) {
    value = (Math.imul(fmix((value ^ part) >>> 0), 5) + 0x3c6ef372) >>> 0;
  }
  return fmix(value);
}

export class Rng {
  #state;

  constructor(seed) {
    this.#state = seed >>> 0;
  }

  bits() {
    this.#state = (this.#state + 0x9e3779b9) >>> 0;
    return fmix(this.#state);
  }

  below(n) {
    return Math.floor((this.bits() * n) / 4294967296);
  }

  uniform(low, high) {
    return low + (high - low) * (this.bits() / 4294967296);
  }

  pick(options) {
    return options[this.below(options.length)];
  }
}
