"""`Viewer`: shows a server one video, and asks as the video goes on."""

from collections.abc import AsyncIterator
from pathlib import Path

from onlooker.benchmarks.adapters.asked import Answered, VideoProbe, VideoTask
from onlooker.benchmarks.adapters.reply_forms import bare
from onlooker.clients.python.client import Client
from onlooker.clients.python.sources import FileSource
from onlooker.clients.python.stream import RemoteStream
from onlooker.core.errors import NotFound

MAX_TOKENS = {"letter": 8, "yes_no": 8, "number": 8, "open": 128}


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
        """The replies to a task's probes, in their order.

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
        ):
            shown = 0
            for probe in task.probes:
                shown = await self._show(source, stream, task, shown, probe.at_s)
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
        answer = await stream.ask(
            probe.text,
            at_s=max(0.0, probe.at_s - task.start_s),
            max_output_tokens=MAX_TOKENS[probe.form.value],
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
        )
