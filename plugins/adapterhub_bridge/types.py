"""The PEFT types that have no plugin of their own: served through PEFT's layers, or refused with the reason."""

from __future__ import annotations

from adapterhub import Unserved
from adapterhub_bridge.method import Bridged
from adapterhub_bridge.virtual_tokens import Cartridge, Cpt, MultitaskPromptTuning

UNQUANTIZED = frozenset(("none",))
"""Its mathematics, as PEFT computes them, read the base's weights."""
FLOATING_ROWS = frozenset(("none", "nf4"))
"""It computes rows in fp32 whatever it is given, which int8 does not forgive."""

VIRTUAL_TOKENS = (Cartridge(), Cpt(), MultitaskPromptTuning())

BRIDGED = (
    Bridged("BEFT", needs_bias=True),
    Bridged("BOFT"),
    Bridged("C3A", FLOATING_ROWS, learning_rate=0.3),
    Bridged("DEFT", UNQUANTIZED),
    Bridged("DELORA"),
    Bridged("FOURIERFT"),
    Bridged("FROD", UNQUANTIZED, learning_rate=0.001),
    Bridged("GLORA", UNQUANTIZED, learning_rate=0.0005),
    Bridged("GRALORA", learning_rate=0.0002),
    Bridged("HIRA", UNQUANTIZED, learning_rate=0.0045),
    Bridged("HRA", weight="turned"),
    Bridged("MISS"),
    Bridged("OSF", UNQUANTIZED, learning_rate=5e-05),
    Bridged("PEANUT", UNQUANTIZED),
    Bridged("PSOFT", UNQUANTIZED),
    Bridged("PVERA", learning_rate=0.003),
    Bridged("RANDLORA"),
    Bridged("ROAD", learning_rate=0.001),
    Bridged("SHIRA", weight="added", learning_rate=0.0003),
    Bridged("SUPERTUNING", weight="added"),
    Bridged("TINYLORA", learning_rate=0.001),
    Bridged("UNILORA", learning_rate=0.002),
    Bridged("VBLORA", learning_rate=0.0005),
    Bridged("WAVEFT"),
)

REFUSED = (
    Unserved("ADAMSS", "the shapes of its tensors follow from clusters of the base's weights: none can be checked"),
    Unserved("ADAPTION_PROMPT", "its layers compute attention of their own beside the base's, from its queries"),
    Unserved("LILY", "its router averages over all tokens of a batch: a row depends on the rows beside it"),
    Unserved("POLY", "it mixes its modules by a task id that every example of a batch must bring"),
    Unserved("SHADOW", "it runs a second, smaller decoder with keys and values of its own"),
    Unserved("XLORA", "it runs the base twice for every token, to choose between adapters of other folders"),
)
