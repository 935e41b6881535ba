"""`Viewer`: shows a server one video, and asks as the video goes on."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

from onlooker.benchmarks.adapters.asked import Answered, ReplyForm, VideoProbe, VideoTask
from onlooker.benchmarks.adapters.push_listener import PushListener
from onlooker.benchmarks.adapters.reply_forms import bare
from onlooker.clients.python.answers import Answer
from onlooker.clients.python.client import Client
from onlooker.clients.python.sources import FileSource
from onlooker.clients.python.stream import RemoteStream
from onlooker.core.errors import NotFound

MAX_TOKENS = {"letter": 8, "yes_no": 8, "number": 8, "open": 128}

IS_SEEN = "Is anything to be seen?"
"""Asked before a watch is left or taken away: it is answered when all that was shown before was
seen."""


class Viewer:
    """Puts tasks to a server, each on a stream of its own with the virtual clock: nothing is
    dropped, however slow the server is, and the same video gives the same replies. A reply to a
    probe can know nothing that was captured later, as it has not been sent by then.

    Args:
        videos: the folder of the videos.
        fps: pictures that are shown of each second.
    """

    def __init__(self, client: Client, videos: Path, *, fps: float = 2.0) -> None:
        self._client, self._videos, self._fps = client, videos, fps

    async def answers(self, task: VideoTask) -> AsyncIterator[Answered]:
        """The replies to a task's probes, in the order of their times.

        Raises:
            NotFound: there is no such video.
            OnlookerError: it cannot be decoded, or the server refuses or fails.
        """
        path = self._videos / task.video
        if not path.is_file():
            raise NotFound(f"there is no video '{path}'")
        async with (
            FileSource(path) as source,
            self._client.stream(clock="virtual", gate_threshold=0.0) as stream,
            PushListener(stream) as listener,
        ):
            shown = 0
            watches: dict[str, str] = {}
            for at_s, probe, begins in _moments(task):
                shown = await self._show(source, stream, task, shown, at_s)
                if begins:
                    if shown:  # a watch is to speak of nothing that was shown before it
                        await self._ask_text(stream, task, at_s, IS_SEEN, max_tokens=1)
                    watches[probe.key] = await listener.begin(**probe.watch)
                elif probe.form is ReplyForm.PUSHED:
                    await self._ask_text(stream, task, at_s, IS_SEEN, max_tokens=1)
                    yield await self._heard(listener, watches.pop(probe.key), task, probe)
                else:
                    yield await self._ask(stream, task, probe)

    async def _show(
        self, source: FileSource, stream: RemoteStream, task: VideoTask, shown: int, until_s: float
    ) -> int:
        """Show the pictures of the video before `until_s`; returns how many were shown in all."""
        while (at_s := shown / self._fps) + task.start_s < until_s:
            picture = await source.picture(task.start_s + at_s)
            if picture is None:
                break
            await stream.send_frame(picture.pixels, at_s=at_s)
            shown += 1
        return shown

    async def _ask(self, stream: RemoteStream, task: VideoTask, probe: VideoProbe) -> Answered:
        answer = await self._ask_text(
            stream,
            task,
            probe.at_s,
            probe.text,
            max_tokens=MAX_TOKENS[probe.form.value],
            alone=probe.dialogue is None,
        )
        reply = bare(answer.text, probe.form, num_options=probe.more.get("num_options", 26))
        seen_s = answer.facts.seen_until_s
        return Answered(
            probe=probe,
            reply=reply,
            raw=answer.text,
            seen_until_s=None if seen_s is None else seen_s + task.start_s,
            ttft_ms=answer.facts.ttft_ms,
            num_prompt_tokens=answer.usage.input_tokens,
            num_output_tokens=answer.usage.output_tokens,
        )

    async def _ask_text(
        self,
        stream: RemoteStream,
        task: VideoTask,
        at_s: float,
        text: str,
        *,
        max_tokens: int,
        alone: bool = True,
    ) -> Answer:
        return await stream.ask(
            text,
            at_s=max(0.0, at_s - task.start_s),
            max_output_tokens=max_tokens,
            alone=alone,
        )

    async def _heard(
        self, listener: PushListener, watch_id: str, task: VideoTask, probe: VideoProbe
    ) -> Answered:
        told = await listener.end(watch_id)
        pushed = tuple(replace(said, at_s=said.at_s + task.start_s) for said in told)
        text = "\n".join(said.text for said in pushed)
        return Answered(
            probe=probe,
            reply=text,
            raw=text,
            seen_until_s=pushed[-1].at_s if pushed else None,
            pushed=pushed,
        )


def _moments(task: VideoTask) -> list[tuple[float, VideoProbe, bool]]:
    """When something is to be done about a probe, and whether a watch begins then; what is asked at
    one moment keeps its order, and watches begin before it."""
    begins = [(one.from_s, one, True) for one in task.probes if one.form is ReplyForm.PUSHED]
    ends = [(one.at_s, one, False) for one in task.probes]
    return sorted([*begins, *ends], key=lambda moment: (moment[0], not moment[2]))
