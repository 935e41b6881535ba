"""The line that says how watching goes, and the answer that is being said, in a terminal."""

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from onlooker.clients.python.answers import PendingAnswer
from onlooker.clients.python.events import Connected, Disconnected, Event
from onlooker.clients.python.feed import Feed

REFRESH_PER_S = 8


class Progress:
    """Shows the line, redrawn in place, on a terminal only, so that logs stay readable."""

    def __init__(self, console: Console, feed: Feed) -> None:
        self._feed = feed
        self._connection = ""
        self.answering: dict[str, PendingAnswer] = {}
        """Answers under way, by their id; shown while they are being said."""
        self.live = Live(
            get_renderable=self._draw,
            console=console,
            refresh_per_second=REFRESH_PER_S,
            transient=True,
            auto_refresh=console.is_terminal,
        )

    def take(self, event: Event) -> None:
        """Note what an event says of the connection."""
        if isinstance(event, Connected):
            self._connection = ""
        elif isinstance(event, Disconnected):
            again = "" if event.retry_in_s is None else f"; again in {event.retry_in_s:.1f} s"
            self._connection = f"not connected: {event.reason}{again}"

    def line(self) -> str:
        """The line: ``12.4 s  4.0 fps  kept 40  skipped 8  dropped 0  behind 0.31 s``."""
        feed, ack = self._feed, self._feed.stream.last_ack
        parts = [f"{feed.at_s:.1f} s", f"{feed.measured_fps:.1f} fps"]
        if ack is None:
            parts.append(f"sent {feed.num_sent}")
        else:
            totals = ack.totals
            num_dropped = sum(totals.dropped.values()) + feed.stream.num_replaced
            reasons = ", ".join(sorted(totals.dropped))
            parts += [
                f"kept {totals.kept}",
                f"skipped {totals.skipped}",
                f"dropped {num_dropped}" + (f" ({reasons})" if reasons else ""),
                "nothing seen yet" if ack.lag_s is None else f"behind {ack.lag_s:.2f} s",
            ]
        if self._connection:
            parts.append(self._connection)
        return "  ".join(parts)

    def _draw(self) -> RenderableType:
        rows: list[RenderableType] = [
            Text(f"  {pending.question}\n    {pending.text} …", overflow="fold")
            for pending in self.answering.values()
        ]
        return Group(*rows, Text(self.line(), style="dim", no_wrap=True, overflow="ellipsis"))
