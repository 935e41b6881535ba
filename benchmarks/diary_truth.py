"""What a virtual hour of the drawn world showed, and whether what a diary says of it is so."""

import re

from onlooker.benchmarks.hour import Hour
from onlooker.cache_store.diary import DiaryEntry
from onlooker.demo_model.changes import sentence
from onlooker.demo_model.table import COLORS, SHAPES
from onlooker.demo_model.things import Kind, name
from onlooker.demo_model.view import differences
from onlooker.streams.diary.scene_gate import unnamed


def comings_of(hour: Hour, kind: Kind) -> list[float]:
    """The stamps of the clips from which on a kind is to be seen."""
    shown = hour.view.shown
    return [
        float(index)
        for index in range(len(shown))
        if kind in shown[index] and (index == 0 or kind not in shown[index - 1])
    ]


def last_seen_s(hour: Hour, kind: Kind) -> float | None:
    """The stamp of the last clip that shows a kind; None where none does."""
    found = [index for index, kinds in enumerate(hour.view.shown) if kind in kinds]
    return float(found[-1]) if found else None


def is_true(hour: Hour, text: str, entry: DiaryEntry) -> bool:
    """Whether every sentence of an entry is so at its clip."""
    at = int(entry.start_s)
    view = hour.view
    now = {name(kind) for kind in view.shown[at]}
    before = {name(kind) for kind in view.shown[at - 1]} if at else set[str]()
    changed = set[str]()
    if at:
        changed = {sentence(one) for one in differences(view.last(at - 1), view.last(at))}
    text, hints = _without_hints(text)
    if hints - {kind[0] for kind in view.shown[at] - (view.shown[at - 1] if at else set())}:
        return False
    listed = _listed(text)
    if listed is not None:
        return listed == now
    for one in re.findall(r"[^.]+\.", text):
        said = one.strip()
        come = re.fullmatch(r"An? (\w+ \w+) appeared\.", said)
        gone = re.fullmatch(r"The (\w+ \w+) left\.", said)
        is_so = said in changed
        is_so = is_so or (come is not None and come[1] in now - before)
        is_so = is_so or (gone is not None and gone[1] in before - now)
        if not is_so:
            return False
    return True


def _without_hints(text: str) -> tuple[str, set[str]]:
    """What the model said, and the colours of which the diary says that something came."""
    hint = unnamed(r"(\w+)")
    return re.sub(rf"(?:\. )?{hint}", "", text), set(re.findall(hint, text))


def _listed(text: str) -> set[str] | None:
    """The kinds that a sentence lists, as "A red star and a blue cross"; None where it is none."""
    if text.endswith("."):
        return None
    found = re.findall(rf"\b(?:{'|'.join(COLORS)}) (?:{'|'.join(SHAPES)})\b", text)
    return set(found)
