"""Generates `adapterhub/pb` from the protos beside this file: `python protos/generate.py [ROOT]`.

The virtual path `adapterhub/pb` makes the stubs import each other as `adapterhub.pb.v1`. It also
means that a proto cannot import another of ours under the name strangers use, so none does. It also
keeps the files of `compatible` from being taken for those that other packages bring, whose
messages have the same names: a process may have one of the two.
"""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc  # type: ignore[import-untyped]

PROTOS = Path(__file__).resolve().parent / "adapterhub"
WELL_KNOWN = files("grpc_tools") / "_proto"
"""Google's own types, such as Duration."""


def generate(root: Path) -> None:
    """Write the stubs of every proto under `root`, which stands for the repository's root."""
    names = [f"adapterhub/pb/{path.relative_to(PROTOS)}" for path in sorted(PROTOS.rglob("*.proto"))]
    outputs = [f"--{kind}_out={root}" for kind in ("python", "pyi", "grpc_python")]
    if protoc.main(["protoc", f"-Iadapterhub/pb={PROTOS}", f"-I{WELL_KNOWN}", *outputs, *names]) != 0:
        raise SystemExit("protoc failed")


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else PROTOS.parents[1])
