"""What every door answers with: a request as the wire has it, admitted, generated, counted and encoded."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from statistics import fmean

from adapterhub.engine import Engine, TokenLogprobs
from adapterhub.pb.v1 import inference_pb2
from adapterhub_server.call import CALL
from adapterhub_server.choices import Counts, pieces_of, requests_of
from adapterhub_server.fields import wire_fields
from adapterhub_server.generation import EndReason, Generation, Generations
from adapterhub_server.metrics import Metrics
from adapterhub_server.requests import Admitted, Metadata, Requests

FINISH_REASONS: dict[EndReason, inference_pb2.FinishReason] = {
    "stop": inference_pb2.FINISH_REASON_STOP,
    "length": inference_pb2.FINISH_REASON_LENGTH,
    "tool_calls": inference_pb2.FINISH_REASON_TOOL_CALLS,
}


class Answers:
    """Answers requests of the call under way (`CALL`, `CALLER`)."""

    def __init__(self, engine: Engine, requests: Requests, metrics: Metrics) -> None:
        self._engine = engine
        self._requests = requests
        self._metrics = metrics
        self._generations = Generations()

    async def whole(self, message: inference_pb2.GenerateRequest, metadata: Metadata) -> inference_pb2.GenerateResponse:
        """The answer, or the answers, when all have ended. Raises as `pieces`."""
        with wire_fields():
            counts = Counts.of(message, stream=False)
        async with aclosing(self._pieces(message, metadata, counts)) as stream:
            pieces = [piece async for piece in stream]
        choices = [_choice([piece for piece in pieces if piece.choice == each]) for each in range(counts.generated)]
        if counts.chosen:
            choices = sorted(choices, key=_likelihood, reverse=True)[: counts.given]
            if not message.sampling.HasField("logprobs"):
                for choice in choices:
                    choice.ClearField("logprobs")
        first = choices[0]
        return inference_pb2.GenerateResponse(
            text=first.text,
            token_ids=first.token_ids,
            adapter=pieces[0].adapter,
            adapter_digest=pieces[0].adapter_digest,
            finish_reason=first.finish_reason,
            usage=pieces[-1].usage,
            logprobs=first.logprobs,
            route=pieces[0].route,
            timings=pieces[-1].timings,
            choices=choices if counts.given > 1 else (),
            prompt_logprobs=pieces[0].prompt_logprobs,
            tool_calls=first.tool_calls,
        )

    async def pieces(
        self, message: inference_pb2.GenerateRequest, metadata: Metadata
    ) -> AsyncGenerator[inference_pb2.GenerateStreamResponse]:
        """The answer, or the answers, as they come. Leaving early ends the generation.

        Raises as `Requests.admit` and `Generation.pieces`; InvalidInputError names the field of the message.
        """
        with wire_fields():
            counts = Counts.of(message, stream=True)
        async with aclosing(self._pieces(message, metadata, counts)) as pieces:
            async for piece in pieces:
                yield piece

    async def _pieces(
        self, message: inference_pb2.GenerateRequest, metadata: Metadata, counts: Counts
    ) -> AsyncGenerator[inference_pb2.GenerateStreamResponse]:
        call = CALL.get()
        with wire_fields():
            admitted = await self._requests.admit(message, metadata)
            call.watch.admitted()
            request = admitted.request
            if counts.chosen and request.sampling.logprobs is None:
                request = replace(request, sampling=request.sampling.model_copy(update={"logprobs": 0}))
            left = counts.generated
            calling = admitted.calling
            generations = [
                Generation(self._engine, each, self._generations, calling.reader() if calling else None)
                for each in requests_of(request, left)
            ]
            async with aclosing(pieces_of(generations)) as pieces:
                async for choice, piece in pieces:
                    tokens = len(piece.token_ids)
                    self._metrics.piece(call, tokens, seconds=call.watch.piece(tokens, choice))
                    answer = inference_pb2.GenerateStreamResponse(
                        text=piece.text,
                        token_ids=piece.token_ids,
                        logprobs=map(_logprobs, piece.logprobs),
                        choice=choice,
                        prompt_logprobs=map(_logprobs, piece.prompt_logprobs),
                    )
                    answer.tool_calls.extend(inference_pb2.ToolCall(**each._asdict()) for each in piece.tool_calls)
                    if not call.generated_tokens:
                        _begin(answer, admitted)
                    call.generated_tokens += tokens
                    if piece.finish_reason:
                        left -= 1
                        call.outcome = piece.finish_reason
                        call.watch.ran(piece.steps)
                        answer.finish_reason = FINISH_REASONS[piece.finish_reason]
                    if not left:
                        answer.usage.prompt_tokens = call.prompt_tokens
                        answer.usage.generated_tokens = call.generated_tokens
                        answer.timings.CopyFrom(call.watch.message())
                    yield answer


def _choice(pieces: list[inference_pb2.GenerateStreamResponse]) -> inference_pb2.Choice:
    """One answer from its pieces."""
    return inference_pb2.Choice(
        text="".join(piece.text for piece in pieces),
        token_ids=[token for piece in pieces for token in piece.token_ids],
        finish_reason=pieces[-1].finish_reason,
        logprobs=[each for piece in pieces for each in piece.logprobs],
        tool_calls=pieces[-1].tool_calls,
    )


def _likelihood(choice: inference_pb2.Choice) -> float:
    """The mean of its tokens' log-probabilities."""
    return fmean(each.logprob for each in choice.logprobs)


def _begin(answer: inference_pb2.GenerateStreamResponse, admitted: Admitted) -> None:
    """What the first piece tells. A generation gives at least one token, so it is the one before which none came."""
    answer.adapter = admitted.choice.adapter
    answer.adapter_digest = admitted.request.adapter
    answer.route.CopyFrom(admitted.choice.message())


def _logprobs(token: TokenLogprobs) -> inference_pb2.TokenLogprobs:
    top = [inference_pb2.TopLogprob(token_id=each, logprob=value) for each, value in token.top]
    return inference_pb2.TokenLogprobs(logprob=token.chosen, top=top)
