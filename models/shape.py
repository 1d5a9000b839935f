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
