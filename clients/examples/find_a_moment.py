"""Ask a stream when something was to be seen, and save the pictures that the answer rests on.

python -m onlooker.clients.examples.find_a_moment demo "When was there a red circle?"
"""

import asyncio
import os
import sys
from pathlib import Path

from onlooker.clients.python import Client
from onlooker.core.errors import OnlookerError

SERVER = os.environ.get("ONLOOKER_URL", "http://127.0.0.1:8000")


async def main(
    stream: str = "demo", question: str = "When was there a red circle?", folder: str = "moments"
) -> None:
    async with Client(SERVER, api_key=os.environ.get("ONLOOKER_API_KEY")) as client:
        reply = await client.ask(stream, question)
        print(reply.answer)
        evidence = reply.onlooker.evidence
        for span in evidence:
            print(f"  {span.source}: {span.start_s:.1f} to {span.end_s:.1f} s")
        save(await client.pictures(stream).of_evidence(evidence), Path(folder))


def save(pictures: dict[str, bytes], folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for name, picture in pictures.items():
        (folder / name).write_bytes(picture)
        print(f"  saved {folder / name}")


if __name__ == "__main__":
    try:
        asyncio.run(main(*sys.argv[1:]))
    except OnlookerError as error:
        sys.exit(str(error))
