"""`AlertCourier`: brings the alerts of one stream to viewers, and to the outlets that take them."""

from onlooker.core.errors import NotFound
from onlooker.core.ids import StreamId
from onlooker.streams.album.evidence import evidence_picture
from onlooker.streams.album.stream_album import StreamAlbum
from onlooker.streams.alert_ledger import AlertLedger
from onlooker.streams.fanout import EventLog
from onlooker.streams.tenancy.account import Account
from onlooker.watches.alert import Alert
from onlooker.watches.events import AlertRaised
from onlooker.watches.keeper import WatchKeeper
from onlooker.watches.outlets import OutgoingAlert, Outlets
from onlooker.watches.watch import Watch


class AlertCourier:
    """Of one stream. `album`: has the pictures that alerts rest on; None where none are kept."""

    def __init__(
        self,
        stream_id: StreamId,
        outlets: Outlets,
        *,
        ledger: AlertLedger,
        events: EventLog,
        account: Account,
        album: StreamAlbum | None,
    ) -> None:
        self._stream_id, self._outlets = stream_id, outlets
        self._ledger, self._events, self._account = ledger, events, account
        self._album = album

    @property
    def is_busy(self) -> bool:
        """Whether an outlet still has something of the stream to send."""
        return self._outlets.is_busy(self._stream_id)

    def bring(self, watch: Watch, alert: Alert) -> None:
        """Tell viewers of an alert, and send it to outlets once it is kept."""
        self._account.totals.alerts += 1
        outlets = self._outlets.that_take(self._stream_id, watch)
        self._events.publish_alert(
            AlertRaised(alert), due_to=outlets, then=lambda: self._send(watch, alert, outlets)
        )

    def go_on(self, watches: WatchKeeper) -> None:
        """Send what an earlier owner of the stream had not sent yet."""
        for alert, outlets in self._ledger.due:
            try:
                watch = watches.get(alert.watch_id)
            except NotFound:  # it was deleted, or is not allowed any more
                for outlet in outlets:
                    self._ledger.served(alert.number, outlet)
            else:
                self._send(watch, alert, outlets, is_again=True)

    async def let_go(self) -> None:
        """Leave what is not sent to the next owner."""
        await self._outlets.let_go(self._stream_id)

    def _send(
        self, watch: Watch, alert: Alert, outlets: tuple[str, ...], *, is_again: bool = False
    ) -> None:
        outgoing = OutgoingAlert(
            self._stream_id,
            watch,
            alert,
            has_album=self._album is not None,
            picture=lambda: evidence_picture(alert, self._album),
            is_again=is_again,
        )
        self._outlets.send(
            outgoing, outlets, lambda outlet: self._ledger.served(alert.number, outlet)
        )
