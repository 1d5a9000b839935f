"""Protocols by name: a metric and everything that its value depends on.

A name is a metric (with its network, if not the usual one), the number of clips, and for clips their length and, if not every
frame is kept, the frame skip: ``fid10k``, ``kid_random_512``, ``fvd2048_16f``, ``fvd_r3d_18_256_16f_skip2``, ``is_c3d_10k``. All of
them take seed 0, one frame of each clip for networks of frames, one clip of each video for distances between features of clips (as in
StyleGAN-V's protocol; the Inception score shows real clips beside its own alone and takes any), the training split, crops, and
torch-fidelity's resize.
"""

import re

from metrics.registry import choose
from utils.errors import UserError

CLIP_LENGTH = 16  # of what looks at clips, if the name says nothing else
KEPT = 10_000  # clips whose features are kept at least
KEPT_FRAMES = 4096  # the same of frames whose patches are
EXAMPLES = "fid10k, kid_random_1k, fvd2048_16f, is_c3d_10k"
_NAME = re.compile(r"(?P<metric>[a-z_]+(?:_r3d_18|_c3d|_i3d|_s3d)?)_?(?P<count>\d+)(?P<thousands>k?)"
                   r"(?:_(?P<frames>\d+)f)?(?:_skip(?P<skip>\d+))?")


def named_protocol(name: str) -> dict:
    """The settings that protocol ``name`` fixes. UserError if it is none."""
    match = _NAME.fullmatch(name.strip().lower())
    if not match or not (count := int(match["count"])):
        raise UserError(f"--protocol {name}: must be a metric, a number of clips and, for clips, their length, such as {EXAMPLES}")
    (metric,) = choose(match["metric"].rstrip("_"), f"--protocol {name}").values()
    if metric.kind == "pairs":
        raise UserError(f"--protocol {name}: compares pairs, which are given by the files; protocols are for crowds of clips")
    clips = metric.looks_at == "clips" or metric.collects in ("motion_patches", "warping", "thumbnails")
    if match["frames"] and not clips:
        raise UserError(f"--protocol {name}: looks at single frames; leave the length of clips out")
    frames = int(match["frames"] or CLIP_LENGTH) if clips else None
    fixed = {"metrics": metric.name, "num_samples": count * (1000 if match["thousands"] else 1), "frame_skip": int(match["skip"] or 1),
             "frames_per_clip": 1, "one_per_video": metric.looks_at == "clips" and metric.kind == "sets", "split": "train",
             "seed": 0, "fit": "crop", "network_resize": "tf1"}
    if metric.of_kept_features:
        fixed["max_features_kept"] = max(KEPT, fixed["num_samples"])
    if metric.collects in ("patches", "motion_patches"):
        fixed["max_frames_kept"] = max(KEPT_FRAMES, fixed["num_samples"])
    return fixed | ({"clip_frames": frames} if clips else {})
