"""PEFT learns every installed method it does not know itself.

Importing this package registers them, after which `peft.get_peft_model` trains them and
`peft.PeftModel.from_pretrained` loads them like PEFT's own.
"""

from adapterhub.peft.registry import peft_config, register, register_installed
from adapterhub.peft.tuner import SiteTuner

__all__ = ["SiteTuner", "peft_config", "register", "register_installed"]

register_installed()
