"""A server as a model of lmms-eval: what it is shown and asked, and what comes back.

The library is not installed here; a class in its place has what models get of it.
"""

import asyncio
import importlib
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from onlooker.benchmarks.adapters.own_items import VIDEO, ColourEngine, write_own_video
from onlooker.clients.lmms import models
from onlooker.core.errors import NotFound
from onlooker.engine.interface import Question
from tests.fakes.served import serving

ROOT = Path(__file__).resolve().parents[3]
OPTIONS = "Which one is it now?\nA. red\nB. blue\nC. green"


class Lmms:
    """What a model inherits of the library."""

    def __init__(self) -> None:
        self.task_dict: dict[str, Any] = {}


@pytest.fixture
def make_model(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Makes a model as the library does: by the plug-in's list of models."""
    stub = ModuleType("lmms_eval.api.model")
    stub.lmms = Lmms  # type: ignore[attr-defined]  # a module in the place of another
    for name in ("lmms_eval", "lmms_eval.api"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "lmms_eval.api.model", stub)
    ((name, kind),) = models.AVAILABLE_MODELS.items()
    path = f"{models.__name__}.{name}"
    yield getattr(importlib.import_module(path), kind)
    sys.modules.pop(path, None)


@dataclass
class ModelManifest:
    """How the library is told of a model."""

    model_id: str
    simple_class_path: str | None = None


def test_the_package_names_the_model_by_an_entry_point(
    make_model: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    stub = ModuleType("lmms_eval.models.registry_v2")
    stub.ModelManifest = ModelManifest  # type: ignore[attr-defined]  # as above
    monkeypatch.setitem(sys.modules, "lmms_eval.models", ModuleType("lmms_eval.models"))
    monkeypatch.setitem(sys.modules, "lmms_eval.models.registry_v2", stub)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module, function = project["entry-points"]["lmms_eval.models"]["onlooker"].split(":")
    (told,) = getattr(importlib.import_module(module), function)()
    sys.modules.pop(module, None)
    assert told.model_id == "onlooker"
    path, kind = told.simple_class_path.rsplit(".", 1)
    assert getattr(importlib.import_module(path), kind) is make_model


class Noting(ColourEngine):
    """Keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Question] = []

    def _reply(self, question: Question, visible: list[Any]) -> str:
        self.asked.append(question)
        return super()._reply(question, visible)


def request(text: str, item: int, **options: Any) -> SimpleNamespace:
    """One of the library's instances: about the visuals of an item of the task ``ours``."""
    args = (text, options, lambda document: document["visuals"], item, "ours", "test")
    return SimpleNamespace(args=args)


def with_items(model: Any, *visuals: list[Any] | None) -> Any:
    model.task_dict = {"ours": {"test": [{"visuals": some} for some in visuals]}}
    return model


async def test_items_are_answered_in_their_order_and_a_video_is_shown_once(
    make_model: Callable[..., Any], tmp_path: Path
) -> None:
    write_own_video(tmp_path)
    video, engine = str(tmp_path / VIDEO), Noting()
    async with serving(engine=engine) as served:
        model = with_items(make_model(server=served.base, fps=1), [video], [video])
        requests = [
            request(OPTIONS, 0, max_new_tokens=16),
            request("What is it?", 1, max_new_tokens=100_000, until=[", after"]),
        ]
        replies = await asyncio.to_thread(model.generate_until, requests)
    assert replies == ["Answer: C", "It is green now"]
    assert len({question.stream_id for question in engine.asked}) == 1
    assert [question.text for question in engine.asked] == [OPTIONS, "What is it?"]
    assert all(not question.dialogue for question in engine.asked)
    assert [question.max_tokens for question in engine.asked] == [16, 1024]


async def test_pictures_go_along_with_their_question(
    make_model: Callable[..., Any], tmp_path: Path
) -> None:
    picture = Image.new("RGBA", (64, 48), (200, 0, 0, 255))
    picture.save(tmp_path / "red.png")
    engine = Noting()
    async with serving(engine=engine) as served:
        visuals = [picture, str(tmp_path / "red.png")]
        model = with_items(make_model(server=served.base), visuals, None)
        requests = [request("What is shown?", 0), request("What is two and two?", 1)]
        await asyncio.to_thread(model.generate_until, requests)
    by_text = {question.text: len(question.images) for question in engine.asked}
    assert by_text == {"What is shown?": 2, "What is two and two?": 0}


async def test_an_item_whose_video_is_missing_is_empty_and_the_others_are_answered(
    make_model: Callable[..., Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_own_video(tmp_path)
    async with serving(engine=ColourEngine()) as served:
        visuals = [str(tmp_path / "gone.mp4")], [str(tmp_path / VIDEO)]
        model = with_items(make_model(server=served.base, fps=1), *visuals)
        requests = [request(OPTIONS, 0), request(OPTIONS, 1)]
        assert await asyncio.to_thread(model.generate_until, requests) == ["", "Answer: C"]
        assert "gone.mp4" in caplog.text
        with pytest.raises(NotFound, match=r"gone\.mp4"):
            await asyncio.to_thread(model.generate_until, requests[:1])


def test_what_a_server_does_not_do_is_said(make_model: Callable[..., Any]) -> None:
    model = make_model(batch_size=1, device="cpu")
    with pytest.raises(NotImplementedError, match="generate_until"):
        model.loglikelihood([])
    with pytest.raises(NotImplementedError, match="other tasks"):
        model.generate_until_multi_round([])
