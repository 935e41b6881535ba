"""The truth of drawn questions: recomputed from the frames, by reading the question's own words."""

from __future__ import annotations

import itertools
import random
import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onlooker.demo_model.answers import NUMBER_WORDS
from onlooker.demo_model.outside import HELD_OUT, OUTSIDE_WORDS, TAUGHT
from onlooker.demo_model.phrases import PHRASES, PLACE_PHRASES
from onlooker.demo_model.questions import (
    CANNOT_TELL,
    FAMILIES,
    SILENCE,
    DrawnClip,
    DrawnQuestion,
    View,
    ask,
    ask_view,
    branches,
    clip_at,
    correct,
    normalize,
    spoken_time,
    vocabulary,
)
from onlooker.demo_model.table import COLORS, SHAPES
from onlooker.demo_model.view import differences
from onlooker.demo_model.world import Obj, Scene, World

COLOR = "|".join(COLORS)
SHAPE = "|".join(SHAPES)


@st.composite
def views(draw: st.DrawFn) -> tuple[View, random.Random]:
    """A run of clips of some world, at some hour, at some spacing, perhaps with holes."""
    rng = random.Random(draw(st.integers(0, 10**9)))
    start = draw(st.sampled_from([0.3, 0.5])) + draw(st.integers(0, 36_000))
    spacing = draw(st.sampled_from([0.5, 1.0, 1.0, 2.0]))
    count = draw(st.integers(2, 40))
    clips = [clip_at(start + spacing * i) for i in range(count)]
    if draw(st.booleans()):
        clips = [c for c in clips if rng.random() < 0.6] or clips[:1]
    return View(World(draw(st.integers(0, 10**6))), clips), rng


def _asked(view: View, rng: random.Random, family: str) -> DrawnQuestion | None:
    question = ask_view(view, rng, family)
    if question is not None:
        assert question.family == family
        assert correct(question, question.answer)
        assert all(0 <= i < len(view) for i in question.evidence)
    return question


def _fits(words: str, o: Obj) -> bool:
    """Whether a name in a question fits an object."""
    color = re.search(rf"\b({COLOR})\b", words)
    # In "which shape was the orange shape" the noun says nothing; only the five names do.
    shape = re.search(rf"\b({SHAPE})(?:s|es)?\b", words)
    place = next((p for p, phrase in PLACE_PHRASES.items() if phrase in words), None)
    return (
        (color is None or o.color == color.group(1))
        and (shape is None or o.shape == shape.group(1))
        and (place is None or o.place == place)
    )


def _named_frames(view: View, text: str) -> list[Scene]:
    """The frames of the moment that a question names; of the newest clip when it names none."""
    found = re.search(r"(\d+(?:\.\d)?) seconds", text)
    if found is None:
        return list(view.scenes[-1])
    if "." in found.group(1):
        clips = [i for i, stamp in enumerate(view.stamps) if f"{stamp:.1f}" == found.group(1)]
    else:
        clips = [i for i, stamp in enumerate(view.stamps) if int(stamp) == int(found.group(1))]
    assert clips
    return [scene for i in clips for scene in view.scenes[i]]


@pytest.mark.parametrize("prop", ["color", "shape", "place"])
@pytest.mark.parametrize("when", ["now", "at_time"])
@given(views())
@settings(max_examples=60)
def test_properties(prop: str, when: str, made: tuple[View, random.Random]) -> None:
    question = _asked(*made, f"{when}_{prop}")
    if question is None:
        return
    text = question.text.lower()
    if any(p in text for p in PLACE_PHRASES.values()) and prop == "place":
        return  # "what is on the left": checked below
    for scene in _named_frames(made[0], text):
        found = [o for o in scene.objects if _fits(text, o)]
        if question.answer.startswith("there is no"):
            assert not found
            continue
        assert len(found) == 1
        assert str(getattr(found[0], prop)) in question.answer.split()
        assert not (found[0].moving and prop == "place")


@given(views())
@settings(max_examples=60)
def test_what_is_at_a_place(made: tuple[View, random.Random]) -> None:
    view, rng = made
    question = _asked(view, rng, "now_place")
    place = next((p for p, s in PLACE_PHRASES.items() if question and s in question.text), None)
    if question is None or place is None:
        return
    for scene in view.scenes[-1]:
        there = [f"{o.color} {o.shape}" for o in scene.objects if o.place == place]
        assert normalize(question.answer) == (there[0] if there else "none")


@pytest.mark.parametrize("family", ["now_count", "at_time_count", "now_digit", "at_time_digit"])
@given(views())
@settings(max_examples=60)
def test_counts_and_digits(family: str, made: tuple[View, random.Random]) -> None:
    question = _asked(*made, family)
    if question is None:
        return
    for scene in _named_frames(made[0], question.text):
        if "digit" in family:
            assert question.answer == (
                "there is no sign" if scene.sign is None else str(scene.sign)
            )
        else:
            count = sum(_fits(question.text, o) for o in scene.objects)
            assert question.answer == NUMBER_WORDS[count]


@given(views())
@settings(max_examples=60)
def test_lists_hold_everything_in_any_order(made: tuple[View, random.Random]) -> None:
    question = _asked(*made, "now_list")
    if question is None:
        return
    names = {f"{o.color} {o.shape}" for o in made[0].last(-1).objects}
    for answer in question.all_accepted:
        assert set(re.findall(rf"(?:{COLOR}) (?:{SHAPE})", answer)) == names


@given(views())
@settings(max_examples=60)
def test_moving_is_asked_only_where_it_shows(made: tuple[View, random.Random]) -> None:
    question = _asked(*made, "now_moving")
    if question is None:
        return
    first, last = made[0].scenes[-1][0], made[0].scenes[-1][-1]
    moved = {
        b.ident: max(abs(a.x - b.x), abs(a.y - b.y))
        for a, b in itertools.product(first.objects, last.objects)
        if a.ident == b.ident
    }
    assert all(way < 0.005 or way > 0.03 for way in moved.values())
    if question.answer in ("yes", "no"):
        found = [o for o in last.objects if _fits(question.text, o)]
        assert (moved[found[0].ident] > 0.03) == (question.answer == "yes")


def _clips_with(view: View, text: str) -> list[int]:
    """Clips in which a frame shows what a question about things or digits names."""
    digit = re.search(r"\b(\d)\b", text)
    return [
        i
        for i, scenes in enumerate(view.scenes)
        if any(
            s.sign == int(digit.group(1)) if digit else any(_fits(text, o) for o in s.objects)
            for s in scenes
        )
    ]


@pytest.mark.parametrize(("family", "which"), [("first_seen", 0), ("last_seen", -1)])
@given(views())
@settings(max_examples=60)
def test_first_and_last(family: str, which: int, made: tuple[View, random.Random]) -> None:
    view, rng = made
    question = _asked(view, rng, family)
    if question is None:
        return
    clips = _clips_with(view, question.text)
    if question.answer == "never":
        assert clips == []
    else:
        assert question.evidence == (clips[which],)
        assert question.answer == f"at {int(view.stamps[clips[which]])} seconds"


@given(views())
@settings(max_examples=100)
def test_ever(made: tuple[View, random.Random]) -> None:
    view, rng = made
    question = _asked(view, rng, "ever")
    if question is not None:
        clips = _clips_with(view, question.text)
        assert (question.answer == "yes") == bool(clips)
        assert question.evidence == tuple(clips)


@given(views())
@settings(max_examples=100)
def test_when_it_appeared(made: tuple[View, random.Random]) -> None:
    view, rng = made
    question = _asked(view, rng, "when_appeared")
    if question is None:
        return
    clips = _clips_with(view, question.text)
    assert clips[0] == question.evidence[0] > 0
    assert clips == list(range(clips[0], clips[0] + len(clips))), "it came in only once"
    assert view.stamps[clips[0]] - view.stamps[clips[0] - 1] <= 2.1


@given(views())
@settings(max_examples=100)
def test_when_it_changed(made: tuple[View, random.Random]) -> None:
    view, rng = made
    question = _asked(view, rng, "when_changed")
    if question is None:
        return
    at = question.evidence[0]
    old, new = view.last(at - 1), view.last(at)
    digit = re.search(r"\b(\d)\b", question.text)
    kind = re.search(rf"\b({COLOR}) ({SHAPE})\b", question.text)
    if digit:
        assert new.sign == int(digit.group(1)) != old.sign
    elif kind:
        assert all(o.kind != kind.groups() for s in view.scenes[at] for o in s.objects)
        assert any(o.kind == kind.groups() for s in view.scenes[at - 1] for o in s.objects)
    else:
        assert old.index != new.index


@given(views())
@settings(max_examples=80)
def test_how_many(made: tuple[View, random.Random]) -> None:
    view, rng = made
    question = _asked(view, rng, "how_many_so_far")
    if question is not None:
        objects = [o for scenes in view.scenes for s in scenes for o in s.objects]
        text = question.text.lower().replace("colour", "color")
        if "different shapes" in text:
            count = len({o.shape for o in objects})
        elif "different colors" in text:
            count = len({o.color for o in objects})
        else:
            count = len({o.kind for o in objects if _fits(text, o)})
        assert question.answer == NUMBER_WORDS[count]
        assert len(set(question.evidence)) == len(question.evidence) <= count
        assert bool(question.evidence) == (count > 0)
    question = _asked(view, rng, "how_many_times")
    if question is not None and "sign" in question.text:
        signs = [s.sign for scenes in view.scenes for s in scenes]
        count = sum(a != b for a, b in itertools.pairwise(signs))
        assert question.answer == NUMBER_WORDS[count]
        changed = [
            clip
            for clip, scenes in enumerate(view.scenes)
            if len({s.sign for s in (view.scenes[max(clip - 1, 0)][-1], *scenes)}) > 1
        ]
        assert list(question.evidence) == changed


@given(views())
@settings(max_examples=150)
def test_checks(made: tuple[View, random.Random]) -> None:
    view, rng = made
    question = _asked(view, rng, "check")
    if question is None:
        return
    old, new = view.last(-2), view.last(-1)
    text, yes = question.text.lower(), question.answer == "yes"
    kind = re.search(rf"\b({COLOR}) ({SHAPE})\b", text)
    digit = re.search(r"\b(\d)\b", text)
    if kind:
        before = any(o.kind == kind.groups() for o in old.objects)
        after = any(o.kind == kind.groups() for o in new.objects)
        went = any(w in text for w in ("left", "leave", "disappear", "gone"))
        assert yes == ((before and not after) if went else (after and not before))
    elif digit:
        assert yes == (new.sign == int(digit.group(1)))
    elif "sign" in text:
        assert yes == (old.sign != new.sign)
    elif "scene" in text or "cut" in text:
        assert yes == (old.index != new.index)
    else:
        color = re.search(rf"\b({COLOR})\b", text)
        assert color is not None
        was = {o.ident: o.color for o in old.objects}
        turned = [o.color for o in new.objects if was.get(o.ident, o.color) != o.color]
        assert yes == (old.index == new.index and color.group(1) in turned)


@given(views())
@settings(max_examples=150)
def test_narration_is_silent_exactly_when_nothing_differs(
    made: tuple[View, random.Random],
) -> None:
    view, rng = made
    question = _asked(view, rng, "narrate")
    if question is None:
        return
    old, new = view.last(-2), view.last(-1)
    assert (question.answer == SILENCE) == (old.content() == new.content())
    assert correct(question, "") == (question.answer == SILENCE)
    if question.answer != SILENCE:
        assert question.answer.count(".") == len(differences(old, new)) <= 2


@given(views())
@settings(max_examples=60)
def test_follow_ups_are_about_the_object_of_the_first_question(
    made: tuple[View, random.Random],
) -> None:
    question = _asked(*made, "follow_up")
    if question is None or "sign" in question.text or "digit" in question.text:
        return
    ((first, _),) = question.history
    for scene in _named_frames(made[0], first.lower()):
        (o,) = [o for o in scene.objects if _fits(first.lower(), o)]
        values = {*o.kind} if o.moving else {*o.kind, o.place}
        assert values & set(question.answer.split())


def test_unknown_questions_are_held_out_with_their_worlds() -> None:
    assert not set(TAUGHT) & set(HELD_OUT)
    assert len(TAUGHT) > 200
    assert len(HELD_OUT) > 50
    rng = random.Random(1)
    clips = [clip_at(100.5 + i) for i in range(8)]
    for seed, allowed in ((5, TAUGHT), (1_000_005, HELD_OUT)):
        view = View(World(seed), clips)
        for _ in range(100):
            question = ask_view(view, rng, "unknown")
            assert question is not None
            assert question.answer == CANNOT_TELL
            second = spoken_time(question.text)
            if second is None:
                assert question.text in allowed
            else:
                assert all(abs(second - stamp) >= 3 for stamp in view.stamps)


def test_every_word_of_questions_and_answers_is_in_the_vocabulary() -> None:
    words, used = set(vocabulary()), Counter[str]()
    rng = random.Random(3)
    for seed in range(40):
        view = View(World(seed), [clip_at(0.5 + i) for i in range(48)])
        for _, question in branches(view, rng, 40):
            if question.family != "unknown":
                texts = [question.text, question.answer, *itertools.chain(*question.history)]
                text = " ".join(texts).lower().replace(SILENCE, "")
                used.update(re.findall(r"[a-z]+(?:'[a-z]+)?", text))
    assert len(used) > 120
    assert not set(used) - words
    assert "can't" in words
    outside = {w for text in TAUGHT for w in re.findall(r"[a-z]+", text.lower())}
    assert set(OUTSIDE_WORDS) < outside, "some stay unknown to the tokenizer"


def test_every_family_has_five_phrasings_and_yes_no_are_balanced() -> None:
    assert all(len(set(group)) >= 5 for group in PHRASES.values())
    rng = random.Random(4)
    answers: dict[str, Counter[str]] = {name: Counter() for name in FAMILIES}
    for seed in range(120):
        view = View(World(seed), [clip_at(0.5 + i) for i in range(32)])
        for _, question in branches(view, rng, 32):
            answers[question.family][question.answer] += 1
    for family in ("ever", "check", "now_exists"):
        share = answers[family]["yes"] / answers[family].total()
        assert 0.4 <= share <= 0.6, (family, share)
    assert 0.35 <= answers["narrate"][SILENCE] / answers["narrate"].total() <= 0.75
    assert all(counter.total() > 40 for counter in answers.values()), answers


def test_asking_follows_its_seed_and_takes_numpy_generators() -> None:
    view = View(World(8), [clip_at(0.5 + i) for i in range(16)])
    assert branches(view, random.Random(1), 20) == branches(view, random.Random(1), 20)
    one = branches(view, np.random.default_rng(1), 20)
    assert one == branches(view, np.random.default_rng(1), 20)
    assert len(one) == 20


def test_clips_after_now_are_not_seen() -> None:
    world, clips = World(8), [clip_at(0.5 + i) for i in range(30)]
    rng = random.Random(0)
    for _ in range(50):
        question = ask(world, clips, 9.9, rng, "last_seen")
        assert question is not None
        assert all(i < 10 for i in question.evidence)
    with pytest.raises(ValueError, match="at least one clip"):
        ask(world, clips, 0.1, rng)
    with pytest.raises(ValueError, match="no question family 'colour'"):
        ask(world, clips, 10.0, rng, "colour")


def test_a_clip_of_one_frame_says_nothing_about_motion() -> None:
    for seed in range(30):
        view = View(World(seed), [DrawnClip(t + 0.5, (t + 0.5,)) for t in range(20)])
        assert ask_view(view, random.Random(seed), "now_moving") is None


@pytest.mark.parametrize(
    ("answer", "reply", "right"),
    [
        ("a circle", "Circle.", True),
        ("a circle", "It is a circle.", True),
        ("a circle", "a square", False),
        ("at 12 seconds", "At 12.5 seconds.", True),
        ("at 12 seconds", "12 s", True),
        ("at 12 seconds", "at 14 seconds", False),
        ("at 12 seconds", "at 112 seconds", False),
        ("two", "2", True),
        ("none", "zero", True),
        ("yes", "Yes.", True),
        ("yes", "no", False),
        (CANNOT_TELL, "I can\u2019t tell", True),
        (SILENCE, "", True),
        (SILENCE, "<|silence|>", True),
        (SILENCE, "The scene changed.", False),
        ("red", "", False),
    ],
)
def test_marking(answer: str, reply: str, right: bool) -> None:
    assert correct(DrawnQuestion("x", "?", answer), reply) is right


def test_times_next_to_the_evidence_are_right() -> None:
    view = View(World(7), [clip_at(0.5 + i) for i in range(64)])
    question = ask_view(view, random.Random(2), "when_appeared")
    assert question is not None
    second = int(view.stamps[question.evidence[0]])
    marks = [correct(question, f"at {second + d} seconds") for d in (-2, -1, 0, 1, 2)]
    assert marks == [False, True, True, True, False]


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("What was there at 12 seconds?", 12.0),
        ("at second 12", 12.0),
        ("at 12.5 s", 12.5),
        ("12 seconds in", 12.0),
        ("at 36000 secs", 36000.0),
        ("How many 3 stars are there?", None),
    ],
)
def test_spoken_times(text: str, time: float | None) -> None:
    assert spoken_time(text) == time
