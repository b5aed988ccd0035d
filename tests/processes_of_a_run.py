"""One process of several that train together, as `torchrun` starts it: `processes_of_a_run.py FOLDER [fsdp]`.

FOLDER holds `runs.json`, settings by name; each run leaves FOLDER/<name>, and its losses in FOLDER/<name>.json.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate.state import PartialState
from accelerate.utils import DistributedType

from adapterhub.train import TrainConfig, train
from adapterhub.train.processes import Processes


def shard_on_the_cpu() -> None:
    """accelerate shards on accelerators only, though torch does on the CPU too: it takes the CPU for one."""
    state: Any = PartialState
    state._prepare_backend = lambda self, *args, **kwargs: ("gloo", DistributedType.MULTI_GPU)
    state.set_device = lambda self: setattr(self, "device", torch.device("cpu"))


def main(folder: Path, *, sharding: bool) -> None:
    torch.set_num_threads(1)
    if sharding:
        shard_on_the_cpu()
    for name, settings in json.loads((folder / "runs.json").read_text()).items():
        config = TrainConfig.load(settings, where=name)
        into = folder / name if Processes.now().first else folder / f"{name}-{Processes.now().rank}"
        result = train(config, into)
        assert result.folder == folder / name, "all processes get what the first one made"
        if Processes.now().first:
            (folder / f"{name}.json").write_text(json.dumps({"losses": result.losses, "after": result.loss_after}))
        else:
            assert not into.exists(), "only the first one writes"


if __name__ == "__main__":
    main(Path(sys.argv[1]), sharding=sys.argv[2:] == ["fsdp"])
