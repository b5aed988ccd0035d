"""What every door answers with: a request as the wire has it, admitted, generated, counted and encoded."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from adapterhub.engine import Engine, FinishReason, TokenLogprobs
from adapterhub.pb.v1 import inference_pb2
from adapterhub_server.call import CALL
from adapterhub_server.fields import wire_fields
from adapterhub_server.generation import Generation
from adapterhub_server.metrics import Metrics
from adapterhub_server.requests import Admitted, Metadata, Requests

FINISH_REASONS: dict[FinishReason, inference_pb2.FinishReason] = {
    "stop": inference_pb2.FINISH_REASON_STOP,
    "length": inference_pb2.FINISH_REASON_LENGTH,
}


class Answers:
    """Answers requests of the call under way (`CALL`, `CALLER`)."""

    def __init__(self, engine: Engine, requests: Requests, metrics: Metrics) -> None:
        self._engine = engine
        self._requests = requests
        self._metrics = metrics

    async def whole(self, message: inference_pb2.GenerateRequest, metadata: Metadata) -> inference_pb2.GenerateResponse:
        """The answer when it has ended. Raises as `pieces`."""
        async with aclosing(self.pieces(message, metadata)) as stream:
            pieces = [piece async for piece in stream]
        return inference_pb2.GenerateResponse(
            text="".join(piece.text for piece in pieces),
            token_ids=[token for piece in pieces for token in piece.token_ids],
            adapter=pieces[0].adapter,
            adapter_digest=pieces[0].adapter_digest,
            finish_reason=pieces[-1].finish_reason,
            usage=pieces[-1].usage,
            logprobs=[each for piece in pieces for each in piece.logprobs],
            route=pieces[0].route,
            timings=pieces[-1].timings,
        )

    async def pieces(
        self, message: inference_pb2.GenerateRequest, metadata: Metadata
    ) -> AsyncGenerator[inference_pb2.GenerateStreamResponse]:
        """The answer as it comes. Leaving early ends the generation.

        Raises as `Requests.admit` and `Generation.pieces`; InvalidInputError names the field of the message.
        """
        call = CALL.get()
        with wire_fields():
            admitted = await self._requests.admit(message, metadata)
            call.watch.admitted()
            async with aclosing(Generation(self._engine, admitted.request).pieces()) as pieces:
                async for piece in pieces:
                    tokens = len(piece.token_ids)
                    self._metrics.piece(call, tokens, seconds=call.watch.piece(tokens))
                    answer = inference_pb2.GenerateStreamResponse(
                        text=piece.text, token_ids=piece.token_ids, logprobs=map(_logprobs, piece.logprobs)
                    )
                    if not call.generated_tokens:
                        _begin(answer, admitted)
                    call.generated_tokens += tokens
                    if piece.finish_reason:
                        call.outcome = piece.finish_reason
                        call.watch.ran(piece.steps)
                        answer.finish_reason = FINISH_REASONS[piece.finish_reason]
                        answer.usage.prompt_tokens = call.prompt_tokens
                        answer.usage.generated_tokens = call.generated_tokens
                        answer.timings.CopyFrom(call.watch.message())
                    yield answer


def _begin(answer: inference_pb2.GenerateStreamResponse, admitted: Admitted) -> None:
    """What the first piece tells. A generation gives at least one token, so it is the one before which none came."""
    answer.adapter = admitted.choice.adapter
    answer.adapter_digest = admitted.request.adapter
    answer.route.CopyFrom(admitted.choice.message())


def _logprobs(token: TokenLogprobs) -> inference_pb2.TokenLogprobs:
    top = [inference_pb2.TopLogprob(token_id=each, logprob=value) for each, value in token.top]
    return inference_pb2.TokenLogprobs(logprob=token.chosen, top=top)
