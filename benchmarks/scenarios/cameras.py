"""Which of eight cameras it is: one question to all of them, against what their worlds showed.

Each camera shows a held-out drawn world of its own. All are fed in step on the virtual clock; every
few seconds three things are asked of all together (`POST /v1/questions`): which camera sees
something that one of them shows now, which has seen something that one of them showed before, and
which sees something that none shows.

Not shown: real video, and questions that compare cameras.
"""

import argparse
import random
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from onlooker.benchmarks.lone_server import LoneServer
from onlooker.benchmarks.report import rows
from onlooker.core.jpeg import encode_jpeg
from onlooker.demo_model.history import HELD_OUT_SEED
from onlooker.demo_model.phrases import a
from onlooker.demo_model.render import render
from onlooker.demo_model.table import COLORS, SHAPES
from onlooker.demo_model.things import Kind
from onlooker.demo_model.world import World

FORMS = ("now", "before", "nowhere")
FPS = 2
SIZE = 144
BOOT_S = 600.0
ANSWER_S = 300.0
STEP_S = 5.0
"""Between two rounds of questions."""
CLEAR_FRAMES = 2
"""For so many frames in a row something must be there to have been shown."""


@dataclass(slots=True)
class DrawnCamera:
    """One camera, and what it has shown so far."""

    stream: str
    world: World
    shown: list[frozenset[Kind]] = field(default_factory=list)
    """The kinds of objects in each frame."""

    @property
    def now(self) -> frozenset[Kind]:
        """What has been there for the last frames."""
        return frozenset.intersection(*self.shown[-CLEAR_FRAMES:])

    @property
    def ever(self) -> frozenset[Kind]:
        """What was there for a moment at least, at any time."""
        return frozenset[Kind]().union(*self.shown)

    @property
    def clearly(self) -> frozenset[Kind]:
        """What was there for so many frames in a row, at any time."""
        runs = zip(self.shown, self.shown[1:], strict=False)
        return frozenset[Kind]().union(*(before & after for before, after in runs))


@dataclass(slots=True)
class CameraScore:
    """How the questions of one form were answered."""

    asked: int = 0
    right: int = 0
    """The camera that is named first is the right one; or none is named where there is none."""
    alone: int = 0
    """And no other camera is named beside it."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of this scenario."""
    parser.add_argument("--cameras", type=int, default=8, help="(cameras) [8]")
    parser.add_argument("--rounds", type=int, default=12, help="of questions (cameras) [12]")


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Ask a server of its own."""
    with tempfile.TemporaryDirectory(prefix="cameras") as folder:
        server = LoneServer(
            Path(folder),
            settings=lambda place: {"cache_store.disk.path": place / "disk"},
            arguments=("--model", options.model),
            boot_s=BOOT_S,
        )
        await server.start()
        try:
            async with httpx.AsyncClient(base_url=server.base, timeout=ANSWER_S) as http:
                return await ask_cameras(
                    http, seed=options.seed, num_cameras=options.cameras, rounds=options.rounds
                )
        finally:
            await server.stop()


async def ask_cameras(
    http: httpx.AsyncClient, *, seed: int, num_cameras: int = 8, rounds: int = 12
) -> dict[str, Any]:
    """Feed cameras of a running server and ask them. `right_camera` is the share of questions about
    something that one camera showed in which that camera is named first."""
    cameras = [
        DrawnCamera(f"camera-{index}", World(HELD_OUT_SEED + 100 * seed + index))
        for index in range(num_cameras)
    ]
    for camera in cameras:
        body = {"id": camera.stream, "clock": "virtual", "labels": ["drawn"]}
        (await http.post("/v1/streams", json=body)).raise_for_status()
    chance = random.Random(seed)
    scores = {form: CameraScore() for form in FORMS}
    missed: list[str] = []
    for number in range(1, rounds + 1):
        for camera in cameras:
            await _feed(http, camera, until_s=number * STEP_S)
        for form in FORMS:
            wanted = pick_question(form, cameras, chance)
            if wanted is None:
                continue
            kind, stream = wanted
            does = "has seen" if form == "before" else "sees"
            question = f"Which camera {does} {a(' '.join(kind))}?"
            asked = {"question": question, "labels": ["drawn"], "deadline_s": ANSWER_S / 2}
            reply = await http.post("/v1/questions", json=asked)
            reply.raise_for_status()
            named = [one["stream"] for one in reply.json()["cameras"]]
            mark_answer(scores[form], named, stream)
            if named[:1] != ([] if stream is None else [stream]):
                missed.append(f"{number * STEP_S:g} s: {question} {stream}, not {named}")
        print(f"  {number}: {_told(scores)}", flush=True)
    about = [scores["now"], scores["before"]]
    asked_all = sum(one.asked for one in about)
    return {
        "cameras": num_cameras,
        "right_camera": sum(one.right for one in about) / asked_all if asked_all else None,
        "forms": {
            form: {"asked": one.asked, "right": one.right, "alone": one.alone}
            for form, one in scores.items()
        },
        "missed": missed,
    }


def table(figures: dict[str, Any]) -> str:
    """The figures as text."""
    lines = [
        [form, one["right"], one["alone"], one["asked"]] for form, one in figures["forms"].items()
    ]
    told = rows(["what is asked for is shown", "right camera", "no other", "of"], lines)
    share = figures["right_camera"]
    return f"{figures['cameras']} cameras, right camera {share:.3f}\n{told}"


async def _feed(http: httpx.AsyncClient, camera: DrawnCamera, *, until_s: float) -> None:
    while (at_s := len(camera.shown) / FPS) < until_s:
        scene = camera.world.state_at(at_s)
        camera.shown.append(frozenset(thing.kind for thing in scene.objects))
        reply = await http.post(
            f"/v1/streams/{camera.stream}/frames?t={at_s}",
            content=encode_jpeg(render(scene, SIZE, SIZE)),
            headers={"content-type": "image/jpeg"},
        )
        reply.raise_for_status()


def pick_question(
    form: str, cameras: Sequence[DrawnCamera], chance: random.Random
) -> tuple[Kind, str | None] | None:
    """A kind of object, and the one camera that has it; None for the camera where none has."""
    now = Counter(kind for camera in cameras for kind in camera.shown[-1])
    ever = Counter(kind for camera in cameras for kind in camera.ever)
    pairs: list[tuple[Kind, str | None]] = []
    if form == "nowhere":
        pairs = [((c, s), None) for c in COLORS for s in SHAPES if not ever[(c, s)]]
        pairs = pairs or [((c, s), None) for c in COLORS for s in SHAPES if not now[(c, s)]]
    for camera in cameras:
        if form == "now":
            pairs += [(kind, camera.stream) for kind in sorted(camera.now) if now[kind] == 1]
        elif form == "before":
            gone = camera.clearly - camera.shown[-1]
            pairs += [(kind, camera.stream) for kind in sorted(gone) if ever[kind] == 1]
    return chance.choice(pairs) if pairs else None


def mark_answer(score: CameraScore, named: Sequence[str], stream: str | None) -> None:
    """Count an answer that names these cameras, surest first; `stream`: the right one, None where
    there is none."""
    wanted = [] if stream is None else [stream]
    score.asked += 1
    score.right += list(named[:1]) == wanted
    score.alone += list(named) == wanted


def _told(scores: Mapping[str, CameraScore]) -> str:
    return ", ".join(f"{form} {one.right}/{one.asked}" for form, one in scores.items())
