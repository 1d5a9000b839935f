"""The feature networks that metrics ask for, loaded; a metric whose network has no weights is left out with a remark."""

from dataclasses import replace

from metrics.lpips import lpips
from metrics.networks.load import load_network
from metrics.networks.network import Network
from metrics.networks.weights import MissingWeights
from metrics.registry import Metric
from evaluation.config import EvaluateConfig
from evaluation.own_network import own_network
from utils import distributed, hardware
from utils.errors import UserError


def parse_weights(text: str | None) -> dict[str, str]:
    """``inception=PATH,i3d=URL#sha256`` by name."""
    found = {}
    for part in filter(None, (text or "").split(",")):
        name, sign, value = part.partition("=")
        if not sign or not name.strip() or not value.strip():
            raise UserError(f"--weights {part}: must be NAME=PATH or NAME=URL#sha256, as in inception=weights.pth")
        found[name.strip().lower()] = value.strip()
    return found


def load_networks(metrics: dict[str, Metric], config: EvaluateConfig) -> tuple[dict[str, Metric], dict[tuple, Network], list[str]]:
    """The metrics that can be computed, the networks they need by Metric.needs, and a remark for each one left out.

    UserError if nothing is left."""
    weights = parse_weights(config.weights)
    device = str(hardware.pick_device(config.device, distributed.local_rank()))
    able, networks, notes = {}, {}, []
    missing: dict[str, str] = {}
    for name, metric in metrics.items():
        if metric.needs and metric.needs not in networks:
            try:
                if metric.kind == "pairs":
                    metric = replace(metric, function=lpips(weights.get("lpips")), weights=f"lpips sha256:{file_hash(weights['lpips'])}")
                else:
                    networks[metric.needs] = _load(metric, weights, device, config)
            except MissingWeights as error:
                missing.setdefault(str(error), []).append(name)
                continue
        able[name] = metric
    for reason, names in missing.items():
        notes.append(f"{', '.join(names)}: not computed. {reason}")
    if not able:
        raise UserError("; ".join(notes))
    return able, networks, notes


def _load(metric: Metric, weights: dict[str, str], device: str, config: EvaluateConfig) -> Network:
    if metric.network == "own":
        if "own" not in weights:
            raise UserError("--metrics ..._own: takes the features of a discriminator of yours; name its run, --weights own=RUN")
        return own_network(weights["own"], device)
    return load_network(metric.network, weights, device=device, precision=config.network_precision, resize=config.network_resize,
                        looks_at=metric.looks_at)
