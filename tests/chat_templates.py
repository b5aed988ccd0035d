"""Short chat templates in the manner of several families: what they write of tools and of calls, and little else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from adapterhub.testing.tiny_base import save_tokenizer

_OPENS = "{% if add_generation_prompt %}<s>assistant: {% endif %}"


def _template(call: str, *, between: str = "", around: tuple[str, str] = ("", ""), tools: bool = True) -> str:
    """A template whose assistant writes each `call`, of `f` with `f.name` and `f.arguments`."""
    shown = "{% if tools %}<s>tools: {{ tools | tojson }}</s>{% endif %}" if tools else ""
    calls = (
        f"{around[0]}{{% for c in m.tool_calls %}}{{% set f = c.function %}}{call}"
        f"{{% if not loop.last %}}{between}{{% endif %}}{{% endfor %}}{around[1]}"
    )
    return (
        f"{shown}{{% for m in messages %}}<s>{{{{ m.role }}}}: {{{{ m.content }}}}"
        f"{{% if m.tool_calls %}}{calls}{{% endif %}}</s>{{% endfor %}}{_OPENS}"
    )


_NAMED = '{"name": "{{ f.name }}", "arguments": {{ f.arguments | tojson }}}'
_ARGUMENTS = "{% for key, value in f.arguments.items() %}"
_QUOTED = "<escape>{{ value }}<escape>"

TEMPLATES = {
    "hermes": _template(f"<tool_call>\n{_NAMED}\n</tool_call>", between="\n"),
    "llama": _template('{"name": "{{ f.name }}", "parameters": {{ f.arguments | tojson }}}'),
    "mistral": _template(_NAMED, between=", ", around=("[TOOL_CALLS] [", "]")),
    "mistral-named": _template("[TOOL_CALLS]{{ f.name }}[ARGS]{{ f.arguments | tojson }}"),
    "function-tags": _template(
        f"<tool_call>\n<function={{{{ f.name }}}}>\n{_ARGUMENTS}<parameter={{{{ key }}}}>\n"
        "{{ value if value is string else value | tojson }}\n</parameter>\n{% endfor %}</function>\n</tool_call>",
        between="\n",
    ),
    "argument-tags": _template(
        f"<tool_call>{{{{ f.name }}}}\n{_ARGUMENTS}<arg_key>{{{{ key }}}}</arg_key>\n<arg_value>"
        "{{ value if value is string else value | tojson }}</arg_value>\n{% endfor %}</tool_call>",
        between="\n",
    ),
    "command": _template(
        '{"tool_call_id": "0", "tool_name": "{{ f.name }}", "parameters": {{ f.arguments | tojson }}}',
        between=",\n",
        around=("<|START_ACTION|>[\n", "\n]<|END_ACTION|>"),
    ),
    "function-gemma": _template(
        f"<start_function_call>call:{{{{ f.name }}}}{{{{ '{{' }}}}{_ARGUMENTS}{{{{ key }}}}:{{% if value is string %}}"
        f"{_QUOTED}{{% else %}}"
        "{{ value | tojson }}{% endif %}{% if not loop.last %},{% endif %}{% endfor %}}<end_function_call>"
    ),
}
"""By the name of the format that has to be found in them."""

WITHOUT_TOOLS = _template(_NAMED, tools=False)


def tokenizer(folder: Path, template: str, *special: str) -> Any:
    """The tiny base's tokenizer with another template, and special tokens of its own."""
    from transformers import AutoTokenizer

    folder.mkdir(exist_ok=True)
    save_tokenizer(folder)
    made = AutoTokenizer.from_pretrained(folder)
    made.chat_template = template
    if special:
        made.add_special_tokens({"additional_special_tokens": list(special)})
    return made
