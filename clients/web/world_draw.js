// Draws a scene of the drawn world on a canvas, and tells it in words.

import {
  COLORS, SIZES, SIGN_WIDTH, SIGN_HEIGHT, SIGN_MARGIN, TONES, TILTS, GRADIENT, GRAIN,
  GRAIN_CELLS, STAR_INNER, SQUARE_HALF, TRIANGLE_OUTER, TRIANGLE_DOWN, STAR_OUTER, CROSS_ARM,
  PLATE, INK, GLYPHS, Rng,
} from "./world_table.js";

const css = ([r, g, b]) => `rgb(${r}, ${g}, ${b})`;
const backgrounds = new Map();
const CACHED_BACKGROUNDS = 4;

function backgroundPixels(ctx, { tone, tilt, grain }, width, height) {
  const key = `${tone} ${tilt} ${grain} ${width} ${height}`;
  let image = backgrounds.get(key);
  if (image !== undefined) return image;
  image = ctx.createImageData(width, height);
  const rng = new Rng(grain);
  const cells = Array.from({ length: GRAIN_CELLS * GRAIN_CELLS }, () => rng.uniform(-GRAIN, GRAIN));
  const [tiltX, tiltY] = TILTS[tilt];
  const [r, g, b] = TONES[tone];
  const { data } = image; // a Uint8ClampedArray rounds and clips by itself
  for (let row = 0, at = 0; row < height; row += 1) {
    const y = (row + 0.5) / height;
    const cellY = Math.min(Math.floor(y * (GRAIN_CELLS - 1)), GRAIN_CELLS - 2);
    const down = y * (GRAIN_CELLS - 1) - cellY;
    for (let column = 0; column < width; column += 1, at += 4) {
      const x = (column + 0.5) / width;
      const cellX = Math.min(Math.floor(x * (GRAIN_CELLS - 1)), GRAIN_CELLS - 2);
      const across = x * (GRAIN_CELLS - 1) - cellX;
      const corner = cellY * GRAIN_CELLS + cellX;
      const above = cells[corner] * (1 - across) + cells[corner + 1] * across;
      const under = corner + GRAIN_CELLS;
      const below = cells[under] * (1 - across) + cells[under + 1] * across;
      const slope = GRADIENT * (tiltX * (x - 0.5) + tiltY * (y - 0.5));
      const level = slope + above * (1 - down) + below * down;
      data[at] = r + level;
      data[at + 1] = g + level;
      data[at + 2] = b + level;
      data[at + 3] = 255;
    }
  }
  backgrounds.set(key, image);
  if (backgrounds.size > CACHED_BACKGROUNDS) backgrounds.delete(backgrounds.keys().next().value);
  return image;
}

/** Corner points of a shape of radius 1 around (0, 0), y down; null for the circle. */
function corners(shape) {
  const ring = (count, radius) =>
    Array.from({ length: count }, (_, k) => {
      const angle = ((2 * k) / count - 0.5) * Math.PI;
      const r = radius(k);
      return [r * Math.cos(angle), r * Math.sin(angle)];
    });
  const h = SQUARE_HALF;
  const a = CROSS_ARM;
  switch (shape) {
    case "circle":
      return null;
    case "square":
      return [[-h, -h], [h, -h], [h, h], [-h, h]];
    case "triangle":
      return ring(3, () => TRIANGLE_OUTER).map(([x, y]) => [x, y + TRIANGLE_DOWN]);
    case "star":
      return ring(10, (k) => (k % 2 ? STAR_OUTER * STAR_INNER : STAR_OUTER));
    default:
      return [
        [-a, -1], [a, -1], [a, -a], [1, -a], [1, a], [a, a],
        [a, 1], [-a, 1], [-a, a], [-1, a], [-1, -a], [-a, -a],
      ];
  }
}

function drawObject(ctx, { color, shape, size, x, y }, width, height) {
  const radius = SIZES[size] * Math.min(width, height);
  const points = corners(shape);
  ctx.fillStyle = css(COLORS[color]);
  ctx.beginPath();
  if (points === null) {
    ctx.arc(x * width, y * height, radius, 0, 2 * Math.PI);
  } else {
    points.forEach(([u, v], i) => {
      const to = [x * width + u * radius, y * height + v * radius];
      if (i) ctx.lineTo(...to);
      else ctx.moveTo(...to);
    });
    ctx.closePath();
  }
  ctx.fill();
}

function drawSign(ctx, digit, width, height) {
  const unit = Math.min(width, height);
  const left = width - (SIGN_MARGIN + SIGN_WIDTH) * unit;
  const top = SIGN_MARGIN * unit;
  ctx.fillStyle = css(PLATE);
  ctx.fillRect(left, top, SIGN_WIDTH * unit, SIGN_HEIGHT * unit);
  const cellX = (SIGN_WIDTH * unit) / 7;
  const cellY = (SIGN_HEIGHT * unit) / 9;
  ctx.fillStyle = css(INK);
  ctx.beginPath(); // one path, so that no seams show between cells
  GLYPHS[digit].forEach((line, row) => {
    for (let column = 0; column < line.length; column += 1) {
      if (line[column] !== "#") continue;
      ctx.rect(left + (column + 1) * cellX, top + (row + 1) * cellY, cellX, cellY);
    }
  });
  ctx.fill();
}

/**
 * Draws a scene over the whole canvas.
 * @param {CanvasRenderingContext2D} ctx without a transform
 */
export function draw(ctx, scene, width, height) {
  ctx.putImageData(backgroundPixels(ctx, scene.background, width, height), 0, 0);
  for (const object of scene.objects) drawObject(ctx, object, width, height);
  if (scene.sign !== null) drawSign(ctx, scene.sign, width, height);
}

const PLACE_PHRASES = {
  left: "on the left", right: "on the right", top: "at the top", bottom: "at the bottom",
  middle: "in the middle",
};

/** The truth in words: "a red circle on the left, a blue star (moving); the sign shows 7". */
export function describe(scene) {
  const objects = scene.objects.map(({ color, shape, moving, place }) => {
    const article = color === "orange" ? "an" : "a";
    return `${article} ${color} ${shape} ${moving ? "(moving)" : PLACE_PHRASES[place]}`;
  });
  const sign = scene.sign === null ? "there is no sign" : `the sign shows ${scene.sign}`;
  return `${objects.join(", ")}; ${sign}`;
}
