"""The GRPCInferenceService of the package inference."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Collection
from contextlib import aclosing

from adapterhub import __version__
from adapterhub.client.statuses import to_status
from adapterhub.engine import Engine
from adapterhub.errors import InvalidInputError
from adapterhub.pb.compatible import kserve_pb2, kserve_pb2_grpc
from adapterhub_server.answers import Answers
from adapterhub_server.call import CALL
from adapterhub_server.door import Context, Door
from adapterhub_server.kserve.generations import Generations
from adapterhub_server.kserve.models import READY, Models
from adapterhub_server.kserve.question import BOOLS, OUTPUTS, TEXT, read_question
from adapterhub_server.kserve.stream import Stream
from adapterhub_server.requests import Requests

EXTENSIONS = ("parameters", "model_repository", "model_repository(unload_dependents)")
"""Of the protocol, by Triton's names."""
DEPENDENTS = "unload_dependents"

Answer = kserve_pb2.ModelStreamInferResponse
Tensor = kserve_pb2.ModelMetadataResponse.TensorMetadata


class KserveServicer(kserve_pb2_grpc.GRPCInferenceServiceServicer):
    def __init__(self, engine: Engine, answers: Answers, requests: Requests, models: Models, door: Door) -> None:
        self._engine = engine
        self._generations = Generations(engine, answers, requests, models, door)
        self._models = models
        self._door = door

    async def ServerLive(  # noqa: N802  gRPC's name
        self, request: kserve_pb2.ServerLiveRequest, context: Context
    ) -> kserve_pb2.ServerLiveResponse:
        return kserve_pb2.ServerLiveResponse(live=True)

    async def ServerReady(  # noqa: N802
        self, request: kserve_pb2.ServerReadyRequest, context: Context
    ) -> kserve_pb2.ServerReadyResponse:
        return kserve_pb2.ServerReadyResponse(ready=self._engine.alive)

    async def ServerMetadata(  # noqa: N802
        self, request: kserve_pb2.ServerMetadataRequest, context: Context
    ) -> kserve_pb2.ServerMetadataResponse:
        return kserve_pb2.ServerMetadataResponse(name="adapterhub", version=__version__, extensions=EXTENSIONS)

    async def ModelReady(  # noqa: N802
        self, request: kserve_pb2.ModelReadyRequest, context: Context
    ) -> kserve_pb2.ModelReadyResponse:
        return kserve_pb2.ModelReadyResponse(ready=await self._models.ready(request.name, request.version))

    async def ModelMetadata(  # noqa: N802
        self, request: kserve_pb2.ModelMetadataRequest, context: Context
    ) -> kserve_pb2.ModelMetadataResponse:
        return kserve_pb2.ModelMetadataResponse(
            name=request.name,
            versions=[await self._models.digest(request.name, request.version)],
            platform="adapterhub",
            inputs=[
                Tensor(name=TEXT, datatype="BYTES", shape=[-1]),
                *(Tensor(name=name, datatype="BOOL", shape=[1]) for name in BOOLS),
                Tensor(name="sampling_parameters", datatype="BYTES", shape=[1]),
            ],
            outputs=[Tensor(name=name, datatype=datatype, shape=[-1]) for name, datatype in OUTPUTS.items()],
        )

    async def ModelInfer(  # noqa: N802
        self, request: kserve_pb2.ModelInferRequest, context: Context
    ) -> kserve_pb2.ModelInferResponse:
        question = read_question(request)
        if question.stream:
            raise InvalidInputError("stream: needs ModelStreamInfer", field="inputs.stream")
        return await self._generations.whole(question, context)

    async def ModelStreamInfer(  # noqa: N802
        self, requests: AsyncIterator[kserve_pb2.ModelInferRequest], context: Context
    ) -> AsyncGenerator[Answer]:
        async def answer(request: kserve_pb2.ModelInferRequest) -> AsyncGenerator[Answer]:
            try:
                with self._door.part(context):
                    async with aclosing(self._generations.replies(read_question(request), context)) as replies:
                        async for reply in replies:
                            yield Answer(infer_response=reply)
            except Exception as error:  # noqa: BLE001  told as any call's, and the stream goes on
                message = to_status(error, request_id=CALL.get().request_id).message
                yield Answer(error_message=message, infer_response=kserve_pb2.ModelInferResponse(id=request.id))

        async with aclosing(Stream(answer).answers(requests)) as answers:
            async for each in answers:
                yield each

    async def RepositoryIndex(  # noqa: N802
        self, request: kserve_pb2.RepositoryIndexRequest, context: Context
    ) -> kserve_pb2.RepositoryIndexResponse:
        _check(request.repository_name)
        found = [each for each in await self._models.index() if not request.ready or each.state == READY]
        return kserve_pb2.RepositoryIndexResponse(models=found)

    async def RepositoryModelLoad(  # noqa: N802
        self, request: kserve_pb2.RepositoryModelLoadRequest, context: Context
    ) -> kserve_pb2.RepositoryModelLoadResponse:
        _check(request.repository_name, request.parameters)
        await self._models.load(request.model_name)
        return kserve_pb2.RepositoryModelLoadResponse()

    async def RepositoryModelUnload(  # noqa: N802
        self, request: kserve_pb2.RepositoryModelUnloadRequest, context: Context
    ) -> kserve_pb2.RepositoryModelUnloadResponse:
        _check(request.repository_name, set(request.parameters) - {DEPENDENTS})
        await self._models.unload(request.model_name)
        return kserve_pb2.RepositoryModelUnloadResponse()


def _check(repository: str, parameters: Collection[str] = ()) -> None:
    """Raises InvalidInputError for what there is none of: there is one repository."""
    if repository:
        raise InvalidInputError(f"repository_name: {repository!r} (accepted: none)", field="repository_name")
    if parameters:
        name = min(parameters)
        raise InvalidInputError(f"parameters: {name!r} is not served", field=f"parameters.{name}")
