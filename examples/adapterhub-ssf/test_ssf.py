from adapterhub_ssf import SSF

from adapterhub.testing import MethodContract


class TestSSF(MethodContract):
    method = SSF()
    options = ({}, {"target_modules": ["q_proj", "down_proj", "lm_head"]})
    scale = 0.5
