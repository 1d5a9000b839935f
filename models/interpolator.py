"""A frame between two frames: motion from coarse to fine, both frames warped along it, mixed and touched up.

After IFRNet (Kong et al. 2022, arXiv 2205.14620: a shared pyramid encoder, decoders that refine both motions and a feature level
by level) and BMBC (Park et al. 2020, arXiv 2007.12622: the cost volume of opposite shifts). Untrained it already matches blocks:
each level's motion starts from the cheapest shift, and what the network learns is added to it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.warp import backward_warp, pad_to, shifts, symmetric_costs

MOST_PARAMETERS = 2_800_000
RADIUS = 2  # of the shifts that a level tries: +-4 of its own pixels of motion
_STILL = 9  # side of the neighbourhood that must be the same in both frames for a pixel to count as still


class Interpolator(nn.Module):
    """Frame at time t between two frames of any size.

    ``width``: channels of the first level; they grow by half of it at each of ``levels`` halvings, the coarsest 1/2^levels.
    ValueError if that makes more than 2.8 million parameters.
    """

    def __init__(self, width: int = 16, levels: int = 4):
        super().__init__()
        widths = [width + width * level // 2 for level in range(levels)]
        self.levels = levels
        self.encoder = nn.ModuleList(
            nn.Sequential(nn.Conv2d(before, here, 3, 2, 1), _active(), nn.Conv2d(here, here, 3, 1, 1), _active())
            for before, here in zip([3, *widths], widths))
        self.decoders = nn.ModuleList(_Decoder(here, above) for here, above in zip(widths, [*widths[1:], 0]))
        self.synthesis = _Synthesis(width)
        self.repeats = _Repeats(sum(widths))
        count = sum(parameter.numel() for parameter in self.parameters())
        if count > MOST_PARAMETERS:
            raise ValueError(f"{count:,} parameters, more than {MOST_PARAMETERS:,}: take a smaller width or fewer levels")

    def forward(self, first: Tensor, second: Tensor, time: Tensor) -> Tensor:
        """``first``, ``second`` (B, 3, H, W) in [-1, 1], ``time`` (B,) in [0, 1] -> (B, 3, H, W), float32.

        ``first`` at time 0 and ``second`` at time 1, and where both agree all around, what they show: to rounding, far less than one
        of 256 levels.
        """
        return self.parts(first, second, time)["frame"]

    def restore(self, first: Tensor, second: Tensor, time: Tensor) -> Tensor:
        """What was most likely there, where ``forward`` moves: the nearer frame again in footage whose frames are held (drawn on twos,
        12 frames a second in a file of 24). Which of both a frame half way repeats cannot be known: the first."""
        parts = self.parts(first, second, time)
        nearer = torch.where((time <= 0.5).view(-1, 1, 1, 1), first, second).float()
        return torch.where((parts["repeats"] > 0).view(-1, 1, 1, 1), nearer, parts["frame"])

    def parts(self, first: Tensor, second: Tensor, time: Tensor) -> dict[str, Tensor]:
        """"frame"; "flow0", "flow1" (B, 2, H, W): motion from each pixel to its place in ``first`` and ``second``, in pixels;
        "mask" (B, 1, H, W): the share that comes from ``first``, 1 where ``second`` does not show it; "residual" (B, 3, H, W);
        "repeats" (B,): the logit of the real frame being one of the two again."""
        height, width = first.shape[-2:]
        ends = [pad_to(frame.float(), 2**self.levels) for frame in (first, second)]
        time = time.float().view(-1, 1, 1, 1)
        pictures = [_halvings(frame, self.levels) for frame in ends]
        features = [self._encode(frame) for frame in ends]
        # v0, v1: motion to the first and to the second frame per unit of time, so that the flow is t v0 and (1 - t) v1.
        state = None
        for level in reversed(range(self.levels)):
            state = self.decoders[level](*(each[level] for each in pictures), *(each[level] for each in features), time, state)
        made = self.synthesis(*ends, time, *state)
        made = {name: value[..., :height, :width] for name, value in made.items()}
        return {**made, "repeats": self.repeats(*features, time)}

    def _encode(self, frame: Tensor) -> list[Tensor]:
        pyramid = []
        for stage in self.encoder:
            pyramid.append(stage(pyramid[-1] if pyramid else frame))
        return pyramid


class _Decoder(nn.Module):
    """One level: block matching around the motion so far, corrected by what the features of both frames tell."""

    def __init__(self, width: int, above: int):
        super().__init__()
        candidates = (2 * RADIUS + 1) ** 2
        self.body = nn.Sequential(nn.Conv2d(candidates + 2 + 4 + 1 + 2 * width + above, 2 * width, 3, 1, 1), _active(),
                                  nn.Conv2d(2 * width, 2 * width, 3, 1, 1), _active())
        self.hidden = nn.Conv2d(2 * width, width, 3, 1, 1)
        self.motion = nn.Conv2d(2 * width, 5, 3, 1, 1)
        nn.init.zeros_(self.motion.weight)
        nn.init.zeros_(self.motion.bias)
        self.sharpness, self.reluctance = nn.Parameter(torch.tensor(4.5)), nn.Parameter(torch.tensor(-3.0))

    def forward(self, first: Tensor, second: Tensor, features0: Tensor, features1: Tensor, time: Tensor,
                state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
        """Pictures and features of both frames at this level and the (velocities, hidden) of the coarser one (None at the
        coarsest) -> those of this level. Velocities (B, 4, h, w) are in pixels of this level."""
        velocity, hidden = first.new_zeros(len(first), 4, *first.shape[-2:]), []
        if state is not None:
            velocity, hidden = 2 * _double(state[0]), [_double(state[1])]
        flow0, flow1 = time * velocity[:, :2], (1 - time) * velocity[:, 2:]
        with torch.no_grad():
            costs = symmetric_costs(backward_warp(first, flow0), backward_warp(second, flow1), RADIUS)
        places = shifts(RADIUS, costs.device)
        distance = places.square().sum(1).view(1, -1, 1, 1)
        chosen = torch.softmax(-self.sharpness.exp() * costs - self.reluctance.exp() * distance, 1)
        match = 2 * torch.stack([(chosen * places[:, axis].view(1, -1, 1, 1)).sum(1) for axis in (0, 1)], 1)
        seen = [costs - costs.mean(1, keepdim=True), match, 0.1 * velocity, time.expand(-1, 1, *costs.shape[-2:]),
                backward_warp(features0, flow0), backward_warp(features1, flow1), *hidden]
        body = self.body(torch.cat([each.to(features0.dtype) for each in seen], 1))
        motion = self.motion(body).float()
        match = match * 2 * torch.sigmoid(motion[:, 4:])  # from "the network does not believe it" to twice as far
        return velocity + torch.cat([-match, match], 1) + motion[:, :4], self.hidden(body)


class _Repeats(nn.Module):
    """Whether this is footage whose frames are held: by what the features of both frames are like, and by how much they differ."""

    def __init__(self, features: int):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2 * features + 1, 32), _active(), nn.Linear(32, 1))
        nn.init.zeros_(self.body[-1].weight)
        nn.init.constant_(self.body[-1].bias, -3.0)  # most footage moves

    def forward(self, features0: list[Tensor], features1: list[Tensor], time: Tensor) -> Tensor:
        seen = [(time.flatten(1) - 0.5).square()]  # the same for a film played backwards
        for first, second in zip(features0, features1):
            seen += [(first.float() + second.float()).mean((2, 3)), (first.float() - second.float()).abs().mean((2, 3))]
        return self.body(torch.cat(seen, 1)).float().squeeze(1)


class _Synthesis(nn.Module):
    """At full size: how much of each warped and each unwarped frame, and what to add."""

    def __init__(self, width: int):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(4 * 3 + 2 + width, 2 * width, 3, 1, 1), _active(),
                                  nn.Conv2d(2 * width, 2 * width, 3, 1, 1), _active())
        self.out = nn.Conv2d(2 * width, 4 + 3, 3, 1, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, first: Tensor, second: Tensor, time: Tensor, velocity: Tensor, hidden: Tensor) -> dict[str, Tensor]:
        velocity = 2 * _double(velocity)
        flow0, flow1 = time * velocity[:, :2], (1 - time) * velocity[:, 2:]
        warped0, warped1 = backward_warp(first, flow0), backward_warp(second, flow1)
        apart = [(a - b).abs().mean(1, keepdim=True) for a, b in ((warped0, warped1), (first, second))]
        out = self.out(self.body(torch.cat([first, second, warped0, warped1, *apart, _double(hidden).float()], 1))).float()
        # Motion is believed where the warped frames agree better than the unwarped ones; the network adds to that.
        belief = (16 * (apart[1] - apart[0])).clamp(-4, 4)
        near = torch.cat([1 - time, time], 1)
        weights = torch.softmax(out[:, :4] + torch.cat([belief, belief, -belief, -belief], 1), 1) * torch.cat([near, near], 1)
        weights = weights / weights.sum(1, keepdim=True)
        residual = 4 * time * (1 - time) * out[:, 4:]
        mixed = sum(weights[:, index:index + 1] * source for index, source in enumerate((warped0, warped1, first, second)))
        moves = _moves(first, second)
        frame = moves * (mixed + residual) + (1 - moves) * ((1 - time) * first + time * second)
        return {"frame": frame, "flow0": flow0, "flow1": flow1, "mask": weights[:, :1] + weights[:, 2:3],
                "residual": moves * residual}


def _active() -> nn.Module:
    return nn.LeakyReLU(0.1, inplace=True)


def _moves(first: Tensor, second: Tensor) -> Tensor:
    """(B, 1, H, W): 0 where both frames are the same to the last of 256 levels all around, 1 from one level of difference on.
    What stands still must not flicker: captions, borders, held frames."""
    difference = (first - second).abs().amax(1, keepdim=True)
    return (F.max_pool2d(difference, _STILL, 1, _STILL // 2) * 127.5).clamp(max=1)


def _halvings(picture: Tensor, levels: int) -> list[Tensor]:
    """The picture at 1/2, 1/4 ... of its size, each pixel a mean."""
    pyramid = []
    for _ in range(levels):
        picture = F.avg_pool2d(picture, 2)
        pyramid.append(picture)
    return pyramid


def _double(values: Tensor) -> Tensor:
    return F.interpolate(values, scale_factor=2, mode="bilinear", align_corners=False)
