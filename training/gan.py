"""The task of every adversarial family: a discriminator phase, a generator phase, the options between them."""

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from configs.schema import TrainConfig
from models.growth import double, shrink
from models.layers import BatchNorm, MinibatchStd
from models.shape import ClipShape
from models.spectral import normalise_spectrally
from training.augment import augment, draw, parse_policy
from training.growth import stage
from training.losses import LOSSES, NEEDS_REAL_IN_G, gradient_penalty, lipschitz_penalty, squared_slopes
from training.optimizers import make_optimizer
from training.penalty import CompiledSlopes
from training.remarks import remarks
from training.task import Batch, DataInfo, Noise, Phase, Request
from utils import distributed
from utils.errors import UserError


class GANTask:
    """Trains ``generator`` against ``discriminator`` (or critic) with the losses and penalties of the config.

    A network with ``takes_labels = True`` is called with class indices as its second argument. A generator with
    ``takes_image = True`` is given frames (B, 3, H, W) of real clips, mostly the first, instead of latents. One with ``streams(...)``,
    called like its ``forward``, gives the parts of its film by name: "film", "mask" ... Networks with ``set_growth`` (models/growth.py)
    may grow.
    """

    ema = ("generator",)
    step = 0

    def __init__(self, config: TrainConfig, info: DataInfo, device: torch.device, build: Callable[..., dict[str, nn.Module]]):
        shape = ClipShape(config.frames, config.height, config.width, info.num_classes, config.grow_from)
        nets = build(config.model, shape)
        if config.spectral_norm:
            normalise_spectrally(nets["discriminator"])
        self.nets = {name: net.to(device) for name, net in nets.items()}
        generator = self.nets["generator"]
        self.wants_video = self.takes_image = getattr(generator, "takes_image", False)
        self.has_streams = hasattr(generator, "streams")
        labelled, tells = (hasattr(self.nets["discriminator"], name) for name in ("takes_labels", "judge"))
        self.names_classes = tells and info.num_classes > 1
        for name, needed in (("mask_l1", self.has_streams), ("first_frame_l1", self.takes_image), ("random_frame", self.takes_image),
                             ("wrong_labels", labelled), ("class_ce", tells), ("class_ce_d", tells), ("class_ce_steps", tells),
                             ("class_ce_then", tells), ("diversity", not self.takes_image)):
            if getattr(config, name) and not needed:
                raise UserError(f"--{name} {getattr(config, name)}: {config.family} has nothing that it could apply to; leave it out")
        if config.grow_from and not hasattr(generator, "set_growth"):
            raise UserError(f"--grow_from {config.grow_from}: {config.family} does not grow; leave it at 0")
        if info.mean and getattr(config.model, "g_mean", False):
            generator.start_from(info.mean())
        if info.components and getattr(config.model, "components", 0):
            # The first process's: signs and turns of eigenvectors are the machine's own.
            components, mean = distributed.from_main(info.components(config.model.components)), info.mean()
            for net in self.nets.values():
                net.mix_from(components, mean)
        # By the halvings that are still to be grown. Of real clips that are all alike nothing can be asked.
        self.clip_distances = [max(distance, 1e-6) for distance in info.clip_distance(config.grow_from)
                               ] if config.diversity and info.clip_distance else [1.0] * (config.grow_from + 1)
        self.latent_dim = 0 if self.takes_image else config.model.latent_dim
        self.config, self.policy, self.num_classes = config, parse_policy(config.augment), info.num_classes
        self.class_ce_d = config.class_ce if config.class_ce_d is None else config.class_ce_d
        self.loss_d, self.loss_g = LOSSES[config.loss]
        self.phases = [
            Phase("d", self.nets["discriminator"], make_optimizer(config, self.nets["discriminator"], config.lr_d or config.lr),
                  config.d_repeats, clamp=config.clip_weights),
            Phase("g", generator, make_optimizer(config, generator, config.lr), every=config.g_every)]
        if config.share_fakes:
            self.phases.reverse()
        self._shared: dict[int, Tensor] = {}
        self.compiled_slopes = CompiledSlopes(self.nets["discriminator"]) if config.compile_penalty and config.penalised else None

    def get_ready(self) -> dict[str, str]:
        """Tells of settings that mean little. UserError for a clip at a time where batch normalisation needs more."""
        for remark in remarks(self.config, self.nets["discriminator"]):
            distributed.warn(remark)
        if self.config.batch_size == self.config.accumulate and distributed.world_size() == 1:
            size = (3, self.config.height, self.config.width) if self.takes_image else (self.latent_dim,)
            with torch.no_grad():
                self._grow(self.nets)
                source = torch.zeros(1, *size, device=next(self.nets["generator"].parameters()).device)
                label = torch.zeros(1, dtype=torch.int64, device=source.device)
                self._verdict(_call(self.nets["generator"], source, label), label)
        return {}

    def losses(self, phase: str, batch: Batch) -> dict[str, Tensor]:
        """"d": how well real and generated clips are told apart, plus penalties. "g": how well the discriminator is fooled."""
        if phase == "d" and self.compiled_slopes is not None:
            self._check_compiled(batch)
        self.step = batch.step
        self._grow(self.nets)
        if self.config.grow_from:
            batch = replace(batch, video=shrink(batch.video, *stage(self.config, self.step)))
        return self._discriminator(batch) if phase == "d" else self._generator(batch)

    def sample(self, nets: dict[str, nn.Module], request: Request) -> Tensor:
        self._grow(nets)
        return self._full_size(_call(nets["generator"], self._asked(request), request.labels), nets)

    def certainty(self, nets: dict[str, nn.Module], request: Request) -> Tensor:
        """What the discriminator takes to be the probability, as its logarithm, that each of the samples of :meth:`sample` shows its
        class, (B,). Only where ``names_classes`` is true."""
        self._grow(nets)
        made = _call(nets["generator"], self._asked(request), request.labels)
        return -F.cross_entropy(nets["discriminator"].judge(made, request.labels)[1].float(), request.labels, reduction="none")

    def _grow(self, nets: dict[str, nn.Module]) -> None:
        for net in nets.values() if self.config.grow_from else ():
            net.set_growth(*stage(self.config, self.step))

    def _full_size(self, made: Tensor, nets: dict[str, nn.Module]) -> Tensor:
        """Clips as they are shown while the networks grow, (B, any, T, H, W), each pixel a square."""
        return double(made, nets["generator"].level) if self.config.grow_from else made

    def streams(self, nets: dict[str, nn.Module], request: Request) -> dict[str, Tensor]:
        """The parts of what :meth:`sample` gives, by name. Only where ``has_streams`` is true."""
        self._grow(nets)
        parts = _call(nets["generator"].streams, self._asked(request), request.labels, nets["generator"])
        return {name: self._full_size(part, nets) for name, part in parts.items()}

    def _asked(self, request: Request) -> Tensor:
        return request.video[:, :, 0] if self.takes_image else request.latents

    def _source(self, batch: Batch) -> Tensor:
        """What the generator makes its clips from."""
        return self._given(batch.video, batch) if self.takes_image else batch.noise.normal("latent", self.latent_dim)

    def _given(self, video: Tensor, batch: Batch) -> Tensor:
        """Of each clip the frame (B, 3, H, W) at the place of the one that its generated clip is made from."""
        if not self.config.random_frame:
            return video[:, :, 0]
        frames = video.shape[2]
        place = (batch.noise.uniform("image") * frames).long().clamp(max=frames - 1)
        return video[torch.arange(len(video), device=video.device), :, place]

    def _augment(self, video: Tensor, batch: Batch, name: str) -> Tensor:
        if not self.policy:
            return video
        share = self.config.augment_p * min(1.0, batch.step / max(self.config.augment_warmup, 1))
        return augment(video, self.policy, draw(batch.noise, name, self.policy), share)

    def _verdict(self, video: Tensor, label: Tensor) -> Tensor:
        return _call(self.nets["discriminator"], video, label).float()

    def _told(self, weight: float) -> bool:
        """Whether a ``weight`` asks for the class of clips, of which there are several."""
        return bool(weight) and self.num_classes > 1

    def _verdict_and_class(self, seen: Tensor, plain: Tensor, label: Tensor, weight: float) -> tuple[Tensor, Tensor | None]:
        """Logits (B,) of the clips ``seen``, and where a ``weight`` asks for it the cross-entropy of each clip's class, (B,), told from
        the same clips without augmentation, ``plain``: only real against generated has to be made harder to tell."""
        if not self._told(weight):
            return self._verdict(seen, label), None
        verdict, classes = self.nets["discriminator"].judge(plain, label)
        if plain is not seen:
            verdict = self._verdict(seen, label)
        return verdict.float(), F.cross_entropy(classes.float(), label, reduction="none")

    def _judge(self, real: Tensor, fake: Tensor, plain: Tensor, label: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Logits of both halves, and what :meth:`_verdict_and_class` says of the classes of the real one. One forward pass is faster, but
        statistics over clips must not mix real with generated ones."""
        otherwise_seen = plain is not real and self._told(self.class_ce_d)
        if otherwise_seen or any(isinstance(layer, BatchNorm) or isinstance(layer, MinibatchStd) and len(real) % layer.group
                                 for layer in self.nets["discriminator"].modules()):
            verdict, class_ce = self._verdict_and_class(real, plain, label, self.class_ce_d)
            return verdict, self._verdict(fake, label), class_ce
        both = torch.cat([real, fake.to(real.dtype)])
        logits, class_ce = self._verdict_and_class(both, both, torch.cat([label, label]), self.class_ce_d)
        return logits[:len(real)], logits[len(real):], None if class_ce is None else class_ce[:len(real)]

    def _discriminator(self, batch: Batch) -> dict[str, Tensor]:
        config = self.config
        fake = self._shared.pop(batch.noise.rows.start, None)
        if fake is None:
            with torch.no_grad():
                fake = _call(self.nets["generator"], self._source(batch), batch.label)
        real_seen, fake_seen = self._augment(batch.video, batch, "real"), self._augment(fake, batch, "fake")
        real, fake_logits, class_ce = self._judge(real_seen, fake_seen, batch.video, batch.label)
        loss = self.loss_d(real, fake_logits)
        if config.wrong_labels and self.num_classes > 1:
            refused = self.loss_d(real, self._verdict(real_seen, wrong(batch.label, self.num_classes, batch.noise)))
            loss = torch.lerp(loss, refused, config.wrong_labels)
        shown = {"loss": loss, "adversarial": loss, "real": real.mean(), "fake": fake_logits.mean()}
        if not config.clip_weights:  # the bound on its weights, not what it knows, sets how far a clipped critic's verdicts lie apart
            shown["spread"] = torch.cat([real, fake_logits]).std()
        if config.loss == "rpgan":  # only differences mean anything
            shown["accuracy"] = (real > fake_logits).float().mean()
        elif not config.loss.startswith("wgan"):  # a critic's zero means nothing
            shown["accuracy"] = ((real > 0).float().mean() + (fake_logits < 0).float().mean()) / 2
        verdict, slopes = lambda video: self._verdict(video, batch.label), self._slopes(batch.label)
        for name, gamma, video in (("r1", config.r1, real_seen), ("r2", config.r2, fake_seen)):
            if gamma and batch.step % config.penalty_every == 0:
                shown[name] = gradient_penalty(verdict, video, slopes)
                shown["loss"] = shown["loss"] + gamma / 2 * config.penalty_every * shown[name]
        if class_ce is not None:
            shown["class_ce"] = class_ce.mean()
            shown["loss"] = shown["loss"] + self.class_ce_d * shown["class_ce"]
        if config.loss == "wgan_gp":
            shown["gp"] = lipschitz_penalty(verdict, real_seen, fake_seen, batch.noise.uniform("between"), slopes)
            shown["loss"] = shown["loss"] + config.gp * shown["gp"]
        return shown

    def _slopes(self, label: Tensor) -> Callable[..., Tensor]:
        """How penalties differentiate the discriminator; compiled only at full size, as every level would be compiled anew."""
        if self.compiled_slopes is None or stage(self.config, self.step) != (0, 1.0):
            return squared_slopes
        label = self._seen_label(label)
        return lambda discriminator, video: self.compiled_slopes(discriminator, video, label)

    def _seen_label(self, label: Tensor) -> Tensor | None:
        return label if getattr(self.nets["discriminator"], "takes_labels", False) else None

    def _check_compiled(self, batch: Batch) -> None:
        """At the first step, though the first penalty may come much later: who asked for it wants to know now. At full size."""
        if self.config.grow_from:
            self.nets["discriminator"].set_growth(0, 1.0)
        self.compiled_slopes.check(batch.video, self._seen_label(batch.label))

    def _generator(self, batch: Batch) -> dict[str, Tensor]:
        config, shown = self.config, {}
        source, label, generator = self._source(batch), batch.label, self.nets["generator"]
        if config.diversity:  # every other clip gets a sibling of its class
            every_other = slice(batch.noise.rows.start % 2, None, 2)  # of the whole batch, however it is divided
            source = torch.cat([source, batch.noise.normal("sibling", self.latent_dim)[every_other]])
            label = torch.cat([label, label[every_other]])
        if config.mask_l1:
            streams = _call(generator.streams, source, label, generator)
            made, shown["mask"] = streams["film"], streams["mask"][:len(batch.label)].float().abs().mean()
        else:
            made = _call(generator, source, label)
        made, siblings = made[:len(batch.label)], made[len(batch.label):]
        if config.diversity:
            # Of means over time: else it would do to change from frame to frame.
            apart = (made[every_other].float() - siblings.float()).mean(2).abs().flatten(1).mean(1)
            share = config.batch_size / ((config.batch_size + 1) // 2) / len(made)  # means over parts make the one over all siblings
            shown["diversity"] = F.relu(1 - apart / self.clip_distances[stage(config, self.step)[0]]).sum() * share
        if config.share_fakes:
            self._shared[batch.noise.rows.start] = made.detach()
        asks = config.class_ce if config.class_ce_steps is None or batch.step <= config.class_ce_steps else config.class_ce_then
        seen = self._augment(made, batch, "fake")
        fake, class_ce = self._verdict_and_class(seen, made, batch.label, asks)
        if class_ce is not None:
            shown["class_ce"] = class_ce.mean()
        real = None
        if config.loss in NEEDS_REAL_IN_G:
            with torch.no_grad():
                real = self._verdict(self._augment(batch.video, batch, "real"), batch.label)
        if config.pixel_mse:
            shown["pixel_mse"] = (made.float() - batch.video).square().mean()
        if config.first_frame_l1:
            shown["first_frame_l1"] = (self._given(made, batch).float() - self._given(batch.video, batch)).abs().mean()
        weights = {"mask": config.mask_l1, "pixel_mse": config.pixel_mse, "first_frame_l1": config.first_frame_l1,
                   "class_ce": asks, "diversity": config.diversity}
        return {"loss": self.loss_g(real, fake) + sum(weights[name] * value for name, value in shown.items()), **shown}


def wrong(label: Tensor, classes: int, noise: Noise) -> Tensor:
    """For each label (B,) one of the other ``classes``, each as likely."""
    return (label + 1 + (noise.uniform("wrong labels") * (classes - 1)).long().clamp(max=classes - 2)) % classes


def _call(function: Callable, source: Tensor, label: Tensor | None, net: nn.Module | None = None) -> Tensor:
    """A network, or a function of ``net``, with the labels if it takes them."""
    return function(source, label) if getattr(net or function, "takes_labels", False) else function(source)
