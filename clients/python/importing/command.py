"""`onlooker import`: finds recordings, sends them to a stream, and says how it goes."""

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.text import Text

from onlooker.clients.python.client import Client
from onlooker.clients.python.errors import ServerUnreachable
from onlooker.clients.python.importing.feeding import Feeding, ImportTarget
from onlooker.clients.python.importing.import_book import ImportBook, ledger_file
from onlooker.clients.python.importing.meter import Meter, told_length
from onlooker.clients.python.importing.plan import ImportPlan
from onlooker.clients.python.importing.recordings import SurveyedFiles, find_files, survey
from onlooker.core.backoff import Backoff
from onlooker.core.clock import Clock, SystemClock
from onlooker.core.errors import CapacityError, OnlookerError
from onlooker.core.recordings.crew import Crew
from onlooker.core.recordings.filming import Ended
from onlooker.core.recordings.recording import Recording

AGAIN = Backoff(min_s=1.0, max_s=30.0)
MOST_FAILURES = 40
"""Failures in a row, without one picture sent between them, after which an import is given up."""

GAP_S = 2.0
"""Shorter times between two recordings are not told as gaps."""

SAME_S = 1.5
"""Two beginnings that are no further apart are the same."""


class ImportCommand:
    """One run of `onlooker import`."""

    def __init__(
        self,
        client: Client,
        plan: ImportPlan,
        console: Console,
        *,
        clock: Clock | None = None,
        ledger: Path | None = None,
    ) -> None:
        """`ledger`: the file of the stream's ledger; None takes the usual place."""
        self._client, self._plan, self._console = client, plan, console
        self._clock = clock or SystemClock()
        self._ledger = ImportBook(ledger or ledger_file(client.base_url, plan.stream_id))
        self.num_failed = 0
        """Files that were not imported, or not to their end, and should have been."""
        self.num_skipped = 0
        """Files that were imported before."""

    async def run(self) -> int:
        """Import; returns the exit status: 0 when all is in the stream.

        Raises:
            OnlookerError: no recordings, files without a time, no server, or it was refused.
        """
        plan = self._plan
        async with Crew(plan.jobs, plan.patience_s) as crew:
            found = await self._found(crew)
            feeding = Feeding(
                self._client, plan.stream_id, crew,
                clock=self._clock, fps=plan.fps,
                on_begun=self._ledger.begin, on_ended=self._note_ended,
            )  # fmt: skip
            if not found.recordings:
                return self._conclude(feeding, None)
            if plan.is_dry:
                self._tell_plan(found.recordings)
                return 1 if self.num_failed else 0
            target = await feeding.open(found.recordings[0].start_wall_s)
            first = target
            if target.until_s is None:
                self._ledger.begin_anew()
            wanted = self._wanted(found.recordings, target)
            with self._interruptible(feeding):
                target = await self._send(feeding, wanted, target)
            return self._conclude(feeding, target, before=first)

    # ---- before

    async def _found(self, crew: Crew) -> SurveyedFiles:
        plan = self._plan
        files = await asyncio.to_thread(find_files, plan.places)
        self._say(f"Reading {len(files)} {_files(len(files))} …", "dim")
        found = await survey(
            files,
            crew,
            num_at_a_time=plan.jobs,
            zone=plan.zone,
            prefer=plan.times,
            start_wall_s=plan.start_wall_s,
        )
        for name, why in found.unreadable:
            self.num_failed += 1
            self._say(f"  {name}: cannot be read: {why}", "red")
        for name, doubt in found.doubts:
            self._say(
                f"  {name}: {doubt}; its tag is taken (--times name takes the name)", "yellow"
            )
        return found

    def _wanted(self, recordings: Sequence[Recording], target: ImportTarget) -> list[Recording]:
        """What the stream has not had, of `recordings`. What is left out is told."""
        wanted: list[Recording] = []
        first: dict[str, Recording] = {}
        for one in recordings:
            before = self._ledger.find(one)
            is_whole = before is not None and before.is_whole
            is_moved = before is not None and abs(before.start_wall_s - one.start_wall_s) > SAME_S
            if before is not None and is_whole and is_moved:
                self._skip(one, f"is '{before.name}', which was imported before")
            elif (same := first.setdefault(one.fingerprint, one)) is not one:
                self._skip(one, f"is the same as '{same.name}'")
            elif one.start_wall_s < target.zero_wall_s - SAME_S:
                zero = self._when(target.zero_wall_s)
                self._refuse(one, f"began before the stream did ({zero}): import it into another")
            elif target.until_s is None or self._is_left(one, target, is_known=is_whole):
                wanted.append(one)
            elif before is not None and not is_moved:
                self._skip(one, "was imported before")
            else:
                until = self._when(target.until_wall_s)
                self._refuse(
                    one,
                    f"is from before {until}, up to which the stream has come, and a stream takes "
                    "nothing from before: import it into another stream",
                )
        self._tell_gaps(wanted)
        return wanted

    @staticmethod
    def _is_left(one: Recording, target: ImportTarget, *, is_known: bool) -> bool:
        """Whether the stream has not come to the end of a recording."""
        if one.duration_s is None:
            return not is_known
        return one.end_wall_s > target.until_wall_s + SAME_S

    def _skip(self, one: Recording, why: str) -> None:
        self.num_skipped += 1
        self._say(f"  {one.name}: skipped: it {why}", "dim")

    def _refuse(self, one: Recording, why: str) -> None:
        self.num_failed += 1
        self._say(f"  {one.name}: not imported: it {why}", "red")

    def _tell_plan(self, recordings: Sequence[Recording]) -> None:
        for one in recordings:
            length = "?" if one.duration_s is None else told_length(one.duration_s)
            self._say(
                f"  {self._when(one.start_wall_s)}  {length:>9}  {one.name}  by {one.start_source}"
            )
        self._tell_gaps(recordings)

    def _tell_gaps(self, recordings: Sequence[Recording]) -> None:
        gaps = [
            later.start_wall_s - one.end_wall_s
            for one, later in itertools.pairwise(recordings)
            if one.duration_s is not None and later.start_wall_s - one.end_wall_s > GAP_S
        ]
        if gaps:
            self._say(
                f"  {len(gaps)} {'gap' if len(gaps) == 1 else 'gaps'} between recordings, "
                f"{told_length(sum(gaps))} in all: nothing was seen then",
                "dim",
            )

    # ---- sending

    async def _send(
        self, feeding: Feeding, wanted: Sequence[Recording], target: ImportTarget
    ) -> ImportTarget:
        """Send until all has been taken; goes on by itself after a break."""
        total_s = sum(one.duration_s or 0.0 for one in wanted)
        with Meter(self._console, feeding.tally, total_s, self._clock, self._plan.zone) as meter:
            num_failures, num_sent = 0, 0
            while wanted:
                try:
                    await feeding.run(wanted, target)
                    break
                except OnlookerError as error:
                    is_progress = feeding.tally.num_sent > num_sent
                    num_failures = 1 if is_progress else num_failures + 1
                    num_sent = feeding.tally.num_sent
                    if not error.retryable or num_failures > MOST_FAILURES:
                        raise
                    wait_s = AGAIN.wait_s(num_failures)
                    if isinstance(error, CapacityError):
                        wait_s = max(wait_s, error.retry_after_s)
                    meter.say(f"  {error.message}: goes on in {wait_s:.0f} s", "yellow")
                    await self._clock.sleep(wait_s)
                target = await self._opened_again(feeding, target)
                wanted = [one for one in wanted if self._is_left(one, target, is_known=False)]
        return target

    async def _opened_again(self, feeding: Feeding, target: ImportTarget) -> ImportTarget:
        num_failures = 0
        while True:
            try:
                return await feeding.open(target.zero_wall_s)
            except OnlookerError as error:
                num_failures += 1
                if num_failures > MOST_FAILURES:
                    raise
                if not error.retryable and not isinstance(error, ServerUnreachable):
                    raise
                await self._clock.sleep(AGAIN.wait_s(num_failures))

    def _note_ended(self, ended: Ended) -> None:
        one = ended.recording
        if ended.problem:
            self.num_failed += 1
            self._say(f"  {one.name}: not to its end: {ended.problem}", "red")
            return
        self._ledger.note(one, ended.end_wall_s)
        broken = f", {ended.num_bad} broken pieces passed over" if ended.num_bad else ""
        span = f"{self._when(one.start_wall_s)} to {self._when(ended.end_wall_s, one.start_wall_s)}"
        self._say(f"  {one.name}: {span}{broken}", "yellow" if broken else "dim")

    # ---- after

    @contextmanager
    def _interruptible(self, feeding: Feeding) -> Iterator[None]:
        try:
            yield
        except asyncio.CancelledError:
            at_s = feeding.tally.at_wall_s
            came_to = "" if at_s is None else f" at {self._when(at_s)}"
            self._say(f"Stopped{came_to}. The same command goes on from there.", "yellow")
            raise

    def _conclude(
        self, feeding: Feeding, target: ImportTarget | None, before: ImportTarget | None = None
    ) -> int:
        tally = feeding.tally
        for name, length_s in tally.overlap_s.items():
            if length_s > SAME_S:
                self._say(
                    f"  {name}: its first {told_length(length_s)} were in the stream already",
                    "yellow",
                )
        parts = [
            f"{tally.num_recordings} {_files(tally.num_recordings)} imported",
            f"{told_length(tally.filmed_s)} of video",
            f"{tally.num_sent} pictures",
        ]
        if self.num_skipped:
            parts.append(f"{self.num_skipped} skipped")
        if self.num_failed:
            parts.append(f"{self.num_failed} not")
        self._say("; ".join(parts) + ".", "red" if self.num_failed else "bold")
        if target is not None:
            self._say(
                f"Ask about it: the stream is '{self._plan.stream_id}', and its time 0 is "
                f"{self._when(target.zero_wall_s)}."
            )
        return 1 if self.num_failed else 0

    def _when(self, wall_s: float, day_of_s: float | None = None) -> str:
        """A time on the wall; of the same day as another only the time of day."""
        at = datetime.fromtimestamp(wall_s, UTC).astimezone(self._plan.zone)
        if day_of_s is not None:
            other = datetime.fromtimestamp(day_of_s, UTC).astimezone(self._plan.zone)
            if other.date() == at.date():
                return f"{at:%H:%M:%S}"
        return f"{at:%Y-%m-%d %H:%M:%S}"

    def _say(self, text: str, style: str = "") -> None:
        self._console.print(Text(text, style=style))


def _files(num: int) -> str:
    return "file" if num == 1 else "files"
