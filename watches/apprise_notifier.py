"""`AppriseNotifier`: an address of a phone or a chat, reached by the package `apprise`.

The only file that knows that package, which comes with the extra ``push``.
"""

import apprise
from apprise.attachment.memory import AttachMemory

from onlooker.core.errors import ConfigError
from onlooker.watches.outlets import AlertPicture


class AppriseNotifier:
    """One address, such as ``ntfy://TOPIC`` or ``tgram://TOKEN/CHAT``.

    Raises:
        ConfigError: it is no address that apprise knows. The message does not repeat it, since
            addresses hold secrets.
    """

    def __init__(self, url: str, index: int) -> None:
        """`index` says where in the settings the address stands, from 0."""
        self._apprise = apprise.Apprise()
        if not self._apprise.add(url):
            scheme = url.partition("://")[0][:20]
            raise ConfigError(
                f"watches.push.urls: number {index + 1} ('{scheme}://...') is no address that "
                "apprise knows; see https://appriseit.com/services/"
            )

    def notify(self, title: str, text: str, picture: AlertPicture | None) -> bool:
        """See `Notifier.notify`. A service that takes no pictures gets the text alone."""
        attach = None
        if picture is not None:
            ending = "webp" if picture.media_type == "image/webp" else "jpg"
            attach = apprise.AppriseAttachment()
            attach.add(
                AttachMemory(  # type: ignore[no-untyped-call]  # apprise does not type it
                    content=picture.data, name=f"evidence.{ending}", mimetype=picture.media_type
                )
            )
        return bool(self._apprise.notify(body=text, title=title, attach=attach))
