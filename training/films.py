"""What a film shows beside plain samples: the streams of a two-stream generator, and the future of an image."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import torch
from torch import Tensor

from data.decode import fit_frame, read_image
from training.restore import Sampler
from training.step import to_float
from utils.errors import UserError
from utils.progress import note

PANELS = ("background", "foreground", "mask", "film")


def check_source(sampler: Sampler, image: str | None, streams: bool) -> None:
    """UserError if the generator needs an image and has none, or has no use for what is asked of it."""
    if sampler.takes_image and image is None:
        raise UserError(f"--image: {sampler.family} predicts what follows an image; give one")
    if image is not None and not sampler.takes_image:
        raise UserError(f"--image {image}: {sampler.family} makes nothing from an image; leave it out, or take a model of vgan_conditional")
    if image is not None and sampler.config.random_frame:
        note("this model was trained on frames from anywhere in a clip (--random_frame): the image may stand at any moment of its film, "
             "and clips do not go on from each other")
    if streams and not sampler.has_streams:
        raise UserError(f"--streams: {sampler.family} has no streams to show; leave it out, or take a model of vgan, of vgan_conditional, "
                        "or of hrvgan trained with --model.sprites")


def panels(sampler: Sampler, latents: Tensor, labels: Tensor | None = None, video: Tensor | None = None) -> Tensor:
    """(B, 3, T, H, 4 W) in [-1, 1]: background, foreground, mask (white where the foreground shows) and film, from left to right."""
    streams = sampler.streams(latents, labels, video)
    streams["mask"] = (streams["mask"] * 2 - 1).expand_as(streams["film"])
    return torch.cat([streams[name] for name in PANELS], dim=-1)


def load_image(path: str, height: int, width: int, fit: str = "crop") -> Tensor:
    """An image of any size as (1, 3, 1, height, width) in [-1, 1], as :func:`data.decode.fit_frame` brings it there. UserError if there
    is none."""
    if not Path(path).is_file():
        raise UserError(f"--image {path}: there is no such file")
    picture = read_image(Path(path))
    if picture is None:
        raise UserError(f"--image {path}: cannot be read as an image; JPEG and PNG can")
    frame = cv2.cvtColor(fit_frame(picture, height, width, fit), cv2.COLOR_BGR2RGB)
    return to_float(torch.from_numpy(frame)[None, None], torch.device("cpu"))


def predictions(sampler: Sampler, image: Tensor, streams: bool) -> Iterator[Tensor]:
    """Clips (1, 3, T, H, W or 4 W) without end, the first from ``image`` (1, 3, 1, H, W), each further one from the last frame before it.

    A clip begins with the frame that it was made from: the first frames of the further ones are left out.
    """
    nothing, first = torch.zeros(1, sampler.latent_dim), True
    while True:
        # A generator's own streams end with the film.
        shown = panels(sampler, nothing, video=image) if streams else sampler.sample(nothing, video=image)
        image = shown[:, :, -1:, :, -image.shape[-1]:]
        yield shown if first else shown[:, :, 1:]
        first = False
