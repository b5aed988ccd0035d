"""Our answers as OpenAI's completions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from adapterhub.pb.v1 import inference_pb2
from adapterhub_server.http.heading import FINISH_REASONS, Heading, choices, own_facts, usage
from adapterhub_server.http.token_texts import TokenTexts

KIND = "text_completion"


def whole(heading: Heading, answers: Sequence[inference_pb2.GenerateResponse], texts: TokenTexts) -> dict[str, Any]:
    """The whole answers to all prompts, one prompt's after another's; what only we tell is the first one's."""
    told = [
        {
            "index": index,
            "text": choice.text,
            "logprobs": texts.of_completion(choice.token_ids, choice.logprobs, begins=0),
            "finish_reason": FINISH_REASONS[choice.finish_reason],
        }
        for index, choice in enumerate(choice for answer in answers for choice in choices(answer))
    ]
    took = usage(
        sum(answer.usage.prompt_tokens for answer in answers), sum(answer.usage.generated_tokens for answer in answers)
    )
    return {**heading.over(KIND, told), "usage": took, "adapterhub": own_facts(answers[0], answers[0])}


async def events(
    heading: Heading,
    pieces: AsyncGenerator[tuple[int, inference_pb2.GenerateStreamResponse]],
    texts: TokenTexts,
    *,
    n: int,
    include_usage: bool,
) -> AsyncGenerator[dict[str, Any]]:
    """The answers as they come; each prompt has `n`. The last event of each prompt tells what only we do."""
    first: dict[int, inference_pb2.GenerateStreamResponse] = {}
    offsets: defaultdict[int, int] = defaultdict(int)
    took = [0, 0]
    async with aclosing(pieces):
        async for prompt, piece in pieces:
            first.setdefault(prompt, piece)
            index = prompt * n + piece.choice
            logprobs = texts.of_completion(piece.token_ids, piece.logprobs, offsets[index])
            if logprobs is not None:
                offsets[index] += sum(map(len, logprobs["tokens"]))
            choice = {
                "index": index,
                "text": piece.text,
                "logprobs": logprobs,
                "finish_reason": FINISH_REASONS.get(piece.finish_reason),
            }
            event = heading.over(KIND, [choice])
            if piece.HasField("usage"):
                took[0] += piece.usage.prompt_tokens
                took[1] += piece.usage.generated_tokens
                event["adapterhub"] = own_facts(first[prompt], piece)
            yield event
    if include_usage:
        yield {**heading.over(KIND, []), "usage": usage(*took)}
