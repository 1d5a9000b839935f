"""What the networks of a family are built for."""

from dataclasses import dataclass

from utils.errors import UserError


@dataclass(frozen=True)
class ClipShape:
    """Clips of ``frames`` frames of ``height`` x ``width`` pixels, of ``classes`` classes (1 if there are none), for networks that
    start ``grow`` halvings below that size."""

    frames: int
    height: int
    width: int
    classes: int = 1
    grow: int = 0

    def single_frames(self, family: str) -> "ClipShape":
        """Itself; UserError unless clips have one frame."""
        if self.frames != 1:
            raise UserError(f"--frames {self.frames}: {family} makes single frames; leave it at 1")
        return self


def default_depth(height: int, width: int) -> int:
    """Halvings that bring the shorter side to 4..7 pixels (at least one)."""
    return max(1, (min(height, width) // 4).bit_length() - 1)


def check_size(height: int, width: int, depth: int | None) -> int:
    """The depth to use: ``depth``, or the default one. UserError with the nearest sizes that work unless both sides are
    multiples of 2**depth."""
    used = depth or default_depth(height, width)
    if height % 2**used == 0 and width % 2**used == 0:
        return used
    # Another size may have another default depth: a size counts only if it works with its own.
    sizes = [tuple(max(1, round(side / 2**d)) * 2**d for side in (height, width)) for d in ([depth] if depth else range(1, used + 2))]
    sizes = [size for size in sizes if depth or all(side % 2**default_depth(*size) == 0 for side in size)]
    near = min(sizes, key=lambda size: abs(size[0] - height) + abs(size[1] - width))
    raise UserError(f"--height {height} --width {width}: both sides must be multiples of {2**used} ({used} doublings); "
                    f"the nearest allowed is --height {near[0]} --width {near[1]}")
