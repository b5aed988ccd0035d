"""For the tests of plugins: the contract every method must hold. Needs the extra `testing` (pytest)."""

import pytest

pytest.register_assert_rewrite("adapterhub.testing.contract")

from adapterhub.testing.contract import MethodContract  # noqa: E402
from adapterhub.testing.random_adapter import save_random_adapter  # noqa: E402
from adapterhub.testing.tiny_base import save_tiny_llama, save_tokenizer  # noqa: E402

__all__ = ["MethodContract", "save_random_adapter", "save_tiny_llama", "save_tokenizer"]
