"""The Inference service."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import grpc

from adapterhub.pb.v1 import inference_pb2, inference_pb2_grpc
from adapterhub_server.answers import Answers
from adapterhub_server.fields import wire_fields
from adapterhub_server.requests import Requests

Context = grpc.aio.ServicerContext[inference_pb2.GenerateRequest, inference_pb2.GenerateStreamResponse]
UnaryContext = grpc.aio.ServicerContext[inference_pb2.GenerateRequest, inference_pb2.GenerateResponse]
TokenizeContext = grpc.aio.ServicerContext[inference_pb2.TokenizeRequest, inference_pb2.TokenizeResponse]


class InferenceServicer(inference_pb2_grpc.InferenceServicer):
    def __init__(self, answers: Answers, requests: Requests) -> None:
        self._answers = answers
        self._requests = requests

    async def Generate(  # noqa: N802  gRPC's name
        self, request: inference_pb2.GenerateRequest, context: UnaryContext
    ) -> inference_pb2.GenerateResponse:
        return await self._answers.whole(request, context.invocation_metadata() or ())

    async def GenerateStream(  # noqa: N802  gRPC's name
        self, request: inference_pb2.GenerateRequest, context: Context
    ) -> AsyncGenerator[inference_pb2.GenerateStreamResponse]:
        async with aclosing(self._answers.pieces(request, context.invocation_metadata() or ())) as pieces:
            async for piece in pieces:
                yield piece

    async def Tokenize(  # noqa: N802  gRPC's name
        self, request: inference_pb2.TokenizeRequest, context: TokenizeContext
    ) -> inference_pb2.TokenizeResponse:
        with wire_fields():
            return await self._requests.tokenize(request)
