import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from data.sampling import permute


@given(size=st.integers(1, 3000), seed=st.integers(0, 2**63 - 1), epoch=st.integers(0, 2**40))
def test_every_epoch_is_a_permutation(size, seed, epoch):
    assert np.array_equal(np.sort(permute(np.arange(size), size, seed, epoch)), np.arange(size))


@given(size=st.integers(2, 10**12), seed=st.integers(0, 2**31), data=st.data())
def test_an_item_does_not_depend_on_its_company(size, seed, data):
    items = np.array(data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=20)))
    together = permute(items, size, seed, 3)
    assert together.min() >= 0 and together.max() < size
    assert [int(permute(items[i:i + 1], size, seed, 3)[0]) for i in range(len(items))] == together.tolist()


def test_orders_differ_between_seeds_and_epochs():
    order = permute(np.arange(1000), 1000, 5, 0)
    for other in (permute(np.arange(1000), 1000, 6, 0), permute(np.arange(1000), 1000, 5, 1)):
        assert (order == other).mean() < 0.02  # two random orders of 1000 agree in one place on average


def test_places_are_uniform():
    """Where items 0 and 1 land over many epochs, and the step between them: chi-squared with 16 degrees of freedom."""
    size, epochs = 17, 1500
    rows = np.stack([permute(np.arange(size), size, 11, epoch) for epoch in range(epochs)])
    expected = epochs / size
    for values in (rows[:, 0], rows[:, 1], rows[:, 16]):
        assert ((np.bincount(values, minlength=size) - expected) ** 2 / expected).sum() < 45  # p = 1e-4 lies at 44.5
    steps = np.bincount((rows[:, 1] - rows[:, 0]) % size, minlength=size)[1:]
    expected = epochs / (size - 1)
    assert ((steps - expected) ** 2 / expected).sum() < 43
