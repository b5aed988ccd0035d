"""What `soak_run_killed` starts, to kill it: the command line, with one thread."""

import sys

import torch

from adapterhub.cli.main import cli

torch.set_num_threads(1)
cli(sys.argv[1:], prog_name="adapterhub")
