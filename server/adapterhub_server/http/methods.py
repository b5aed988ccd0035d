"""The methods of the HTTP door."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from adapterhub.pb.v1 import inference_pb2
from adapterhub_server.behind import Behind
from adapterhub_server.call import CALL
from adapterhub_server.http import chat_answer, completion_answer
from adapterhub_server.http.body import read_object
from adapterhub_server.http.chat_body import read_chat
from adapterhub_server.http.completion_answer import Echo
from adapterhub_server.http.completion_body import read_completion
from adapterhub_server.http.endpoint import Asked
from adapterhub_server.http.heading import Heading
from adapterhub_server.http.models import Models
from adapterhub_server.http.reply import JSON
from adapterhub_server.http.side_by_side import SideBySide
from adapterhub_server.http.token_texts import TokenTexts


class Methods:
    """Each decodes, asks `Answers`, and encodes."""

    def __init__(self, behind: Behind) -> None:
        self._side_by_side = SideBySide(behind.calls, behind.answers)
        self._answers = behind.answers
        self._requests = behind.requests
        self._base = behind.engine.base.record.id
        self._models = Models(behind)
        self._texts = TokenTexts(behind.engine.base.tokenizer)

    async def list_models(self, asked: Asked) -> JSON:
        return await self._models.all()

    async def get_model(self, asked: Asked) -> JSON:
        return await self._models.get(asked.path["name"])

    async def chat_completions(self, asked: Asked) -> JSON | AsyncGenerator[JSON]:
        message, options = read_chat(read_object(asked.body), self._base)
        call = CALL.get()
        call.fills, call.names_base = True, options.model == self._base
        heading = Heading.of("chatcmpl", call.request_id, options.model)
        if options.stream:
            pieces = self._answers.pieces(message, asked.metadata)
            include_usage = options.stream_options.include_usage
            return chat_answer.events(
                heading, pieces, self._texts, include_usage=include_usage, token_ids=options.return_token_ids
            )
        answer = await self._answers.whole(message, asked.metadata)
        return chat_answer.whole(heading, answer, self._texts, token_ids=options.return_token_ids)

    async def completions(self, asked: Asked) -> JSON | AsyncGenerator[JSON]:
        messages, options, echo = read_completion(read_object(asked.body), self._base)
        call = CALL.get()
        call.names_base = options.model == self._base
        heading = Heading.of("cmpl", call.request_id, options.model)
        if options.stream:
            pieces = self._side_by_side.pieces(messages, asked.metadata)
            return completion_answer.events(
                heading,
                pieces,
                self._texts,
                n=options.n,
                include_usage=options.stream_options.include_usage,
                token_ids=options.return_token_ids,
            )
        answers = await self._side_by_side.wholes(messages, asked.metadata)
        echoes = [await self._echo(message) for message in messages] if echo else None
        return completion_answer.whole(heading, answers, self._texts, echoes, token_ids=options.return_token_ids)

    async def _echo(self, message: inference_pb2.GenerateRequest) -> Echo:
        """The prompt of a request that was answered."""
        ids = message.token_ids.ids
        if not message.sampling.HasField("prompt_logprobs"):
            return Echo(message.text or self._texts.text(ids))
        if not ids:
            prompt = inference_pb2.TokenizeRequest(text=message.text, adapter=message.adapter)
            if message.HasField("prompt_format"):
                prompt.prompt_format.CopyFrom(message.prompt_format)
            ids = (await self._requests.tokenize(prompt)).token_ids
        return Echo(message.text or self._texts.text(ids), ids)
