"""`ItemFiles`: where a benchmark's annotation file and its videos are."""

from dataclasses import dataclass
from pathlib import Path

from onlooker.core.errors import InvalidRequest, NotFound

MAX_NAMED = 8
"""So many files are named where it is not clear which is meant."""


@dataclass(frozen=True, slots=True)
class ItemFiles:
    """The files of one run."""

    annotations: Path
    videos: Path

    @classmethod
    def found(cls, data: Path, videos: Path | None, *, benchmark: str) -> "ItemFiles":
        """Find them in a folder, or beside an annotation file.

        In a folder the annotation file is ``BENCHMARK.json``, or the only JSON file there is.
        Videos are in `videos`, or in the folder ``videos`` beside the annotation file, or beside
        that file.

        Raises:
            NotFound: there is no such file or folder.
            InvalidRequest: a folder has several files that it might be.
        """
        annotations = data if data.is_file() else _annotations_in(data, benchmark)
        if videos is None:
            beside = annotations.parent / "videos"
            videos = beside if beside.is_dir() else annotations.parent
        if not videos.is_dir():
            raise NotFound(f"there is no folder '{videos}': --videos is the folder of the videos")
        return cls(annotations, videos)


def _annotations_in(folder: Path, benchmark: str) -> Path:
    if not folder.is_dir():
        raise NotFound(
            f"there is no '{folder}': --data is the annotation file of {benchmark} (JSON), or its "
            "folder"
        )
    named = folder / f"{benchmark}.json"
    files = sorted(folder.glob("*.json"))
    if named in files:
        return named
    if len(files) == 1:
        return files[0]
    if not files:
        raise NotFound(f"there is no annotation file (JSON) in '{folder}'")
    names = ", ".join(file.name for file in files[:MAX_NAMED])
    more = ", …" if len(files) > MAX_NAMED else ""
    raise InvalidRequest(
        f"'{folder}' has {len(files)} JSON files ({names}{more}): give --data the one that is meant"
    )
