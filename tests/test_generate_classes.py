"""Films of a chosen class, and films that lead from one seed to another."""

import numpy as np
import pytest
import torch

from generate import GenerateConfig, film_frames
from tests.test_generate import Clips, _one_thread, frames_of, run, sampler  # noqa: F401  fixtures among them
from utils.errors import UserError
from utils.latent_paths import slerp
from utils.seeds import derive


class Classed(Clips):
    takes_labels, classes, shown = True, ("cat", "dog", "hen"), [0, 1, 2]


@pytest.mark.parametrize("batch_size", [1, 4, 16])
def test_cells_and_films_take_turns_through_the_classes(batch_size):
    for film, expected in ((0, [0, 1, 2, 0]), (1, [1, 2, 0, 1])):
        clips = Classed()
        list(film_frames(clips, GenerateConfig(num_frames=9, grid="2x2", batch_size=batch_size).check(), 24, film))
        assert clips.labels == expected * 3
    clips = Classed()
    frames_of(clips, num_frames=5, grid="1x2", label="hen")
    assert clips.labels == [2, 2] * 2


def test_a_class_that_had_no_clips_gets_no_turn():
    clips = Classed()
    clips.shown = [0, 2]
    frames_of(clips, num_frames=1, grid="1x5")
    assert clips.labels == [0, 2, 0, 2, 0]


@pytest.mark.parametrize("classes, size", [(1, (1, 1)), (2, (1, 2)), (3, (2, 2)), (7, (3, 3)), (12, (3, 4)), (101, (10, 11))])
def test_a_grid_of_classes_has_a_cell_for_each(classes, size):
    config = GenerateConfig(grid="classes").check()
    assert config.rows_columns(classes) == size
    if classes == 3:
        clips = Classed()
        list(film_frames(clips, GenerateConfig(num_frames=1, grid="classes").check(), 24))
        assert clips.labels == [0, 1, 2, 0]
    with pytest.raises(UserError, match="--label cat: --grid classes shows every class"):
        GenerateConfig(grid="classes", label="cat").check()


def test_a_label_that_is_unknown_or_useless_is_refused():
    with pytest.raises(UserError, match="--label cow: must be one of cat, dog, hen"):
        frames_of(Classed(), num_frames=1, label="cow")
    with pytest.raises(UserError, match="--label cat: .* without classes"):
        frames_of(Clips(), num_frames=1, label="cat")


def test_between_two_seeds_a_film_leads_from_the_one_to_the_other(sampler):
    film_ = frames_of(sampler, num_frames=7, interpolate="3:14", grid="1x2")
    for frame, seed in ((0, 3), (6, 14)):
        alone = frames_of(sampler, num_frames=1, seed=seed, grid="1x2")
        assert np.abs(film_[frame].astype(int) - alone[0]).max() <= 1
    steps = np.abs(np.diff(film_.astype(float), axis=0)).mean(axis=(1, 2, 3))
    assert steps.min() > 0 and steps.max() < 0.5 * np.abs(film_[0].astype(float) - film_[6]).mean()


def test_between_two_seeds_a_clip_plays_to_and_fro_and_every_frame_has_a_latent_of_its_own():
    clips = Clips()
    frames = frames_of(clips, num_frames=9, interpolate="3:14", batch_size=4)
    assert frames[:, 0, 0, 1].tolist() == [0, 1, 2, 3, 2, 1, 0, 1, 2]  # the moment of the clip
    assert frames[:, 0, 0, 0].tolist() == list(range(9))  # the clip
    ends = [clips.latents(1, derive(seed, "film", 0, 0))[0] for seed in (3, 14)]
    torch.testing.assert_close(clips.asked[0], ends[0])
    torch.testing.assert_close(clips.asked[8], ends[1])
    torch.testing.assert_close(clips.asked[4], slerp(ends[0].double(), ends[1].double(), 0.5).float())
