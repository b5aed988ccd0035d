"""The Inference service: decode, route, resolve, generate, encode."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import grpc

from adapterhub.engine import Engine, FinishReason, TokenLogprobs
from adapterhub.pb.v1 import inference_pb2, inference_pb2_grpc
from adapterhub_server.call import CALL
from adapterhub_server.catalog import Catalog
from adapterhub_server.fields import wire_fields
from adapterhub_server.generation import Generation
from adapterhub_server.metrics import Metrics
from adapterhub_server.requests import Admitted, Requests
from adapterhub_server.router import Router

Context = grpc.aio.ServicerContext[inference_pb2.GenerateRequest, inference_pb2.GenerateStreamResponse]
UnaryContext = grpc.aio.ServicerContext[inference_pb2.GenerateRequest, inference_pb2.GenerateResponse]
TokenizeContext = grpc.aio.ServicerContext[inference_pb2.TokenizeRequest, inference_pb2.TokenizeResponse]

FINISH_REASONS: dict[FinishReason, inference_pb2.FinishReason] = {
    "stop": inference_pb2.FINISH_REASON_STOP,
    "length": inference_pb2.FINISH_REASON_LENGTH,
}


class InferenceServicer(inference_pb2_grpc.InferenceServicer):
    def __init__(self, engine: Engine, catalog: Catalog, router: Router, metrics: Metrics) -> None:
        self._engine = engine
        self._metrics = metrics
        self._requests = Requests(engine, catalog, router)

    async def Generate(  # noqa: N802  gRPC's name
        self, request: inference_pb2.GenerateRequest, context: UnaryContext
    ) -> inference_pb2.GenerateResponse:
        async with aclosing(self._answers(request, context)) as answers:
            pieces = [piece async for piece in answers]
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

    async def GenerateStream(  # noqa: N802  gRPC's name
        self, request: inference_pb2.GenerateRequest, context: Context
    ) -> AsyncGenerator[inference_pb2.GenerateStreamResponse]:
        async with aclosing(self._answers(request, context)) as answers:
            async for answer in answers:
                yield answer

    async def Tokenize(  # noqa: N802  gRPC's name
        self, request: inference_pb2.TokenizeRequest, context: TokenizeContext
    ) -> inference_pb2.TokenizeResponse:
        with wire_fields():
            return await self._requests.tokenize(request)

    async def _answers(
        self, message: inference_pb2.GenerateRequest, context: Context | UnaryContext
    ) -> AsyncGenerator[inference_pb2.GenerateStreamResponse]:
        call = CALL.get()
        with wire_fields():
            admitted = await self._requests.admit(message, context.invocation_metadata() or ())
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
