"""Questions with options, of which the letter is asked for."""

from collections.abc import Sequence
from typing import Any

from onlooker.benchmarks.adapters.asked import ReplyForm, VideoProbe
from onlooker.benchmarks.adapters.times import seconds_of


def letter_of(place: int) -> str:
    """A for the first option."""
    return chr(ord("A") + place)


def lettered(options: Sequence[object]) -> list[str]:
    """The options with their letters before them."""
    return [f"{letter_of(place)}. {option}" for place, option in enumerate(options)]


def numbered_choice(item: dict[str, Any]) -> VideoProbe:
    """The question of an item that names the right option by its place, as OVO-Bench and StreamEQA
    do."""
    options = lettered(item["options"])
    return VideoProbe(
        key=str(item["id"]),
        at_s=seconds_of(item["realtime"]),
        text=f"{item['question']}\n" + "\n".join(options) + "\nAnswer with the letter only.",
        form=ReplyForm.LETTER,
        truth=letter_of(int(item["gt"])),
        group=item["task"],
        more={"num_options": len(options)},
    )
