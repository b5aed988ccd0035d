"""The frozen base model: find it, identify it, load it, quantize it."""

from adapterhub.base.cache import cache_folder
from adapterhub.base.digest import base_digest, known_digest
from adapterhub.base.empty import EmptyBase
from adapterhub.base.int8 import Int8Linear
from adapterhub.base.model import BaseModel, load_tokenizer, read_base
from adapterhub.base.quantize import Quantization, quantize_int8
from adapterhub.base.resolve import BaseFolder, resolve_base
from adapterhub.base.shape import read_shape, shape_of

__all__ = [
    "BaseFolder",
    "BaseModel",
    "EmptyBase",
    "Int8Linear",
    "Quantization",
    "base_digest",
    "cache_folder",
    "known_digest",
    "load_tokenizer",
    "quantize_int8",
    "read_base",
    "read_shape",
    "resolve_base",
    "shape_of",
]
