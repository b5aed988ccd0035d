"""Kernels of a CUDA device for what adapters do to their rows, by Triton, which only `rows` imports."""

from adapterhub.ops.cuda.kernels import CudaKernels
from adapterhub.ops.cuda.load import load_cuda_kernels
from adapterhub.ops.cuda.tiles import Tiles

__all__ = ["CudaKernels", "Tiles", "load_cuda_kernels"]
