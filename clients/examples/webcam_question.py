"""Show the webcam, ask a question every few seconds, and print the answers as they are written.

    python -m onlooker.clients.examples.webcam_question /dev/video0 "What am I holding?"

The source may also be a file, a camera's address (rtsp://...) or demo://, the drawn world.
"""

import asyncio
import os
import sys

from onlooker.clients.python import Client
from onlooker.clients.python.feed import Feed
from onlooker.clients.python.sources import open_source
from onlooker.core.errors import OnlookerError

SERVER = os.environ.get("ONLOOKER_URL", "http://127.0.0.1:8000")
NUM_QUESTIONS = 3


async def main(
    source: str = "/dev/video0", question: str = "What do you see?", every_s: str = "3"
) -> None:
    client = Client(SERVER, api_key=os.environ.get("ONLOOKER_API_KEY"))
    async with (
        client,
        open_source(source) as video,
        client.stream("webcam") as stream,
        asyncio.TaskGroup() as tasks,
    ):
        feeding = tasks.create_task(Feed(video, stream, fps=4.0).run())
        for _ in range(NUM_QUESTIONS):
            await asyncio.sleep(float(every_s))
            async for piece in stream.ask_stream(question):
                print(piece, end="", flush=True)
            print()
        feeding.cancel()


if __name__ == "__main__":
    try:
        asyncio.run(main(*sys.argv[1:]))
    except* OnlookerError as failed:  # from several tasks at once
        sys.exit(str(failed.exceptions[0]))
