"""`adapterhub chat`: who answers, what they read, and what a terminal shows."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from serving import Serving, serving

from adapterhub.base import BaseModel
from adapterhub.chat import Conversation, Exchange
from adapterhub.cli.main import cli
from adapterhub.client import Turn
from adapterhub.prompt_format import PromptFormat


@pytest.fixture(scope="module")
def server(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("serving")
    with serving(BaseModel.load(str(tiny_base), quantization="none"), folder) as running:
        for name, method in (("team/a", "lora"), ("team/b", "ia3")):
            running.publish(name, method)
        running.publish("team/raw", "lora", prompt_format=PromptFormat.of(running.engine.base.tokenizer, "raw"))
        yield running


def chat(server: Serving, *lines: str, words: tuple[str, ...] = ()) -> Result:
    typed = "".join(f"{line}\n" for line in lines)
    asked = ["chat", "--address", server.address, "--max-new-tokens", "8", *words]
    return CliRunner().invoke(cli, asked, input=typed)


def printed(done: Result) -> str:
    """To the character: `Result.stdout` drops the carriage return that a random answer may end with."""
    return done.stdout_bytes.decode()


def answer(server: Serving, adapter: str, *said: str, system: str = "") -> str:
    """What the adapter says to a user's turns and an assistant's in between."""
    roles = ("user", "assistant")
    turns = [Turn(roles[index % 2], text) for index, text in enumerate(said)]  # type: ignore[arg-type]
    turns = [Turn("system", system), *turns] if system else turns
    return server.client.generate(turns, adapter=adapter, max_new_tokens=8).text


def test_each_adapter_goes_on_with_its_own_answers_where_it_gave_some() -> None:
    conversation = Conversation("be kind", [Exchange("1", {"a": "a1", "b": "b1"}), Exchange("2", {"b": "b2"})])
    texts = {name: [turn["content"] for turn in conversation.turns("3", name)] for name in "abc"}
    assert texts["a"] == ["be kind", "1", "a1", "2", "b2", "3"]
    assert texts["b"] == ["be kind", "1", "b1", "2", "b2", "3"]
    assert texts["c"] == texts["a"]


def test_adapters_switch_in_mid_conversation_and_know_what_was_said(server: Serving) -> None:
    first = answer(server, "", "hello")
    second = answer(server, "team/a", "hello", first, "two\nlines")
    done = chat(server, "hello", "/adapter team/a", "two\\", "lines", "/transcript")
    assert (done.exit_code, printed(done)) == (0, f"{first}\n{second}\n"), done.stderr
    labels = re.findall(r"^(?:you|base|team/a): ", done.stderr, flags=re.MULTILINE)
    assert labels == ["you: ", "base: ", "you: ", "team/a: "]


def test_two_are_compared_and_each_goes_on_with_its_own(server: Serving) -> None:
    one, other = answer(server, "team/a", "hi"), answer(server, "", "hi")
    after = answer(server, "", "hi", other, "more")
    done = chat(server, "/compare team/a base", "hi", "/adapter base", "more")
    assert printed(done) == f"team/a:\n{one}\nbase:\n{other}\n{after}\n"


def test_an_unknown_adapter_is_an_error_line_and_the_old_one_goes_on(server: Serving) -> None:
    done = chat(server, "/adapter team/b", "/adapter team/zz", "/compare team/a team/zz", "/adaptr x", "hi")
    assert (done.exit_code, printed(done)) == (0, answer(server, "team/b", "hi") + "\n")
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 3
    assert "no adapter 'team/zz'" in errors[0]
    assert errors[2].startswith("error: /adaptr: no command; did you mean 'adapter'? (known: /adapter, ")


def test_system_retry_and_reset(server: Serving) -> None:
    plain, told = answer(server, "", "hi"), answer(server, "", "hi", system="be kind")
    done = chat(server, "hi", "/system be kind", "/retry", "/reset", "/retry", "hi", "/quit", "never")
    assert printed(done) == f"{plain}\n{told}\n{told}\n"
    assert "error: /retry: nothing was said yet" in done.stderr


def test_an_adapter_of_raw_text_reads_the_last_message_alone(server: Serving) -> None:
    alone = server.client.generate("two", adapter="team/raw", max_new_tokens=8).text
    done = chat(server, "one", "/adapter team/raw", "two")
    assert printed(done).endswith(f"\n{alone}\n")
    assert "team/raw reads raw text: your last message alone" in done.stderr


def test_an_own_engine_answers_as_a_server(server: Serving, tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ("hello", "/adapter team/a", "more", "/compare team/b team/raw", "last", "/adapter team/zz", "again")
    far = chat(server, *lines)
    monkeypatch.setenv("ADAPTERHUB_STORE", str(server.store.root))
    own = chat(server, *lines, "/adapters", words=("--base", str(tiny_base), "--quantize", "none"))
    assert (own.exit_code, own.stdout) == (0, far.stdout), own.stderr
    assert "* team/b:latest\n* team/raw:latest\n" in own.stderr


def test_a_first_adapter_that_is_not_there_ends_it(server: Serving) -> None:
    assert chat(server, "hi", words=("--adapter", "team/zz")).exit_code == 3


class Terminal:
    """The verb on a pseudo-terminal."""

    def __init__(self, server: Serving, home: Path) -> None:
        ours, theirs = pty.openpty()
        words = [sys.executable, "-m", "adapterhub", "chat", "--address", server.address, "--max-new-tokens", "300"]
        settings = os.environ | {"TERM": "dumb", "COLUMNS": "80", "LINES": "20", "XDG_STATE_HOME": str(home)}
        self.process = subprocess.Popen(
            words, stdin=theirs, stdout=theirs, stderr=theirs, env=settings, start_new_session=True, preexec_fn=_own
        )
        os.close(theirs)
        self._fd = ours
        self.shown = ""

    def type(self, keys: str) -> None:
        os.write(self._fd, keys.encode())

    def wait_for(self, text: str) -> str:
        """What was shown until then, since the last wait; that text included."""
        deadline = time.monotonic() + 60
        while text not in self.shown:
            assert time.monotonic() < deadline, self.shown
            if select.select([self._fd], [], [], 0.1)[0]:
                try:
                    self.shown += os.read(self._fd, 4096).decode(errors="replace")
                except OSError:  # it has ended
                    assert text in self.shown, self.shown
        before, _, self.shown = self.shown.partition(text)
        return before + text

    def press(self, key: str, until: str) -> None:
        """A key, again each second: readline misses a Ctrl-C between its prompt and its wait for keys."""
        for _ in range(60):
            self.type(key)
            deadline = time.monotonic() + 1
            while until not in self.shown and time.monotonic() < deadline:
                if select.select([self._fd], [], [], 0.1)[0]:
                    self.shown += os.read(self._fd, 4096).decode(errors="replace")
            if until in self.shown:
                break
        self.wait_for(until)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._fd)


def _own() -> None:
    """The pseudo-terminal is the process's own, so that Ctrl-C reaches it."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_on_a_terminal_ctrl_c_ends_the_answer_and_ctrl_d_the_chat(server: Serving, tmp_path: Path) -> None:
    with Terminal(server, tmp_path) as terminal:
        terminal.wait_for("base> ")
        with server.cut_short():
            terminal.type("tell me a lot\n")
            server.wait_until(lambda: server.engine.stats().running == 1)
            time.sleep(0.1)
            terminal.press("\x03", until="(stopped)")
        server.pace.seconds = 0.0
        terminal.wait_for("base> ")
        terminal.type("/compare team/a team/b\n")
        terminal.wait_for("team/a | team/b> ")
        terminal.type("both\n")
        shown = terminal.wait_for("team/a | team/b> ")
        assert re.search(r"team/a +team/b", shown)
        terminal.type("/transcript")
        terminal.wait_for("/transcript")
        terminal.press("\x03", until="team/a | team/b> ")  # what stands on the line is dropped
        terminal.type("\x1b[A\x1b[A\n")  # two back in the history
        terminal.wait_for("team/a and team/b answer")
        terminal.wait_for("> ")
        terminal.type("\x04")
        assert terminal.process.wait(timeout=60) == 0
    history = tmp_path / "adapterhub" / "chat_history"
    assert history.read_text().splitlines()[0] == "tell me a lot"
    assert history.stat().st_mode & 0o777 == 0o600


LIGHT = """
import atexit, sys
atexit.register(lambda: print("torch" in sys.modules))
from adapterhub.cli.main import cli
cli(["chat", "--address", "127.0.0.1:1"])
"""


def test_without_a_server_it_says_so_and_has_imported_no_torch() -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, input="hi\n", check=False)
    assert (done.returncode, done.stdout) == (6, "False\n")
    assert done.stderr == "error: no server at 127.0.0.1:1; is it running? start one: adapterhub serve\n"
