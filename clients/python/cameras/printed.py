"""`onlooker cameras`: a search, told to somebody at a terminal or to a program."""

import json
import shlex
from dataclasses import asdict

from rich.console import Console

from onlooker.clients.python.cameras.finder import CameraFinder
from onlooker.clients.python.cameras.found import CameraStream, FoundCamera
from onlooker.clients.python.cameras.probing import networks


class CamerasCommand:
    """Searches once and prints what was found."""

    def __init__(self, finder: CameraFinder, console: Console, *, as_json: bool) -> None:
        self._finder, self._console, self._as_json = finder, console, as_json

    async def run(self) -> bool:
        """Search and print; returns whether there is a stream to watch."""
        cameras = await self._finder.cameras()
        if self._as_json:
            for camera in cameras:
                self._say(json.dumps(asdict(camera), ensure_ascii=False))
        else:
            self._print(cameras)
        return any(camera.streams for camera in cameras)

    def _print(self, cameras: list[FoundCamera]) -> None:
        if not cameras:
            self._say(self._nobody())
            return
        rows = [("CAMERA", "ADDRESS", "PICTURES", "STREAM")]
        for camera in cameras:
            name = camera.name or "(no name)"
            rows += [(name, camera.host, _pictures(one), one.url) for one in camera.streams]
            if not camera.streams:
                rows.append((name, camera.host, "-", "-"))
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        for row in rows:
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
            self._say("  ".join([*cells, row[3]]))
        for line in dict.fromkeys(line for camera in cameras for line in _remarks(camera)):
            self._say(line)
        if self._finder.num_passed_over:
            self._say(f"{self._finder.num_passed_over} more answered and were not asked.")
        first = next((one for camera in cameras for one in camera.streams if not one.note), None)
        if first is not None:
            self._say(f"\nWatch one:  onlooker watch {shlex.quote(first.url)}")

    def _nobody(self) -> str:
        here = ", ".join(networks())
        if not self._finder.has_asked:
            return (
                "No network of this machine takes multicast, by which cameras are found. Choose "
                f"one with --interface (here: {here}), or name a camera: onlooker cameras "
                "192.168.1.20"
            )
        return (
            f"No camera answered within {self._finder.listen_s:g} s. Check that\n"
            "- ONVIF is turned on in the camera (often it is not, and wants a user of its own);\n"
            "- this machine is in the cameras' network: the question passes no router, no VPN, few "
            "guest Wi-Fis, and no container without --network host;\n"
            f"- it went into the right network: --interface (here: {here}).\n"
            "Or name a camera, if you know its address: onlooker cameras 192.168.1.20"
        )

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True, emoji=False)


def _pictures(stream: CameraStream) -> str:
    size = f"{stream.width}x{stream.height}" if stream.width and stream.height else ""
    return " ".join(part for part in (stream.name, stream.coding, size) if part) or "?"


def _remarks(camera: FoundCamera) -> list[str]:
    """What is to be said of a camera beside its streams."""
    told = [*([camera.problem] if camera.problem else []), *camera.notes]
    told += [f"{stream.url}: {stream.note}" for stream in camera.streams if stream.note]
    return [f"{camera.host}: {one}" for one in told]
