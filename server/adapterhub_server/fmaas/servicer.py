"""The GenerationService of the package fmaas."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from adapterhub.engine import Engine
from adapterhub.pb.compatible import fmaas_pb2, fmaas_pb2_grpc
from adapterhub_server.answers import Answers
from adapterhub_server.batch import answer_all, check_batch
from adapterhub_server.call import CALL
from adapterhub_server.door import Context, Door
from adapterhub_server.fields import renamed
from adapterhub_server.fmaas.parameters import FIELDS, MAX_NEW_TOKENS, Asked, adapter_of, asked, refused
from adapterhub_server.fmaas.teller import Teller
from adapterhub_server.fmaas.time_limit import until
from adapterhub_server.named_prompt import NamedPrompts
from adapterhub_server.requests import Metadata, Requests

Pieces = AsyncGenerator[fmaas_pb2.GenerationResponse]


class FmaasServicer(fmaas_pb2_grpc.GenerationServiceServicer):
    def __init__(self, engine: Engine, answers: Answers, requests: Requests, door: Door) -> None:
        self._tokenizer = engine.base.tokenizer
        self._max_length = engine.limits.max_length
        self._answers = answers
        self._prompts = NamedPrompts(engine, requests)
        self._door = door

    async def Generate(  # noqa: N802  gRPC's name
        self, request: fmaas_pb2.BatchedGenerationRequest, context: Context
    ) -> fmaas_pb2.BatchedGenerationResponse:
        check_batch("requests", len(request.requests))
        adapter, params, metadata = adapter_of(request), asked(request.params), context.invocation_metadata() or ()

        async def answer(each: fmaas_pb2.GenerationRequest) -> fmaas_pb2.GenerationResponse:
            async with aclosing(self._pieces(each.text, adapter, params, metadata)) as pieces:
                return _joined([piece async for piece in pieces])

        return fmaas_pb2.BatchedGenerationResponse(
            responses=await answer_all(self._door, context, request.requests, answer)
        )

    async def GenerateStream(self, request: fmaas_pb2.SingleGenerationRequest, context: Context) -> Pieces:  # noqa: N802
        params, metadata = asked(request.params), context.invocation_metadata() or ()
        async with aclosing(self._pieces(request.request.text, adapter_of(request), params, metadata)) as pieces:
            async for piece in pieces:
                yield piece

    async def Tokenize(  # noqa: N802
        self, request: fmaas_pb2.BatchedTokenizeRequest, context: Context
    ) -> fmaas_pb2.BatchedTokenizeResponse:
        check_batch("requests", len(request.requests))
        if request.return_offsets:
            raise refused("return_offsets", "a prompt format may put tokens around the text")
        adapter, metadata = adapter_of(request), context.invocation_metadata() or ()
        answer = fmaas_pb2.BatchedTokenizeResponse()
        for each in request.requests:
            with renamed(FIELDS):
                prompt = await self._prompts.read(each.text, adapter, metadata, request.truncate_input_tokens)
            tokens = self._tokenizer.convert_ids_to_tokens(list(prompt.ids)) if request.return_tokens else []
            answer.responses.add(token_count=len(prompt.ids), tokens=tokens)
        return answer

    async def ModelInfo(  # noqa: N802
        self, request: fmaas_pb2.ModelInfoRequest, context: Context
    ) -> fmaas_pb2.ModelInfoResponse:
        return fmaas_pb2.ModelInfoResponse(
            model_kind=fmaas_pb2.ModelInfoResponse.DECODER_ONLY,
            max_sequence_length=self._max_length,
            max_new_tokens=min(MAX_NEW_TOKENS, self._max_length),
        )

    async def _pieces(self, text: str, adapter: str, params: Asked, metadata: Metadata) -> Pieces:
        """The prompt's message, then what is new. Raises as `Answers.pieces`, naming fields as this service does."""
        with renamed(FIELDS):
            prompt = await self._prompts.read(text, adapter, metadata, params.last)
            request, call = params.generate(prompt.request(), prompt.room), CALL.get()
            teller, told = Teller(self._tokenizer, params, text, request), False
            end = None if params.seconds is None else call.watch.arrived + params.seconds  # both clocks are monotonic
            async with aclosing(until(self._answers.pieces(request, metadata), end)) as pieces:
                async for piece in pieces:
                    if not told:
                        yield teller.prompt(piece.prompt_logprobs if piece else ())
                        told = True
                    if piece is None:
                        call.outcome = "time_limit"
                    yield teller.piece(piece) if piece else teller.out_of_time()


def _joined(pieces: list[fmaas_pb2.GenerationResponse]) -> fmaas_pb2.GenerationResponse:
    """The messages of a stream as the one of a whole answer."""
    answer = fmaas_pb2.GenerationResponse()
    for piece in pieces:
        answer.MergeFrom(piece)
    answer.text = "".join(piece.text for piece in pieces)
    return answer
