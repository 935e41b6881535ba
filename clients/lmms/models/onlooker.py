"""`OnlookerModel`: a running server as a "simple" model of `lmms-eval`.

    python -m lmms_eval --model onlooker \\
        --model_args server=http://127.0.0.1:8000,fps=2 --tasks videomme

`lmms-eval` hands over the text of each item and its videos and pictures; this shows them to the
server and returns what it says, in the order of the items.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, NoReturn

from lmms_eval.api.model import lmms

from onlooker.clients.lmms.visual_asker import VisualAsker, VisualQuestion
from onlooker.clients.python.client import Client
from onlooker.clients.python.errors import AnswerFailed
from onlooker.clients.python.options import DEFAULT_URL
from onlooker.core.errors import OnlookerError

DEFAULT_MAX_TOKENS = 1024

_log = logging.getLogger(__name__)


class OnlookerModel(lmms):
    """What `lmms-eval` calls, from its own thread and without an event loop.

    Args:
        server: the server's address. A key is taken from ``ONLOOKER_API_KEY``.
        fps: pictures that are shown of each second of a video.
        at_once: videos that are shown at once, each on a stream of its own.
        others: what `lmms-eval` gives every model (``batch_size``, ``device``) and a server does
            not need.
    """

    def __init__(
        self, server: str = DEFAULT_URL, fps: float = 2.0, at_once: int = 4, **others: Any
    ) -> None:
        super().__init__()
        self.model_name = f"onlooker at {server}"
        self._server, self._fps, self._at_once = server, float(fps), int(at_once)

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """The replies to all requests, in their order. A reply that could not be had is empty and
        said in the log.

        Raises:
            OnlookerError: not one could be had, and why.
        """
        return asyncio.run(self._replies([self._question(request) for request in requests]))

    def loglikelihood(self, requests: Sequence[Any]) -> NoReturn:
        """Not there: a server tells what it says, not how likely other words were."""
        raise NotImplementedError("onlooker writes replies only: choose tasks of generate_until")

    def generate_until_multi_round(self, requests: Sequence[Any]) -> NoReturn:
        """Not there."""
        raise NotImplementedError("onlooker is asked once for each item: choose other tasks")

    def _question(self, request: Any) -> VisualQuestion:
        text, options, visuals_of, item, task, split = request.args
        visuals = visuals_of(self.task_dict[task][split][item]) or ()
        until = options.get("until") or ()
        return VisualQuestion(
            text=text,
            visuals=tuple(visual for visual in visuals if visual is not None),
            max_tokens=int(options.get("max_new_tokens", DEFAULT_MAX_TOKENS)),
            stops=(until,) if isinstance(until, str) else tuple(until),
        )

    async def _replies(self, questions: Sequence[VisualQuestion]) -> list[str]:
        groups: dict[tuple[str, ...] | int, list[int]] = {}
        for place, question in enumerate(questions):
            groups.setdefault(question.videos or place, []).append(place)
        replies: dict[int, str | OnlookerError] = {}
        room = asyncio.Semaphore(self._at_once)

        async def ask(asker: VisualAsker, places: Sequence[int]) -> None:
            async with room:
                found = await _tried(asker, [questions[place] for place in places])
                replies.update(zip(places, found, strict=True))

        async with Client(self._server) as client, asyncio.TaskGroup() as tasks:
            asker = VisualAsker(client, fps=self._fps)
            for places in groups.values():
                tasks.create_task(ask(asker, places))
        return _texts([replies[place] for place in range(len(questions))])


async def _tried(
    asker: VisualAsker, questions: Sequence[VisualQuestion]
) -> Sequence[str | OnlookerError]:
    try:
        return await asker.answers(questions)
    except TimeoutError:
        return [AnswerFailed("the server did not reply in time")] * len(questions)
    except OnlookerError as error:
        return [error] * len(questions)


def _texts(replies: Sequence[str | OnlookerError]) -> list[str]:
    failures = [reply for reply in replies if isinstance(reply, OnlookerError)]
    if failures and len(failures) == len(replies):
        raise failures[0]
    for failure in failures:
        _log.error("a question was not answered, and counts as wrong: %s", failure)
    return ["" if isinstance(reply, OnlookerError) else reply for reply in replies]
