"""`ReplyBook`: replies in a file, a line each, so that a run that was cut off goes on."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from onlooker.benchmarks.adapters.asked import Answered, Pushed, ReplyForm, VideoProbe, VideoTask


class ReplyBook:
    """The replies of one run of one benchmark."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines: dict[str, dict[str, Any]] = {}
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    entry = json.loads(line)
                    self._lines[entry["key"]] = entry
                except (ValueError, KeyError, TypeError):
                    continue  # the line at which it was cut off

    def __len__(self) -> int:
        return len(self._lines)

    def lacks(self, task: VideoTask) -> bool:
        """Whether a reply to any of a task's probes is missing."""
        return any(probe.key not in self._lines for probe in task.probes)

    def add(self, one: Answered) -> None:
        """Write a reply down."""
        entry: dict[str, Any] = {
            "key": one.probe.key,
            "reply": one.reply,
            "raw": one.raw,
            "seen_until_s": one.seen_until_s,
            "ttft_ms": one.ttft_ms,
            "num_prompt_tokens": one.num_prompt_tokens,
            "num_output_tokens": one.num_output_tokens,
        }
        if one.probe.form is ReplyForm.PUSHED:
            entry["pushed"] = [{"at_s": said.at_s, "text": said.text} for said in one.pushed]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            if not self._ends_whole():
                file.write("\n")
            file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        self._lines[one.probe.key] = entry

    def answered(self, tasks: Sequence[VideoTask]) -> list[Answered]:
        """All replies that there are to the probes of `tasks`."""
        probes = [probe for task in tasks for probe in task.probes]
        return [self._read(probe) for probe in probes if probe.key in self._lines]

    def _read(self, probe: VideoProbe) -> Answered:
        fields: dict[str, Any] = {**self._lines[probe.key]}
        del fields["key"]
        fields["pushed"] = tuple(Pushed(**said) for said in fields.get("pushed", ()))
        return Answered(probe=probe, **fields)

    def _ends_whole(self) -> bool:
        if not self.path.exists() or not self.path.stat().st_size:
            return True
        with self.path.open("rb") as file:
            file.seek(-1, 2)
            return file.read(1) == b"\n"
