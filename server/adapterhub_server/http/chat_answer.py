"""Our answers as OpenAI's chat completions."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import Any

from adapterhub.pb.v1 import inference_pb2
from adapterhub_server.http.heading import FINISH_REASONS, Choice, Heading, choices, ids_of, own_facts, usage
from adapterhub_server.http.token_texts import TokenTexts

WHOLE = "chat.completion"
PIECE = "chat.completion.chunk"


def whole(
    heading: Heading, answer: inference_pb2.GenerateResponse, texts: TokenTexts, *, token_ids: bool = False
) -> dict[str, Any]:
    """A whole answer, with `token_ids` those of its tokens too."""
    told = [
        {
            "index": index,
            "message": _message(choice),
            "logprobs": texts.of_chat(choice.token_ids, choice.logprobs),
            "finish_reason": FINISH_REASONS[choice.finish_reason],
            **ids_of(choice, token_ids),
        }
        for index, choice in enumerate(choices(answer))
    ]
    took = usage(answer.usage.prompt_tokens, answer.usage.generated_tokens)
    return {**heading.over(WHOLE, told), "usage": took, "adapterhub": own_facts(answer, answer, texts)}


async def events(
    heading: Heading,
    pieces: AsyncGenerator[inference_pb2.GenerateStreamResponse],
    texts: TokenTexts,
    *,
    include_usage: bool,
    token_ids: bool = False,
) -> AsyncGenerator[dict[str, Any]]:
    """An answer as it comes."""
    first: inference_pb2.GenerateStreamResponse | None = None
    begun: set[int] = set()
    async with aclosing(pieces):
        async for piece in pieces:
            first = first or piece
            delta = _delta(piece, begins=piece.choice not in begun)
            begun.add(piece.choice)
            choice = {
                "index": piece.choice,
                "delta": delta,
                "logprobs": texts.of_chat(piece.token_ids, piece.logprobs),
                "finish_reason": FINISH_REASONS.get(piece.finish_reason),
                **ids_of(piece, token_ids),
            }
            event = heading.over(PIECE, [choice])
            if piece.HasField("timings"):
                event["adapterhub"] = own_facts(first, piece, texts)
            yield event
            if piece.HasField("usage") and include_usage:
                took = usage(piece.usage.prompt_tokens, piece.usage.generated_tokens)
                yield {**heading.over(PIECE, []), "usage": took}


def _message(choice: Choice) -> dict[str, Any]:
    if not choice.tool_calls:
        return {"role": "assistant", "content": choice.text}
    return {"role": "assistant", "content": choice.text or None, "tool_calls": _tool_calls(choice.tool_calls)}


def _delta(piece: inference_pb2.GenerateStreamResponse, *, begins: bool) -> dict[str, Any]:
    delta: dict[str, Any] = {"role": "assistant"} if begins else {}
    if piece.text or begins:
        delta["content"] = piece.text
    if piece.tool_calls:
        calls = _tool_calls(piece.tool_calls)
        delta["tool_calls"] = [{"index": index, **call} for index, call in enumerate(calls)]
    return delta


def _tool_calls(calls: Iterable[inference_pb2.ToolCall]) -> list[dict[str, Any]]:
    return [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in calls
    ]
