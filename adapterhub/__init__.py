"""adapterhub: train, store and serve parameter-efficient fine-tuning adapters of any method.

Importing it is light: what needs torch or gRPC is imported when its name is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from adapterhub.adopted import Adopted
from adapterhub.errors import ConfigError, UnsupportedAdapterError
from adapterhub.hookspecs import hookimpl
from adapterhub.method import BaseShape, Method, MethodConfig, ModuleShape, Param, Params, Plan, Site
from adapterhub.op import Activation as OpActivation
from adapterhub.op import Bottleneck, LowRank, Op, RunModule, Scale
from adapterhub.pattern import check_pattern, match_pattern
from adapterhub.preset import TrainPreset
from adapterhub.prompt_router import Candidate, Pick, PickPrompt, PromptRouter
from adapterhub.quiet import silence_missing_kernel
from adapterhub.select import Names, by_pattern, select_modules
from adapterhub.target_config import RankConfig, TargetConfig
from adapterhub.training_defaults import TrainDefaults
from adapterhub.unserved import Unserved

if TYPE_CHECKING:
    from adapterhub.base import BaseModel
    from adapterhub.client import AioClient, Client
    from adapterhub.engine import Engine, Request, Sampling
    from adapterhub.prompt_signature import prompt_features, read_signature, sign_prompts
    from adapterhub.store import Store
    from adapterhub.train.examples import collate
    from adapterhub.train.response_loss import learned_logits, summed_loss
    from adapterhub.train.tensors_kept import tensors_kept

__all__ = [
    "Adopted",
    "AioClient",
    "BaseModel",
    "BaseShape",
    "Bottleneck",
    "Candidate",
    "Client",
    "ConfigError",
    "Engine",
    "LowRank",
    "Method",
    "MethodConfig",
    "ModuleShape",
    "Names",
    "Op",
    "OpActivation",
    "Param",
    "Params",
    "Pick",
    "PickPrompt",
    "Plan",
    "PromptRouter",
    "RankConfig",
    "Request",
    "RunModule",
    "Sampling",
    "Scale",
    "Site",
    "Store",
    "TargetConfig",
    "TrainDefaults",
    "TrainPreset",
    "Unserved",
    "UnsupportedAdapterError",
    "by_pattern",
    "check_pattern",
    "collate",
    "hookimpl",
    "learned_logits",
    "match_pattern",
    "prompt_features",
    "read_signature",
    "select_modules",
    "sign_prompts",
    "summed_loss",
    "tensors_kept",
]

__version__ = "0.1.0"

_HOMES = {
    "AioClient": "adapterhub.client",
    "BaseModel": "adapterhub.base",
    "Client": "adapterhub.client",
    "Engine": "adapterhub.engine",
    "Request": "adapterhub.engine",
    "Sampling": "adapterhub.engine",
    "Store": "adapterhub.store",
    "collate": "adapterhub.train.examples",
    "learned_logits": "adapterhub.train.response_loss",
    "prompt_features": "adapterhub.prompt_signature",
    "read_signature": "adapterhub.prompt_signature",
    "sign_prompts": "adapterhub.prompt_signature",
    "summed_loss": "adapterhub.train.response_loss",
    "tensors_kept": "adapterhub.train.tensors_kept",
}
"""Where the names live that are not imported here."""


def __getattr__(name: str) -> Any:
    """The heavy names, at first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


silence_missing_kernel()
