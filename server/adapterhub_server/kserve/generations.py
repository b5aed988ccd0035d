"""Answers a question: its texts under its model."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing

from adapterhub.engine import Engine
from adapterhub.errors import InvalidInputError
from adapterhub.pb.compatible import kserve_pb2
from adapterhub.pb.v1 import inference_pb2
from adapterhub_server.answers import Answers
from adapterhub_server.batch import answer_all
from adapterhub_server.door import Context, Door
from adapterhub_server.fields import renamed
from adapterhub_server.kserve.models import Models
from adapterhub_server.kserve.options import LORA_NAME, write_options
from adapterhub_server.kserve.question import Question
from adapterhub_server.kserve.replies import Part, reply
from adapterhub_server.named_prompt import NamedPrompts
from adapterhub_server.requests import Requests

FIELDS = {"text": "inputs.text_input", "adapter": "model_name", "max_new_tokens": "max_tokens"}
"""Our fields by this protocol's names, for errors."""
FINAL = "triton_final_response"
"""The parameter of an answer in a stream that says whether it is its request's last."""

Replies = AsyncGenerator[kserve_pb2.ModelInferResponse]


class Generations:
    """Generates through `Answers`, as every door does."""

    def __init__(self, engine: Engine, answers: Answers, requests: Requests, models: Models, door: Door) -> None:
        self._tokenizer = engine.base.tokenizer
        self._answers = answers
        self._prompts = NamedPrompts(engine, requests)
        self._models = models
        self._door = door

    async def whole(self, question: Question, context: Context) -> kserve_pb2.ModelInferResponse:
        """All texts, to their ends. Raises as `Answers.whole`."""
        metadata = context.invocation_metadata() or ()

        async def answer(text: str) -> Part:
            with renamed(FIELDS):
                made = await self._answers.whole(await self._request(question, text, context), metadata)
            logprob = sum(each.logprob for each in made.logprobs)
            return Part(text * question.echo + made.text, made, made.usage.prompt_tokens, logprob, made.adapter_digest)

        parts = await answer_all(self._door, context, question.texts, answer)
        return self._reply(question, parts, parts[0].adapter_digest)

    async def replies(self, question: Question, context: Context) -> Replies:
        """The answer to a request of a stream: whole, or its one text's pieces. Raises as `Answers.pieces`."""
        if not question.stream:
            answer = await self.whole(question, context)
            answer.parameters[FINAL].bool_param = True
            yield answer
            return
        digest, prompt_tokens, logprob = "", 0, 0.0
        with renamed(FIELDS):
            request = await self._request(question, question.texts[0], context)
            async with aclosing(self._answers.pieces(request, context.invocation_metadata() or ())) as pieces:
                async for piece in pieces:
                    digest, prompt_tokens = digest or piece.adapter_digest, len(request.token_ids.ids)
                    logprob += sum(each.logprob for each in piece.logprobs)
                    answer = self._reply(question, [Part(piece.text, piece, prompt_tokens, logprob, digest)], digest)
                    answer.parameters[FINAL].bool_param = bool(piece.finish_reason)
                    yield answer

    async def _request(self, question: Question, text: str, context: Context) -> inference_pb2.GenerateRequest:
        adapter = self._models.adapter(question.request.model_name, question.request.model_version)
        if question.lora_name:
            if adapter:
                raise InvalidInputError(f"{LORA_NAME}: needs the base as model, not an adapter", field=LORA_NAME)
            adapter = self._models.adapter(question.lora_name)
        prompt = await self._prompts.read(text, adapter, context.invocation_metadata() or ())
        request = prompt.request()
        write_options(question.options, request)
        if not request.sampling.HasField("logprobs") and {"logprobs", "cumulative_logprob"} & set(question.outputs):
            request.sampling.logprobs = 0
        if request.sampling.temperature and not {"seed", "random_seed"} & question.options.keys():
            request.sampling.seed = secrets.randbelow(1 << 32)
        return request

    def _reply(self, question: Question, parts: list[Part], digest: str) -> kserve_pb2.ModelInferResponse:
        return reply(question, parts, self._models.version(digest), self._tokenizer)
