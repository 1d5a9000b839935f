"""Random orders that need no memory: item ``i`` of a permutation of N numbers, computed when asked for.

A Feistel network (Luby and Rackoff 1988, "How to construct pseudorandom permutations from pseudorandom functions") permutes
the next power of four; walking on until the value falls below N makes it a permutation of N (Black and Rogaway 2002,
"Ciphers with arbitrary finite domains", cycle walking).
"""

import numpy as np

from utils.seeds import derive

_ROUNDS = 8


def permute(items: np.ndarray, size: int, seed: int, epoch: int) -> np.ndarray:
    """Where ``items`` (int64, each in [0, size)) go in the order of that epoch: a permutation, a pure function of its arguments."""
    half = np.uint64(max(1, (max(size - 1, 1).bit_length() + 1) // 2))
    mask = np.uint64((1 << int(half)) - 1)
    keys = [np.uint64(derive(seed, "order", epoch, turn)) for turn in range(_ROUNDS)]
    values = np.asarray(items, np.int64).astype(np.uint64)
    outside = np.ones(values.shape, bool)
    while outside.any():
        values[outside] = _feistel(values[outside], half, mask, keys)
        outside = values >= np.uint64(size)
    return values.astype(np.int64)


def draw(items: np.ndarray, sizes: np.ndarray, seed: int) -> np.ndarray:
    """For each of the ``items`` (int64) a number in [0, size), each as likely: a pure function of (seed, item), int64."""
    values = _mix(np.asarray(items, np.int64).astype(np.uint64) + np.uint64(derive(seed, "draw")))
    return (values % np.asarray(sizes, np.int64).astype(np.uint64)).astype(np.int64)


def _feistel(values: np.ndarray, half: np.uint64, mask: np.uint64, keys: list[np.uint64]) -> np.ndarray:
    left, right = values >> half, values & mask
    for key in keys:
        left, right = right, left ^ (_mix(right + key) & mask)
    return (left << half) | right


def _mix(values: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators")."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
