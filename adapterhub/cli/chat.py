"""`adapterhub chat`: a chat in the terminal, with adapters that take turns."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Literal

import click

from adapterhub.cli.output import printable
from adapterhub.cli.server import Server, server_options

if TYPE_CHECKING:
    from adapterhub.chat import Voice

EXAMPLE = """\
adapterhub chat --adapter team/support
adapterhub chat --base smollm2-135m --system "Answer in one sentence." """


@click.command("chat")
@click.option("--adapter", default="", metavar="REF", help="Who answers first; without it, the base.")
@server_options
@click.option("--base", metavar="BASE", help="Start an own engine over this base, and ask no server.")
@click.option("--quantize", type=click.Choice(["none", "int8", "nf4"]), help="How the own engine holds its base.")
@click.option("--system", default="", metavar="TEXT", help="The system turn; by default each adapter's own.")
@click.option("--max-new-tokens", type=int, default=256, show_default=True, help="The most tokens of an answer.")
@click.option("--temperature", type=float, help="0 takes the likeliest token.")
@click.option("--top-k", type=int, help="Choose among the k likeliest; 0 means all.")
@click.option("--top-p", type=float, help="Choose among the likeliest whose probabilities reach p.")
@click.option("--seed", type=int, help="The same chat with the same seed has the same answers.")
@click.option("--history/--no-history", "kept", default=True, show_default=True, help="Keep what was typed for later.")
def command(
    adapter: str,
    server: Server,
    base: str | None,
    quantize: Literal["none", "int8", "nf4"] | None,
    system: str,
    kept: bool,
    **sampling: Any,
) -> None:
    """Chat with adapters in the terminal.

    /adapter NAME switches in mid-conversation, /compare A B has two answer side by side; /help lists the rest.
    Ctrl-C ends the answer that is coming, Ctrl-D the chat. When stdin is no terminal, every line of it is a message
    and answers are printed plainly.
    """
    given = {name: value for name, value in sampling.items() if value is not None}
    with asyncio.Runner() as runner, _voice(runner, server, base, quantize) as voice:
        _chat(runner, voice, adapter, system, given, kept=kept)


@contextmanager
def _voice(
    runner: asyncio.Runner, server: Server, base: str | None, quantize: Literal["none", "int8", "nf4"] | None
) -> Iterator[Voice]:
    if base is None:
        from adapterhub.chat import ServerVoice

        client = runner.run(server.aio_client())
        try:
            runner.run(client.info())  # says so when nobody is there
            yield ServerVoice(client)
        finally:
            runner.run(client.close())
        return
    from adapterhub.asking import OwnEngine
    from adapterhub.chat import EngineVoice
    from adapterhub.store import Store

    store = Store.default()
    with OwnEngine.load(base, store, quantization=quantize) as own:
        yield EngineVoice(own, store)


def _chat(
    runner: asyncio.Runner, voice: Voice, adapter: str, system: str, sampling: dict[str, Any], *, kept: bool
) -> None:
    from adapterhub.chat import Session
    from adapterhub.cli.chat_lines import history, piped_messages, typed_messages
    from adapterhub.cli.chat_screens import PlainScreen, TerminalScreen

    typed = sys.stdin.isatty()
    session = Session(voice, TerminalScreen() if typed else PlainScreen(), system=system, sampling=sampling)
    if adapter:
        runner.run(session.choose(adapter))
    with ExitStack() as stack:
        if typed:
            stack.enter_context(history(kept=kept))
            click.secho("/help lists the commands; Ctrl-C ends an answer, Ctrl-D the chat.", dim=True)
            messages = typed_messages(lambda: f"{printable(' | '.join(session.answering))}> ")
        else:
            messages = piped_messages()
        for message in messages:
            runner.run(_stoppable(session.take(message)) if typed else session.take(message))
            if session.ended:
                break


async def _stoppable(taken: Coroutine[Any, Any, None]) -> None:
    """Ctrl-C cancels it, and pressed again does no more than that: nothing of it is left in the loop."""
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(taken)
    loop.add_signal_handler(signal.SIGINT, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        click.echo("\n(stopped)")
    finally:
        loop.remove_signal_handler(signal.SIGINT)
