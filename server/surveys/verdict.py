"""What the parts of a survey come to: one answer, which names cameras."""

import re
from collections.abc import Sequence
from typing import Literal

from onlooker.core.protocol.answer_facts import InputTokenDetails, Usage
from onlooker.core.protocol.surveys import SurveyCamera, SurveyPart, SurveyReply
from onlooker.server.surveys.framing import Form, Framed
from onlooker.server.surveys.names import listed
from onlooker.server.surveys.times_found import headline, in_order
from onlooker.streams.moments.question_plan import Wanted

MAX_SAID_CHARS = 400
"""Of what each stream said for itself, so much stands in the one answer; its part has all."""

_YES = re.compile(r"^\W*(?:yes|yeah|yep)\b", re.I)
_NO = re.compile(r"^\W*(?:no|nope|not|none|never|nobody|nothing)\b", re.I)


def says(answer: str, form: Form) -> Literal["yes", "no"] | None:
    """What an answer comes to, where it was to be yes or no."""
    if form == "each":
        return None
    if _YES.match(answer):
        return "yes"
    return "no" if _NO.match(answer) else None


def verdict(
    survey_id: str,
    question: str,
    framed: Framed,
    parts: Sequence[SurveyPart],
    *,
    unreached: Sequence[str],
) -> SurveyReply:
    """What all parts come to. `unreached`: servers whose streams are not among them."""
    heard = [part for part in parts if part.status in ("completed", "incomplete")]
    # Where no answer is a yes or a no, the question was none for it.
    tells = framed.form != "each" and any(part.says for part in heard)
    named = [part for part in heard if part.says == "yes"] if tells else []
    named.sort(key=lambda part: -(part.confidence or 0.0))
    asks_times = framed.wanted is not None and framed.wanted is not Wanted.SUMMARY
    if asks_times and any(part.num_moments is not None for part in heard):
        named = in_order(heard, framed.wanted)
    if not heard:
        words, status = "None of the cameras could be asked.", "failed"
    else:
        is_whole = len(heard) == len(parts) and not unreached
        status = "completed" if is_whole else "incomplete"
        if tells:
            words = _told(framed.form, named, heard)
        else:
            lines = headline(named, parts, framed.wanted, is_reached=not unreached)
            words = "\n".join([*lines, _each(heard)])
    if not parts:
        words = "There is no camera to ask."
    missing = [part for part in parts if part not in heard]
    return SurveyReply(
        id=survey_id,
        status=status,  # type: ignore[arg-type]  # one of three words
        question=question,
        form=framed.form if tells or not heard else "each",
        answer=" ".join([words, *_left_out(missing, heard, unreached)]).strip(),
        cameras=[
            SurveyCamera(
                stream=part.stream,
                name=part.name,
                confidence=part.confidence,
                moments=part.moments,
            )
            for part in named
        ],
        parts=list(parts),
        unreached=list(unreached),
        usage=_sum([part.usage for part in parts]),
    )


def _told(form: Form, named: Sequence[SurveyPart], heard: Sequence[SurveyPart]) -> str:
    among = f"none of the {len(heard)} cameras" if len(heard) > 1 else "not this camera"
    unsure = [part.name for part in heard if part.says is None]
    more = f" Not clear: {listed(unsure)}." if unsure else ""
    if not named:
        said = f"{among[0].upper()}{among[1:]}." if form == "which" else f"No, {among}."
    else:
        said = f"{listed([_with_time(part) for part in named])}."
        said = said if form == "which" else f"Yes: {said}"
    return said + more


def _with_time(part: SurveyPart) -> str:
    """A camera, with the moment where the question named its time. What was brought back by
    likeness may show something else, and is told beside the words only."""
    named = [one for one in part.moments if one.source == "named"]
    if not named:
        return part.name
    return f"{part.name} (at {named[-1].start_s:.1f} s)"


def _each(heard: Sequence[SurveyPart]) -> str:
    lines = []
    for part in heard:
        said = " ".join(part.answer.split())
        cut = said if len(said) <= MAX_SAID_CHARS else f"{said[: MAX_SAID_CHARS - 1]}…"
        lines.append(f"{part.name}: {cut}")
    return "\n".join(lines)


def _left_out(
    missing: Sequence[SurveyPart], heard: Sequence[SurveyPart], unreached: Sequence[str]
) -> list[str]:
    told = []
    if missing and heard:
        names = listed([part.name for part in missing])
        told.append(f"Not heard: {names}.")
    if unreached:
        told.append(f"Not asked: the streams of {listed(unreached)}, which did not answer.")
    return told


def _sum(usages: Sequence[Usage]) -> Usage:
    return Usage(
        input_tokens=sum(one.input_tokens for one in usages),
        output_tokens=sum(one.output_tokens for one in usages),
        total_tokens=sum(one.total_tokens for one in usages),
        input_token_details=InputTokenDetails(
            cached_tokens=sum(one.input_token_details.cached_tokens for one in usages)
        ),
    )
