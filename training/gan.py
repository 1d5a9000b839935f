"""The task of every adversarial family: a discriminator phase, a generator phase, the options between them."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from configs.schema import TrainConfig
from models.layers import BatchNorm, MinibatchStd
from training.augment import augment, draw, parse_policy
from training.losses import LOSSES, NEEDS_REAL_IN_G, gradient_penalty
from training.task import Batch, DataInfo, Phase, Request


class GANTask:
    """Trains ``generator`` against ``discriminator`` (or critic) with the losses and penalties of the config."""

    ema = ("generator",)

    def __init__(self, config: TrainConfig, info: DataInfo, device: torch.device, build: Callable[..., dict[str, nn.Module]]):
        self.nets = {name: net.to(device) for name, net in build(config.model, config.height, config.width).items()}
        if info.mean and getattr(config.model, "g_mean", False):
            self.nets["generator"].start_from(info.mean())
        self.latent_dim = config.model.latent_dim
        self.config, self.policy = config, parse_policy(config.augment)
        self.loss_d, self.loss_g = LOSSES[config.loss]
        self.phases = [Phase("d", self.nets["discriminator"], self._adam("discriminator", config.lr_d or config.lr), config.d_repeats),
                       Phase("g", self.nets["generator"], self._adam("generator", config.lr), every=config.g_every)]
        if config.share_fakes:
            self.phases.reverse()
        self._shared: dict[int, Tensor] = {}

    def _adam(self, name: str, lr: float) -> torch.optim.Adam:
        betas = (self.config.beta1, self.config.beta2)
        return torch.optim.Adam(self.nets[name].parameters(), lr=lr, betas=betas, fused=True)

    def losses(self, phase: str, batch: Batch) -> dict[str, Tensor]:
        """"d": how well real and generated clips are told apart, plus penalties. "g": how well the discriminator is fooled."""
        return self._discriminator(batch) if phase == "d" else self._generator(batch)

    def sample(self, nets: dict[str, nn.Module], request: Request) -> Tensor:
        return nets["generator"](request.latents)

    def _generate(self, batch: Batch) -> Tensor:
        return self.nets["generator"](batch.noise.normal("latent", self.latent_dim))

    def _augment(self, video: Tensor, batch: Batch, name: str) -> Tensor:
        if not self.policy:
            return video
        return augment(video, self.policy, draw(batch.noise, name, self.policy), self.config.augment_p)

    def _judge(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of both halves. One forward pass is faster, but statistics over clips must not mix real with generated ones."""
        discriminator = self.nets["discriminator"]
        if any(isinstance(layer, BatchNorm) or isinstance(layer, MinibatchStd) and len(real) % layer.group
               for layer in discriminator.modules()):
            return discriminator(real).float(), discriminator(fake).float()
        logits = discriminator(torch.cat([real, fake.to(real.dtype)])).float()
        return logits[:len(real)], logits[len(real):]

    def _discriminator(self, batch: Batch) -> dict[str, Tensor]:
        config = self.config
        fake = self._shared.pop(batch.noise.rows.start, None)
        if fake is None:
            with torch.no_grad():
                fake = self._generate(batch)
        real_seen, fake_seen = self._augment(batch.video, batch, "real"), self._augment(fake, batch, "fake")
        real, fake_logits = self._judge(real_seen, fake_seen)
        loss = self.loss_d(real, fake_logits)
        shown = {"loss": loss, "real": real.mean(), "fake": fake_logits.mean(), "spread": torch.cat([real, fake_logits]).std(),
                 "accuracy": ((real > 0).float().mean() + (fake_logits < 0).float().mean()) / 2}
        for name, gamma, video in (("r1", config.r1, real_seen), ("r2", config.r2, fake_seen)):
            if gamma and batch.step % config.penalty_every == 0:
                penalty = gradient_penalty(self.nets["discriminator"], video)
                shown[name] = penalty
                shown["loss"] = shown["loss"] + gamma / 2 * config.penalty_every * penalty
        return shown

    def _generator(self, batch: Batch) -> dict[str, Tensor]:
        made = self._generate(batch)
        if self.config.share_fakes:
            self._shared[batch.noise.rows.start] = made.detach()
        fake = self.nets["discriminator"](self._augment(made, batch, "fake")).float()
        real = None
        if self.config.loss in NEEDS_REAL_IN_G:
            with torch.no_grad():
                real = self.nets["discriminator"](self._augment(batch.video, batch, "real")).float()
        return {"loss": self.loss_g(real, fake)}
