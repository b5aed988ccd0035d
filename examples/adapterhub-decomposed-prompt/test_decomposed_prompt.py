from adapterhub_decomposed_prompt import DecomposedPrompt

from adapterhub.testing import MethodContract


class TestDecomposedPrompt(MethodContract):
    method = DecomposedPrompt()
    options = ({"num_virtual_tokens": 6, "rank": 3},)
    scale = 0.5
