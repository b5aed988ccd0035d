"""Every built-in method holds the contract, and a method that couples rows is caught by it."""

from __future__ import annotations

from pathlib import Path

import pytest
from adapterhub_adalora import AdaLora
from adapterhub_bottleneck import Bottleneck
from adapterhub_ia3 import IA3
from adapterhub_ln_tuning import LNTuning
from adapterhub_loha import LoHa
from adapterhub_lokr import LoKr
from adapterhub_lora import Lora
from adapterhub_oft import OFT
from adapterhub_p_tuning import PTuning
from adapterhub_prefix_tuning import PrefixTuning
from adapterhub_prompt_tuning import PromptTuning
from adapterhub_trainable_tokens import TrainableTokens
from adapterhub_vera import Vera

import adapterhub
from adapterhub.testing import MethodContract

pytest_plugins = ["pytester"]


class TestLora(MethodContract):
    method = Lora()
    options = (
        {"r": 4},
        {"r": 3, "lora_alpha": 7, "use_rslora": True, "target_modules": ["q_proj", "down_proj", "lm_head"]},
        {"use_dora": True, "target_modules": ["q_proj", "up_proj", "lm_head"]},
        {"target_modules": ["embed_tokens", "v_proj"]},
        {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
        {"r": 4, "use_dora": True, "rank_pattern": {"v_proj": 2}, "alpha_pattern": {"1.mlp.up_proj": 3}},
        {"r": 2, "target_modules": ["embed_tokens", "v_proj"], "modules_to_save": ["lm_head"]},
    )


class TestAdaLora(MethodContract):
    """That ranks are taken away, which a fresh adapter cannot say, is in `test_adalora`."""

    method = AdaLora()
    options = (
        {"init_r": 4},
        {"init_r": 3, "lora_alpha": 7, "target_modules": ["q_proj", "down_proj", "lm_head"]},
        {"target_modules": ["v_proj"], "layers_to_transform": [0, 2]},
    )
    scale = 0.3


class TestBottleneck(MethodContract):
    method = Bottleneck()
    options = (
        {"placement": "houlsby", "reduction_factor": 4, "non_linearity": "swish"},
        {"placement": "pfeiffer", "reduction_factor": 4},
        {"placement": "parallel", "reduction_factor": 2, "scaling": 4.0, "leave_out": [1]},
    )


class TestIA3(MethodContract):
    method = IA3()
    options = (
        {},
        {"target_modules": ["q_proj", "up_proj", "lm_head"], "feedforward_modules": ["up_proj"]},
        {"target_modules": "all-linear", "feedforward_modules": ["down_proj"]},
    )
    scale = 1.0


class TestLNTuning(MethodContract):
    method = LNTuning()
    options = ({}, {"target_modules": ["post_attention_layernorm", "norm"], "exclude_modules": r".*\.1\..*"})
    scale = 1.0


class TestLoHa(MethodContract):
    method = LoHa()
    options = (
        {"r": 4, "alpha": 12},
        {"target_modules": ["q_proj", "lm_head"], "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"q_proj": 9}},
    )
    scale = 0.4


class TestLoKr(MethodContract):
    method = LoKr()
    options = (
        {},
        {"r": 2, "decompose_both": True, "target_modules": ["q_proj", "up_proj", "lm_head"]},
        {"r": 3, "alpha": 9, "decompose_factor": 4, "rank_pattern": {"v_proj": 2}},
    )
    scale = 0.3


class TestOFT(MethodContract):
    method = OFT()
    options = (
        {"oft_block_size": 8},
        {"oft_block_size": 0, "r": 2, "use_cayley_neumann": False, "target_modules": ["q_proj", "up_proj", "lm_head"]},
        {"oft_block_size": 8, "coft": True, "eps": 1.0, "block_share": True, "num_cayley_neumann_terms": 3},
    )


class TestPromptTuning(MethodContract):
    method = PromptTuning()
    options = ({"num_virtual_tokens": 5},)


class TestPTuning(MethodContract):
    method = PTuning()
    options = ({"num_virtual_tokens": 5},)


class TestPrefixTuning(MethodContract):
    method = PrefixTuning()
    options = ({"num_virtual_tokens": 5}, {"num_virtual_tokens": 5, "prefix_projection": True})


class TestTrainableTokens(MethodContract):
    method = TrainableTokens()
    options = ({"token_indices": tuple(range(20, 258, 2))},)


class TestVera(MethodContract):
    method = Vera()
    options = ({"r": 8}, {"r": 5, "target_modules": ["q_proj", "down_proj"]})
    scale = 0.4


METHOD = '''
from adapterhub import Method, MethodConfig, Param, Site
from adapterhub.testing import MethodContract

class ShiftConfig(MethodConfig):
    """No options."""

class Shift(Method[ShiftConfig]):
    name, peft_type, Config = "shift", "SHIFT", ShiftConfig

    def sites(self, config, shape):
        return [Site("module", {"shift": Param((shape.hidden_size,))}, module=name) for name in shape.layers]

    def post(self, config, p, x, y):
        return %s

class TestShift(MethodContract):
    method = Shift()
    scale = 0.3
'''


def failures(pytester: pytest.Pytester, result: str) -> set[str]:
    """The contract's tests that fail for a method whose `post` returns `result`."""
    pytester.makepyfile(METHOD % result)
    report = pytester.inline_run("-p", "no:cacheprovider")
    passed, _, failed = report.listoutcomes()
    assert passed, "nothing ran"
    return {item.nodeid.split("::")[-1].split("[")[0] for item in failed}


def test_a_strangers_row_wise_method_holds_the_contract(pytester: pytest.Pytester) -> None:
    assert failures(pytester, "y + p['shift']") == set()


def test_a_method_that_couples_rows_is_caught(pytester: pytest.Pytester) -> None:
    assert {
        "test_rows_do_not_see_each_other",
        "test_a_mixed_batch_gives_each_request_what_it_gets_alone",
        "test_order_and_neighbours_do_not_matter",
    } <= failures(pytester, "y + p['shift'] * (y - y.mean(dim=0))")


def test_a_method_that_does_nothing_is_caught(pytester: pytest.Pytester) -> None:
    assert failures(pytester, "y + 1e-4 * p['shift']") == {"test_the_adapter_moves_the_base"}


def test_a_method_that_is_no_identity_at_first_is_caught(pytester: pytest.Pytester) -> None:
    assert failures(pytester, "y + 1 + p['shift']") == {"test_a_fresh_adapter_is_the_identity"}


def test_a_method_without_gradient_is_caught(pytester: pytest.Pytester) -> None:
    assert failures(pytester, "y + p['shift'].detach()") == {"test_only_its_own_tensors_learn"}


LOWERED = """
    def lower(self, config, site, p):
        from adapterhub import LowRank
        zeros = p["shift"].new_zeros
        return LowRank(zeros(1, len(p["shift"])), zeros(len(p["shift"]), 1), shift=p["shift"] * %s)
"""


@pytest.mark.parametrize(("factor", "caught"), [(1, set()), (2, {"test_a_lowered_site_computes_what_the_method_does"})])
def test_an_op_that_is_not_the_methods_mathematics_is_caught(
    pytester: pytest.Pytester, factor: int, caught: set[str]
) -> None:
    body = f"y + p['shift']\n{LOWERED % factor}"
    failed = failures(pytester, body)
    assert failed >= caught if caught else failed == set()


def test_adapterhub_needs_no_pytest_but_for_its_testing() -> None:
    root = Path(adapterhub.__file__).parent
    importing = {path.relative_to(root).parts[0] for path in root.rglob("*.py") if "import pytest" in path.read_text()}
    assert importing == {"testing"}
