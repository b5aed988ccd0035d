"""A call that has to be made is made, whatever the model would rather say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from chat_templates import TEMPLATES
from scripted_base import save_scripted_base
from serving import serving

from adapterhub.base import BaseModel
from adapterhub.client import Chat, Tool, Turn
from adapterhub.errors import AdapterHubError

SCHEMA = {"type": "object", "properties": {"u": {"enum": ["C", "F"]}}, "required": ["u"], "additionalProperties": False}
TOOLS = [Tool("heat", "", SCHEMA), Tool("ping")]
MARKS = ("<tool_call>", "</tool_call>", "[TOOL_CALLS]", "[ARGS]", "<|START_ACTION|>", "<|END_ACTION|>")


@pytest.mark.parametrize("name", ["hermes", "mistral-named", "function-tags"])
def test_a_required_call_is_made_and_read(name: str, tmp_path: Path) -> None:
    folder = save_scripted_base(tmp_path / "base", TEMPLATES[name], ("No ", "tools."), special=MARKS)
    base = BaseModel.load(str(folder), quantization="none")
    options: dict[str, Any] = {"temperature": 1.0, "max_new_tokens": 90}
    with serving(base, tmp_path / "serving") as server:
        for seed in range(3):
            answer = server.client.generate(Chat([Turn("user", "?")], TOOLS, "required", "heat"), seed=seed, **options)
            assert answer.finish_reason == "tool_calls", answer.text
            (call,) = answer.tool_calls
            arguments = json.loads(call.arguments)
            assert (answer.text, call.name, arguments["u"] in ("C", "F")) == ("", "heat", True)
        any_of_all = server.client.generate(Chat([Turn("user", "?")], TOOLS, "required"), **options)
        assert {call.name for call in any_of_all.tool_calls} <= {"heat", "ping"}
        assert server.client.generate(Chat([Turn("user", "?")], TOOLS)).text == "No tools."
        bad = Tool("bad", "", {"type": "object", "properties": {"x": {"type": "nonsense"}}})
        with pytest.raises(AdapterHubError):
            server.client.generate(Chat([Turn("user", "?")], [bad], "required"))
