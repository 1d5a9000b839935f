"""Randomness as a pure function of (seed, what for, where): nothing to save, nothing to restore.

Every draw names its purpose, so adding one kind of randomness never shifts another (counter-based seeding as in
Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
"""

import hashlib

import numpy as np
import torch


def derive(seed: int, *keys: int | str) -> int:
    """A 63-bit seed from ``seed`` and any number of integer or string keys."""
    text = "/".join(str(key) for key in (seed, *keys))
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little") >> 1


def torch_generator(seed: int, *keys: int | str, device="cpu") -> torch.Generator:
    """A torch generator whose stream depends on ``seed`` and ``keys`` alone."""
    return torch.Generator(device=device).manual_seed(derive(seed, *keys))


def numpy_generator(seed: int, *keys: int | str) -> np.random.Generator:
    """The NumPy counterpart of :func:`torch_generator`."""
    return np.random.default_rng(derive(seed, *keys))
