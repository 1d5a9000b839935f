"""The feature networks that metrics ask for, loaded; a metric whose network has no weights is left out with a remark."""

from dataclasses import replace

from evaluation.config import EvaluateConfig
from evaluation.own_network import own_network
from metrics.lpips import lpips
from metrics.networks.network import Network, load_network
from metrics.networks.weights import MissingWeights, find_weights, parse_weights
from metrics.registry import Metric
from utils import distributed, hardware
from utils.errors import UserError
from utils.files import sha256_of


def load_networks(metrics: dict[str, Metric], config: EvaluateConfig) -> tuple[dict[str, Metric], dict[tuple, Network], list[str]]:
    """The metrics that can be computed, the networks they need by Metric.needs, and a remark for each one left out.

    UserError if nothing is left."""
    own, weights = split_weights(config.weights)
    device = str(hardware.pick_device(config.device, distributed.local_rank()))
    able, networks, notes = {}, {}, []
    missing: dict[str, str] = {}
    for name, metric in metrics.items():
        if metric.needs and metric.needs not in networks:
            try:
                if metric.kind == "pairs":
                    path = find_weights(metric.network, weights)
                    metric = replace(metric, function=lpips(path), weights=f"{path.name} {sha256_of(path)[:16]}")
                else:
                    networks[metric.needs] = _load(metric, weights, own, device, config)
            except MissingWeights as error:
                missing.setdefault(str(error), []).append(name)
                continue
        able[name] = metric
    for reason, names in missing.items():
        notes.append(f"{', '.join(names)}: not computed. {reason}")
    if not able:
        raise UserError("; ".join(notes))
    return able, networks, notes


def split_weights(text: str | None) -> tuple[str | None, dict[str, str]]:
    """``own=RUN,inception=PATH`` -> the run, and the rest by name."""
    parts = [part.strip() for part in (text or "").split(",") if part.strip()]
    own = [part.removeprefix("own=") for part in parts if part.startswith("own=")]
    return own[-1] if own else None, parse_weights([part for part in parts if not part.startswith("own=")])


def _load(metric: Metric, weights: dict[str, str], own: str | None, device: str, config: EvaluateConfig) -> Network:
    if metric.network == "own":
        if own is None:
            raise UserError(f"--metrics {metric.name}: takes the features of a discriminator of yours; name its run, --weights own=RUN")
        return own_network(own, device)
    resize = config.network_resize if metric.network == "inception" else None
    return load_network(metric.network, weights, device=device, precision=config.network_precision, resize=resize, looks_at=metric.looks_at)
