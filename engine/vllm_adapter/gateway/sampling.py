"""vLLM's sampling parameters for each kind of request."""

from collections.abc import Mapping, Sequence
from typing import Any

from onlooker.core.errors import ConfigError
from onlooker.engine.checks import Check
from onlooker.engine.interface import Question
from onlooker.engine.memory.plan import RequestPlan
from onlooker.engine.sampling import Sampling
from onlooker.engine.vllm_adapter.wire import PauseRule, pause_params, plan_params, ticket_params
from onlooker.scheduler.ticket import Ticket

JSON_SAMPLE = '{"a_b": [-0.5, "Is it?", true, null], "C": {"d": 12}}'
"""A tokenizer that gives this text back can write any JSON; one that knows only words cannot."""


def writes_json(tokenizer: Any) -> bool:
    """Whether a model with this Hugging Face tokenizer can write any JSON. Some put a space before
    the first word, which does no harm."""
    ids = tokenizer.encode(JSON_SAMPLE, add_special_tokens=False)
    return bool(tokenizer.decode(ids).strip() == JSON_SAMPLE)


def pause_token(tokenizer: Any, pause: str | None) -> int | None:
    """The token of the model's pause, by its Hugging Face tokenizer; None where it has no pause.

    Raises:
        ConfigError: the pause is not one token.
    """
    if pause is None:
        return None
    ids = tokenizer.encode(pause, add_special_tokens=False)
    if len(ids) != 1 or ids[0] == tokenizer.unk_token_id:
        found = "its tokenizer does not know it" if len(ids) == 1 else f"it is {len(ids)} tokens"
        raise ConfigError(
            f"the model's onlooker.json: 'watching.pause' is {pause!r}, and {found}: name the one "
            "token with which the model ends a piece of commentary, or leave it out"
        )
    return int(ids[0])


def for_answer(
    question: Question, plan: RequestPlan | None = None, *, pause_id: int | None = None
) -> Any:
    """Parameters for the answer to a question: each new piece of text comes once. `pause_id`: the
    token of the model's pause."""
    wanted = question.sampling
    schema = question.tools.forced_schema() if question.tools.is_forced else question.json_schema
    return _sampling(
        max_tokens=question.max_tokens,
        temperature=wanted.temperature,
        top_p=wanted.top_p,
        presence_penalty=wanted.presence_penalty,
        frequency_penalty=wanted.frequency_penalty,
        seed=wanted.seed,
        stop=list(wanted.stop),
        ignore_eos=wanted.ignores_end,
        logprobs=wanted.num_alternatives,
        skip_special_tokens=not question.tools,  # some models mark a call with one
        structured_outputs=_held_to(schema),
        extra_args=_extra_args(question.care.ticket, plan, _pause_rule(wanted, pause_id)),
        output_kind="DELTA",
    )


def for_effect(ticket: Ticket | None = None, plan: RequestPlan | None = None) -> Any:
    """Parameters for a request that is run for what it saves or reports. vLLM wants it to generate
    one token."""
    return _sampling(
        max_tokens=1,
        temperature=0.0,
        detokenize=False,
        extra_args=_extra_args(ticket, plan),
        output_kind="DELTA",
    )


def for_check(
    check: Check,
    groups: Sequence[Sequence[int]],
    *,
    cached: bool = True,
    plan: RequestPlan | None = None,
) -> Any:
    """Parameters for a check: one token, whose alternatives are read, or a given reply that is
    scored.

    `groups`: token ids of the check's answers. `cached`: whether KV that is there already may be
    used when a reply is scored.
    """
    extra_args = _extra_args(check.care.ticket, plan)
    if check.given is not None:
        return _sampling(
            max_tokens=1,
            temperature=0.0,
            prompt_logprobs=0,
            skip_reading_prefix_cache=not cached,
            detokenize=False,
            extra_args=extra_args,
            output_kind="FINAL_ONLY",
        )
    return _sampling(
        max_tokens=1,
        temperature=0.0,
        logprob_token_ids=sorted({token for group in groups for token in group}) or None,
        logprobs=None if any(groups) else 0,
        detokenize=False,
        extra_args=extra_args,
        output_kind="FINAL_ONLY",
    )


def _pause_rule(wanted: Sampling, pause_id: int | None) -> PauseRule | None:
    if wanted.pause_ramp is None or pause_id is None:
        return None
    return PauseRule(pause_id, wanted.pause_ramp)


def _extra_args(
    ticket: Ticket | None, plan: RequestPlan | None, pause: PauseRule | None = None
) -> dict[str, Any] | None:
    """What the scheduler, the connector and the sampler are told of a request."""
    extra: dict[str, Any] = {} if ticket is None else ticket_params(ticket)
    if pause is not None:
        extra |= pause_params(pause)
    if plan is not None:
        extra["kv_transfer_params"] = plan_params(plan)
    return extra or None


def _held_to(json_schema: Mapping[str, Any] | None) -> Any:
    """What vLLM holds an answer to, token by token."""
    if json_schema is None:
        return None
    from vllm.sampling_params import StructuredOutputsParams

    return StructuredOutputsParams(json=dict(json_schema))


def _sampling(*, output_kind: str, **options: Any) -> Any:
    from vllm.sampling_params import RequestOutputKind, SamplingParams

    return SamplingParams(
        skip_clone=True,  # nobody else holds it
        output_kind=RequestOutputKind[output_kind],
        **options,
    )
