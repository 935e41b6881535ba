"""Settings of stream memory."""

from datetime import tzinfo
from typing import Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator, model_validator

from onlooker.core.settings import Section
from onlooker.engine.memory.compaction import COMPACTIONS, CompactionSection
from onlooker.engine.memory.drops import DROPS
from onlooker.engine.memory.ranking import DEFAULT_SCAN, Ranking
from onlooker.engine.memory.token_drop import TokenDropSection

DEFAULT_RECENT = 16
"""Clips of the recent window where nothing else is said and the model's window has room."""


class MemorySection(Section):
    """What a stream remembers, and what an answer may see of it (segments mode)."""

    recent_clips: int | None = Field(default=None, ge=1, le=4096)
    """The most clips of the recent window, which answers and new clips have in their context. None:
    16, or what the model's window leaves beside `retrieved_clips`, if that is less."""

    stride_clips: int | None = Field(default=None, ge=1, le=4096)
    """Clips that leave the context of new clips at once when it is full. Until then the context's
    KV stays where it is; 1 moves all of it for every clip. None: a quarter of `recent_clips`."""

    recent_s: float | None = Field(default=None, gt=0)
    """Length of the recent window in seconds: clips that ended longer ago are not in it, however
    few are left. None: `recent_clips` alone bounds it."""

    retrieved_clips: int = Field(default=8, ge=0, le=512)
    """The most older clips that a question brings back. 0: none, so that what left the window is
    not seen again."""

    ranking: Ranking | None = None
    """How older clips are ranked for a question. None: as calibrated for the model (its
    ``onlooker.json``), else by ReKV's mean key in each layer by itself."""

    scan_clips: int = Field(default=DEFAULT_SCAN, ge=64, le=10_000_000)
    """The most clips that a question compares one by one. Among more, the best are found by
    likeness: clips that are alike are kept together, and only those groups are looked into that may
    hold one of the best, so that a question about a week takes hardly longer than one about an
    hour. It finds what comparing all would find, but for one in a hundred at most. On a CPU, for
    the scores ``mean_key`` and ``representatives``; of ``token_keys_8bit`` and ``token_keys_1bit``
    so many clips are compared, those that are best by their mean keys. What it takes, about a tenth
    of the index, counts towards `index_gib`. On a GPU all clips are compared that `index_gib` has
    room for, and so many of those in `index_host_gib`."""

    retrieval: Literal["auto", "layers", "probe"] = "auto"
    """How older clips are chosen. ``layers``: in one pass, where each layer fills the slots just
    before it attends; only clips of one size can be chosen. ``probe``: a short request asks first,
    then the chosen clips are placed as they are; that takes one more engine step, and clips of any
    size and number can be chosen. ``auto``: ``probe`` where layers vote, sizes differ, `mass` is
    set, the recency gate goes by scores, or not all that is remembered is held ready, else
    ``layers``. A question for which a layer chooses what only the store has is put again by asking
    first, whatever is set here."""

    mass: float | None = Field(default=None, gt=0, lt=1)
    """Probability that the clips that are brought back must reach together, by a softmax over all
    scores: only as many as that takes come back, up to `retrieved_clips`. None: always
    `retrieved_clips`. In one pass a slot cannot be left empty; slots that are not needed show the
    clips just before the recent window."""

    notes: Literal["off", "notes"] = "off"
    """What becomes of questions and their answers. ``notes``: each is kept as a text segment, and
    the newest stand behind the system prompt of every later answer about the stream, whoever asks;
    the dialogue that a client sends along is then left out. Clips are computed without them."""

    notes_tokens: int = Field(default=256, ge=16, le=65536)
    """The most tokens of all notes in a context; older notes are forgotten."""

    sink_tokens: int = Field(default=4096, ge=16, le=1_048_576)
    """The most tokens of a system prompt, in which the functions stand that an answer may call; a
    question that brings a longer one is refused."""

    question_tokens: int = Field(default=4096, ge=16, le=1_048_576)
    """The most tokens of a question with its dialogue; a longer one is refused."""

    mend_times: bool = True
    """What becomes of a time in an answer ("at 3513 seconds") that no clip in view bears, so that
    the model cannot have read it. Each of the clips is looked at by itself, by a check, and the
    stamp of the one from which the answer's words are likeliest is told in its place. In ``resend``
    mode, or where nothing is found so, it is the only stamp that ends in the same two digits, if
    there is one. The digits of a time are held back until its unit has come. The answer's
    `misread_times` tells what was written and what was told, ``onlooker_answer_times_total``
    counts. Never in JSON or beside functions, where `notes` are shown, or where layers choose clips
    by themselves."""

    recency_gate: Literal["off", "words", "scores"] = "words"
    """When nothing is brought back, since the question is about now. ``off``: never. ``words``: the
    question says so ("now", "currently") and speaks of nothing past. ``scores``: the question says
    so, or a clip of the recent window matches it as well as the best older one (which a request
    asks first, as ``probe`` does)."""

    timezone: str | None = None
    """The time zone in which clock times in questions ("at 12:30") are meant, such as
    ``Europe/Berlin``. None: the server's own."""

    index_gib: float | None = Field(default=None, gt=0, le=4096)
    """Memory for the index of all clips, all streams together; on a GPU it lies there, in what vLLM
    leaves (see ``vllm.gpu_memory_utilization``), and is taken at the start. When it is full, and
    `index_host_gib` as well, the oldest clips of the longest stream are forgotten. None: an eighth
    of what vLLM leaves of the GPU, or half of the arena on a CPU, and at most 4."""

    index_host_gib: float | None = Field(default=None, ge=0, le=65536)
    """Memory of a GPU's host for index entries of older clips, for which `index_gib` has no room;
    it is locked at the start, so that the GPU reaches it. Of these clips a coarse row stays on the
    GPU, by which all are ranked, and the best `scan_clips` of them are ranked again by what lies
    here. ``onlooker_store_moves_total`` counts the clips whose entries went here (``index_sunk``),
    and how often the GPU had to give more than `index_gib` all the same (``index_over``). Nothing
    on a CPU. 0: none. None: four times `index_gib`, but at most a sixteenth of the memory that the
    server may use."""

    arena_gib: float | None = Field(default=None, gt=0, le=65536)
    """Memory for segments that are held ready, all streams together; on a GPU it is locked at the
    start, so that the GPU reaches it. What does not fit lies in the store. How much is remembered
    in all is bounded by the store's RAM, by the disk's budget where there is a disk, and by Redis
    itself where there is a Redis; then the oldest clips of the longest stream are forgotten. One
    that holds no whole context is refused. None: 16, but at most a quarter of the memory that the
    server may use, on large hosts an eighth of it up to 64; on a CPU, an eighth of it up to 16."""

    token_drop: TokenDropSection = TokenDropSection()

    compaction: CompactionSection = CompactionSection()

    shelf_gib: float = Field(default=0.0, ge=0, le=4096)
    """Memory of the GPU itself for the newest segments, all streams together, in what vLLM leaves
    beside the index (see ``vllm.gpu_memory_utilization``): recent windows are placed from there,
    and not over the link to the host. ``onlooker_store_moves_total`` counts what is placed from
    there (``shelf_read``), and what makes room for newer ones (``shelf_let_go``). Nothing on a CPU.
    0: none."""

    ring_gib: float | None = Field(default=None, ge=0, le=64)
    """Memory of a GPU's host through which new segments get to ordinary memory, beside the steps,
    when the arena has no room for them; it is locked at the start. When it is full a step waits,
    which ``onlooker_store_moves_total{move="ring_waited"}`` counts; with 0 steps always wait for
    such segments. Nothing on a CPU. None: 0.75, but at most a sixty-fourth of the memory that the
    server may use."""

    saving_mib: int = Field(default=256, ge=1, le=65536)
    """Memory of the GPU, in MiB, for the keys of new segments of which index entries are made at
    once, as float32: 256 is for 22 clips of 80 tokens of a model of 36 layers, in one go. With less
    a step that saves many clips gives the GPU more operations. What one clip takes is taken in any
    case. It counts beside the index in what vLLM leaves of the GPU. Nothing on a CPU."""

    write_behind_segments: int = Field(default=256, ge=1, le=65536)
    """On a GPU, the most segments that wait to be handed to the store by a thread beside the model.
    When there are more a step waits, which ``onlooker_store_moves_total{move="write_waited"}``
    counts."""

    fetching_requests: int = Field(default=8, ge=1, le=4096)
    """The most requests for which segments are brought up from the store at once, beside the steps
    of others; each holds one context. More wait until these have started, which
    ``onlooker_store_moves_total{move="fetch_waited"}`` counts."""

    @property
    def zone(self) -> tzinfo | None:
        """The time zone of `timezone`; None for the server's own."""
        return None if self.timezone is None else ZoneInfo(self.timezone)

    @field_validator("timezone")
    @classmethod
    def _is_known(cls, name: str | None) -> str | None:
        try:
            return name if name is None else ZoneInfo(name).key
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(
                f"there is no time zone '{name}' here: give an IANA name such as Europe/Berlin"
            ) from error

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.retrieved_clips == 0 and (self.mass is not None or self.recency_gate == "scores"):
            raise ValueError(
                "mass and the gate by scores choose among clips that are brought back, and "
                "retrieved_clips is 0: raise it, or leave them out"
            )
        drop = DROPS.get(self.token_drop.method)
        if self.retrieval == "layers" and drop is not None and not drop.is_filled:
            raise ValueError(
                f"token_drop.method '{self.token_drop.method}' makes clips of many sizes, of which "
                "one pass can choose one size only, and retrieval is 'layers': choose 'auto' or "
                "'probe', or the method 'filled'"
            )
        if self.retrieval == "layers" and self.compaction.method in COMPACTIONS:
            raise ValueError(
                f"compaction.method '{self.compaction.method}' makes old clips smaller than new "
                "ones, and one pass can choose among clips of one size only, but retrieval is "
                "'layers': choose 'auto' or 'probe'"
            )
        if self.retrieval == "layers" and self.recency_gate == "scores":
            raise ValueError(
                "the gate by scores has to ask before the prompt is made, and retrieval is "
                "'layers': choose 'auto' or 'probe', or the gate by words"
            )
        return self
