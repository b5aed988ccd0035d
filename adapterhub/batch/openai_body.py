"""The body of a request as OpenAI's clients write it, as a question.

Names, defaults and what null means are OpenAI's; `top_k`, `ignore_eos` and what else the engine's `Sampling`
has, and `prompt_format`, are accepted beside.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapterhub.asking import Question, as_prompt, turns_of
from adapterhub.asking.question import Prompt
from adapterhub.batch.own_entry import OPTIONS, prompt_of, said_of
from adapterhub.engine import Sampling
from adapterhub.errors import InvalidInputError, did_you_mean
from adapterhub.prompt_format import FormatKind
from adapterhub.structure import Structure, StructureOptions

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
SHORT = 16
"""Tokens of a completion that says nothing of them, as OpenAI's; a chat's are the engine's default."""

RENAMED = {"max_tokens": "max_new_tokens", "max_completion_tokens": "max_new_tokens"}
PROMPTS = ("model", "messages", "prompt", "prompt_format", "blend", "logprobs", "top_logprobs")
STRUCTURES = tuple(StructureOptions.model_fields)
IGNORED = frozenset({"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key"})
"""Of use to whom they are sent for, and to no answer."""
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "stream": (False,),
    "echo": (False,),
    "suffix": ("",),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "parallel_tool_calls": (True, False),
    "modalities": (["text"],),
}
"""Accepted where they ask for what is done anyway."""
FORMATS: dict[str, FormatKind | None] = {"trained": None, "raw": "raw", "chat": "chat"}


def question_of(url: str, body: Mapping[str, Any], *, where: str, seed: int) -> Question:
    """What a body asks; `seed` is for one that says none.

    Raises InvalidInputError naming what is not accepted; its message starts with `where`.
    """
    values = {name: value for name, value in body.items() if value is not None}
    chat = url == CHAT
    prompt_name, other = ("messages", "prompt") if chat else ("prompt", "messages")
    if other in values:
        raise _error(where, other, f"not for {url}")
    if not isinstance(model := values.get("model"), str):
        raise _error(where, "model", "an adapter's reference, or the base's name, is needed")
    kind: FormatKind | None = None if chat else "raw"
    if "prompt_format" in values:
        if values["prompt_format"] not in FORMATS:
            raise _error(where, "prompt_format", f"{values['prompt_format']!r} (accepted: {', '.join(FORMATS)})")
        kind = FORMATS[values["prompt_format"]]
    if prompt_name not in values:
        raise _error(where, prompt_name, "needed")
    prompt: Prompt
    if chat:
        prompt = as_prompt(turns_of(values["messages"], where=where))
    else:
        prompt = prompt_of(_the_one(values["prompt"]), where=where)
        kind = kind if isinstance(prompt, str) else None  # token ids have no format
    sampling, structure = _sampling(values, chat, where, seed), _structure(values, where)
    return Question(prompt, model, sampling, kind, structure=structure, blend=_blend(values.get("blend"), where))


def _blend(given: Any, where: str) -> tuple[tuple[str, float], ...]:
    """`[{"adapter": ..., "weight": ...}, ...]`, as over HTTP."""
    shares = given if isinstance(given, list) else [given]
    if given is None:
        return ()
    for share in shares:
        known = isinstance(share, dict) and share.keys() <= {"adapter", "weight"}
        if not (known and isinstance(share.get("adapter"), str) and type(share.get("weight", 1)) in (int, float)):
            raise _error(where, "blend", 'a list of {"adapter": "...", "weight": 0.5} is accepted')
    return tuple((share["adapter"], float(share.get("weight", 1))) for share in shares)


def _structure(values: Mapping[str, Any], where: str) -> Structure | None:
    given = {name: values[name] for name in STRUCTURES if name in values}
    with said_of(where):
        return StructureOptions.load(given, where=where).structure()


def _the_one(prompt: Any) -> Any:
    """A list of one prompt is that prompt."""
    is_list = isinstance(prompt, list) and len(prompt) == 1 and not isinstance(prompt[0], int)
    return prompt[0] if is_list else prompt


def _sampling(values: Mapping[str, Any], chat: bool, where: str, seed: int) -> dict[str, Any]:
    given: dict[str, Any] = {"temperature": 1.0, "seed": seed} | ({} if chat else {"max_new_tokens": SHORT})
    for name, value in values.items():
        if (own := RENAMED.get(name, name)) in OPTIONS and name not in PROMPTS:
            given[own] = (value,) if name == "stop" and isinstance(value, str) else value
        elif name in NEUTRAL:
            if value not in NEUTRAL[name]:
                accepted = " or ".join(map(repr, NEUTRAL[name]))
                raise _error(where, name, f"not served in a batch (accepted: {accepted})")
        elif name not in IGNORED and name not in PROMPTS and name not in STRUCTURES:
            known = sorted({*PROMPTS, *RENAMED, *STRUCTURES, *NEUTRAL, *IGNORED, *OPTIONS} - {"max_new_tokens"})
            raise _error(where, name, f"unknown{did_you_mean(name, known)} (known: {', '.join(known)})")
    if (logprobs := _logprobs(values, chat, where)) is not None:
        given["logprobs"] = logprobs
    return Sampling.load(given, where=where).model_dump(exclude_unset=True)


def _logprobs(values: Mapping[str, Any], chat: bool, where: str) -> int | None:
    """How many of the likeliest to tell; None for no log-probabilities."""
    wanted, top = values.get("logprobs"), values.get("top_logprobs")
    if not chat:
        if top is not None:
            raise _error(where, "top_logprobs", f"not for {COMPLETIONS}")
        if wanted is not None and type(wanted) is not int:
            raise _error(where, "logprobs", "a whole number is accepted")
        return wanted
    if type(wanted) not in (bool, type(None)):
        raise _error(where, "logprobs", "true or false is accepted")
    if top is not None and not wanted:
        raise _error(where, "top_logprobs", "needs logprobs")
    return (top or 0) if wanted else None


def _error(where: str, field: str, reason: str) -> InvalidInputError:
    return InvalidInputError(f"{where}: {field}: {reason}", field=field)
