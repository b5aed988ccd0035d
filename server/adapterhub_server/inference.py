"""The Inference service: decode, resolve, generate, encode."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import grpc

from adapterhub.engine import Engine, FinishReason, Request, Sampling, TokenLogprobs
from adapterhub.pb.v1 import inference_pb2, inference_pb2_grpc
from adapterhub_server.catalog import Catalog
from adapterhub_server.fields import wire_fields
from adapterhub_server.generation import Generation
from adapterhub_server.prompts import Prompts

Context = grpc.aio.ServicerContext[inference_pb2.GenerateRequest, inference_pb2.GenerateStreamResponse]
UnaryContext = grpc.aio.ServicerContext[inference_pb2.GenerateRequest, inference_pb2.GenerateResponse]

FINISH_REASONS: dict[FinishReason, inference_pb2.FinishReason] = {
    "stop": inference_pb2.FINISH_REASON_STOP,
    "length": inference_pb2.FINISH_REASON_LENGTH,
}


class InferenceServicer(inference_pb2_grpc.InferenceServicer):
    def __init__(self, engine: Engine, catalog: Catalog) -> None:
        self._engine = engine
        self._catalog = catalog
        self._prompts = Prompts(engine.base.tokenizer, limits=engine.limits)

    async def Generate(  # noqa: N802  gRPC's name
        self, request: inference_pb2.GenerateRequest, context: UnaryContext
    ) -> inference_pb2.GenerateResponse:
        async with aclosing(self._answers(request)) as answers:
            pieces = [piece async for piece in answers]
        return inference_pb2.GenerateResponse(
            text="".join(piece.text for piece in pieces),
            token_ids=[token for piece in pieces for token in piece.token_ids],
            adapter=pieces[0].adapter,
            adapter_digest=pieces[0].adapter_digest,
            finish_reason=pieces[-1].finish_reason,
            usage=pieces[-1].usage,
            logprobs=[each for piece in pieces for each in piece.logprobs],
        )

    async def GenerateStream(  # noqa: N802  gRPC's name
        self, request: inference_pb2.GenerateRequest, context: Context
    ) -> AsyncGenerator[inference_pb2.GenerateStreamResponse]:
        async with aclosing(self._answers(request)) as answers:
            async for answer in answers:
                yield answer

    async def _answers(
        self, message: inference_pb2.GenerateRequest
    ) -> AsyncGenerator[inference_pb2.GenerateStreamResponse]:
        with wire_fields():
            request = await self._request(message)
            generated = 0
            first = True
            async with aclosing(Generation(self._engine, request).pieces()) as pieces:
                async for piece in pieces:
                    generated += len(piece.token_ids)
                    answer = inference_pb2.GenerateStreamResponse(
                        text=piece.text, token_ids=piece.token_ids, logprobs=map(_logprobs, piece.logprobs)
                    )
                    if first:
                        answer.adapter, answer.adapter_digest = message.adapter, request.adapter
                    if piece.finish_reason:
                        answer.finish_reason = FINISH_REASONS[piece.finish_reason]
                        answer.usage.prompt_tokens = len(request.prompt_ids)
                        answer.usage.generated_tokens = generated
                    yield answer
                    first = False

    async def _request(self, message: inference_pb2.GenerateRequest) -> Request:
        """The engine's request; its adapter is a digest, fixed here for the generation's whole life."""
        options = {
            field.name: tuple(value) if field.is_repeated else value for field, value in message.sampling.ListFields()
        }
        sampling = Sampling.load(options, where="sampling")
        adapter = await self._catalog.get(message.adapter) if message.adapter else None
        prompt_ids = await asyncio.to_thread(self._prompts.encode, message, adapter)
        return Request(prompt_ids, adapter.digest if adapter else "", sampling)


def _logprobs(token: TokenLogprobs) -> inference_pb2.TokenLogprobs:
    top = [inference_pb2.TopLogprob(token_id=each, logprob=value) for each, value in token.top]
    return inference_pb2.TokenLogprobs(logprob=token.chosen, top=top)
