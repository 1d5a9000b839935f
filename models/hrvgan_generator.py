"""HRVGAN's generators: of one film, or of a still background and things that move before it."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.growth import Growing, double, fade, shrink
from models.hrvgan_parts import HRVGANConfig, Paint, Plan, UpBlock, initialise, kernel_span
from models.shape import ClipShape, check_size
from models.sprites import HIDDEN, WAVES, Paths, carry, curve_mask, cut_out, painted_mask
from utils.errors import UserError


def start_and_blocks(plan: Plan, config: HRVGANConfig, condition: int) -> tuple[nn.Linear, nn.ModuleDict]:
    """Condition -> the coarsest grid, flat, and the blocks that follow, coarse to fine."""
    channels = plan.channels(config.g_width, config)
    return nn.Linear(condition, channels[-1] * plan.grid[0] * plan.grid[1] * plan.grid[2]), \
        nn.ModuleDict({str(level): UpBlock(channels[level + 1], channels[level], plan.strides[level], plan.spans[level], config, condition)
                       for level in reversed(range(plan.depth))})


class Generator(Growing):
    """Latents (B, latent_dim) and, where there are several classes, labels (B,) -> clips (B, 3, T, H, W) in [-1, 1], height and width
    2^level times smaller while it grows."""

    def __init__(self, config: HRVGANConfig, shape: ClipShape):
        super().__init__()
        plan, self.takes_labels = Plan(config, shape), shape.classes > 1
        channels, self.depth = plan.channels(config.g_width, config), plan.depth
        condition = config.latent_dim
        if self.takes_labels:
            self.classes = nn.Embedding(shape.classes, config.class_dim)
            condition += config.class_dim
        width = config.g_mapping
        self.mapping = nn.Sequential(nn.Linear(condition, width), nn.LeakyReLU(0.2), nn.Linear(width, width), nn.LeakyReLU(0.2)) \
            if width else None
        self.condition_size = condition + width
        self.grid = (channels[-1], *plan.grid)
        self.project, self.blocks = start_and_blocks(plan, config, self.condition_size)
        span = kernel_span(config.kernel_frames, shape.frames)
        self.to_rgb = nn.ModuleDict({str(level): Paint(channels[level], 3, span, config, self.condition_size)
                                     for level in range(plan.grow + 1)})
        initialise(self)

    def condition(self, latents: Tensor, named: Tensor | None) -> Tensor:
        """What the layers are told, (B, condition_size), of latents and, where there are several classes, their vectors (B, class_dim)."""
        condition = latents if named is None else torch.cat([latents, named], 1)
        return torch.cat([condition, self.mapping(condition)], 1) if self.mapping else condition

    def named(self, labels: Tensor | None) -> Tensor | None:
        """The learnt vectors of classes, (B, class_dim); None where there is one class."""
        return self.classes(labels) if self.takes_labels else None

    def paint(self, condition: Tensor) -> Tensor:
        """Conditions (B, condition_size) -> clips."""
        x = self.project(condition).view(-1, *self.grid)
        low = None
        for level in range(self.depth - 1, self.level - 1, -1):
            if level == self.level and self.alpha < 1:
                low = torch.tanh(self.to_rgb[str(level + 1)](x, condition))
            x = self.blocks[str(level)](x, condition)
        made = torch.tanh(self.to_rgb[str(self.level)](x, condition))
        return made if low is None else fade(double(low), made, self.alpha)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.paint(self.condition(latents, self.named(labels)))


class Sprites(nn.Module):
    """Conditions (B, condition) and, where ``by_class``, vectors of classes (B, class_dim) -> ``config.sprites`` pictures with masks on
    their paths, as :func:`models.sprites.carry` takes them.

    The latent alone, the condition's beginning, tints each thing. What is painted with the tint is colours and a mask, by the whole
    condition, or ``by_class`` light and a mask, by the class alone. With curves for outlines colours or light are painted on the first,
    coarsest grid alone.
    """

    def __init__(self, config: HRVGANConfig, shape: ClipShape, condition: int, by_class: bool):
        super().__init__()
        if config.sprite_turn and config.latent_dim <= config.sprites:
            raise UserError(f"--model.sprite_turn {config.sprite_turn:g}: the latent's numbers after the first turn one sprite each; take "
                            f"--model.latent_dim {config.sprites + 1} or more")
        # Half the frame's resolution, as a window is about half the frame; the first grid is the same.
        depth = check_size(shape.height, shape.width, config.depth)
        halved = depth > 1
        plan = Plan(replace(config, depth=depth - halved, time_doublings=0), ClipShape(1, shape.height >> halved, shape.width >> halved))
        channels = plan.channels(config.g_width, config)
        self.grid, self.by_class, self.latent_dim = (channels[-1], *plan.grid), by_class, config.latent_dim
        # With statistics of a batch the picture of a class would change with the other classes in it.
        painter, told = (replace(config, g_norm="group"), config.class_dim) if by_class else (config, condition)
        self.project, blocks = start_and_blocks(plan, painter, told)
        colours, self.curved, self.size = 1 if by_class else 3, config.sprite_outline == "curve", (shape.height, shape.width)
        if self.curved:
            self.blocks, self.curve = nn.ModuleDict(), nn.Linear(told, (1 + 2 * WAVES) * config.sprites)
            self.paint = Paint(channels[-1], colours * config.sprites, 1, painter, told)
        else:
            self.blocks, self.paint = blocks, Paint(channels[0], (colours + 1) * config.sprites, 1, painter, told)
        self.tint = nn.Sequential(nn.Linear(config.latent_dim, HIDDEN), nn.LeakyReLU(0.2), nn.Linear(HIDDEN, 3 * config.sprites))
        self.paths = Paths(condition, config.sprites, shape.frames, shape.height, shape.width, config.sprite_size, config.sprite_turn)

    def forward(self, condition: Tensor, named: Tensor | None) -> tuple[Tensor, Tensor]:
        tint = self.tint(condition[:, :self.latent_dim]).unflatten(1, (-1, 3))
        told = named if self.by_class else condition
        x = self.project(told).view(-1, *self.grid)
        for block in self.blocks.values():
            x = block(x, told)
        painted, each = self.paint(x, told).squeeze(2), (tint.shape[1], -1)
        if self.curved:
            colours = F.interpolate(painted, self.size, mode="bilinear", align_corners=False).unflatten(1, each)
            mask = curve_mask(self.curve(told).unflatten(1, each), *self.size)
        else:
            painted = painted.unflatten(1, each)
            colours, mask = painted[:, :, :-1], painted_mask(painted[:, :, -1])
        return cut_out(colours + tint[..., None, None], mask), self.paths(condition)


class SpriteGenerator(Generator):
    """A :class:`Generator` of a still background, with ``config.sprites`` things before it that move as wholes."""

    def __init__(self, config: HRVGANConfig, shape: ClipShape):
        super().__init__(replace(config, time_doublings=0), replace(shape, frames=1))
        self.sprites = Sprites(config, shape, self.condition_size, by_class=self.takes_labels and config.sprite_class == "thing")
        initialise(self.sprites)
        # Strong tints at first beside what is painted: else the things of a class shared one colour.
        self.sprites.tint[-1].weight.data.mul_(2)
        self.sprites.paint.conv.weight.data.mul_(0.3)
        if self.sprites.curved:  # nearly discs
            self.sprites.curve.weight.data.mul_(0.1)

    def streams(self, latents: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        """"film", "foreground" and "background" (B, 3, T, H, W) in [-1, 1], "mask" (B, 1, T, H, W) in [0, 1]."""
        named = self.named(labels)
        condition = self.condition(latents, named)
        of_none = self.condition(latents, torch.zeros_like(named)) if self.sprites.by_class else condition
        background = self.paint(of_none).float()
        colours, mask = carry(*self.sprites(condition, named), *background.shape[-2:])
        colours, mask = (shrink(part, 0, self.alpha) for part in (colours, mask))  # they fade in as the background and real clips do
        return {"film": background * (1 - mask) + colours, "foreground": colours / mask.clamp_min(1e-3), "mask": mask,
                "background": background.expand_as(colours)}

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.streams(latents, labels)["film"]
