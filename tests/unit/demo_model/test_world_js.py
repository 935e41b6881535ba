"""The browser's world is the Python world: the same states, the same look."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from onlooker.demo_model.render import render
from onlooker.demo_model.world import Scene, World
from tests.unit.demo_model.pixels import Pixels, read_color, read_digit, read_shape

MODULE = Path(__file__).parents[3] / "clients" / "web" / "world.js"
SEEDS = (0, 1, 7, 12_345, 2_000_000, 2**32 - 1)
TIMES = (*(round(0.137 + 3.7 * i, 3) for i in range(60)), 0, 3600.5, 36_000, 86_399.9)
WIDTH, HEIGHT = 160, 120

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="node is not installed")

RECORDER = """
class Recorder {
  constructor() { this.calls = []; }
  createImageData(width, height) {
    return { width, height, data: new Uint8ClampedArray(width * height * 4) };
  }
  putImageData(image) { this.calls.push(["put", Array.from(image.data)]); }
  beginPath() { this.path = []; }
  moveTo(x, y) { this.path.push(["to", x, y]); }
  lineTo(x, y) { this.path.push(["to", x, y]); }
  closePath() {}
  arc(x, y, r) { this.path.push(["arc", x, y, r]); }
  rect(x, y, w, h) { this.path.push(["rect", x, y, w, h]); }
  fill() { this.calls.push(["fill", this.fillStyle, this.path]); }
  fillRect(...r) { this.calls.push(["fill", this.fillStyle, [["rect", ...r]]]); }
}
"""


def _node(script: str) -> Any:
    assert NODE is not None
    source = f"import * as world from {json.dumps(MODULE.as_uri())};\n{RECORDER}\n{script}"
    done = subprocess.run(
        [NODE, "--input-type=module", "-"],
        input=source,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _plain(scene: Scene) -> dict[str, Any]:
    names = ("ident", "color", "shape", "size", "x", "y", "moving", "vx", "vy", "place")
    back = scene.background
    return {
        "objects": [{name: getattr(o, name) for name in names} for o in scene.objects],
        "sign": scene.sign,
        "background": {"tone": back.tone, "tilt": back.tilt, "grain": back.grain},
        "index": scene.index,
    }


def test_states_are_the_same_to_the_last_bit() -> None:
    found = _node(f"""
        const all = {json.dumps(SEEDS)}.map((seed) => {{
          const made = world.createWorld(seed);
          return {json.dumps(TIMES)}.map((t) => made.stateAt(t));
        }});
        console.log(JSON.stringify(all));
    """)
    for seed, states in zip(SEEDS, found, strict=True):
        for t, state in zip(TIMES, states, strict=True):
            assert state == _plain(World(seed).state_at(t)), (seed, t)


def _picture(calls: list[Any]) -> Pixels:
    """What the recorded canvas calls paint, four times as large and scaled down."""
    scale = 4
    image = Image.new("RGB", (1, 1))
    for call in calls:
        if call[0] == "put":
            pixels = np.array(call[1], np.uint8).reshape(HEIGHT, WIDTH, 4)[:, :, :3]
            image = Image.fromarray(pixels).resize((WIDTH * scale, HEIGHT * scale), 0)
            continue
        red, green, blue = (int(n) for n in re.findall(r"\d+", call[1]))
        pen = ImageDraw.Draw(image)
        points = [(x * scale, y * scale) for op, x, y, *_ in call[2] if op == "to"]
        if points:
            pen.polygon(points, fill=(red, green, blue))
        for op, x, y, *rest in call[2]:
            if op == "arc":
                (r,) = rest
                box = [(x - r) * scale, (y - r) * scale, (x + r) * scale, (y + r) * scale]
                pen.ellipse(box, fill=(red, green, blue))
            elif op == "rect":
                w, h = rest
                box = [x * scale, y * scale, (x + w) * scale - 1, (y + h) * scale - 1]
                pen.rectangle(box, fill=(red, green, blue))
    return np.asarray(image.resize((WIDTH, HEIGHT), Image.Resampling.BOX))


def test_the_look_is_the_same() -> None:
    times = [7.3 * i for i in range(24)]
    found = _node(f"""
        const made = world.createWorld(5);
        const all = {json.dumps(times)}.map((t) => {{
          const canvas = new Recorder();
          world.draw(canvas, made.stateAt(t), {WIDTH}, {HEIGHT});
          return canvas.calls;
        }});
        console.log(JSON.stringify(all));
    """)
    shapes = set()
    for t, calls in zip(times, found, strict=True):
        scene = World(5).state_at(t)
        painted, drawn = _picture(calls), render(scene, WIDTH, HEIGHT)
        assert np.abs(painted.astype(int) - drawn.astype(int)).mean() < 1.5
        assert read_digit(painted) == scene.sign
        for o in scene.objects:
            shapes.add(o.shape)
            assert (read_color(painted, o), read_shape(painted, o)) == (o.color, o.shape)
    assert len(shapes) == 5


def test_bad_input_is_refused_and_truth_is_told() -> None:
    found = _node("""
        const told = (act) => { try { return act(); } catch (error) { return error.message; } };
        console.log(JSON.stringify([
          told(() => world.createWorld(-1)), told(() => world.createWorld(1.5)),
          told(() => world.createWorld(1).stateAt(-1)),
          told(() => world.createWorld(1).stateAt(NaN)),
          world.describe(world.createWorld(5).stateAt(1)),
        ]));
    """)
    assert "from 0 to 2**32 - 1, not -1" in found[0]
    assert "not 1.5" in found[1]
    assert "from 0 to 10000000 seconds, not -1" in found[2]
    assert "not NaN" in found[3]
    scene = World(5).state_at(1)
    assert all(f"{o.color} {o.shape}" in found[4] for o in scene.objects)
    assert ("no sign" if scene.sign is None else f"sign shows {scene.sign}") in found[4]
