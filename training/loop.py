"""The loop: turns a task's losses into steps, once for all families."""

import time
from pathlib import Path

import torch

from configs.schema import TrainConfig
from data.batches import Batches
from training import checkpoint, rates, samples
from training.alarms import Alarm, Watch, distance, non_finite, thumbnails, variety
from training.ema import Averaged
from training.evaluation import Evaluations
from training.folder import RunFolder
from training.log import Clock, Log, write_rows
from training.report import write_report
from training.setup import Setup, prepare
from training.signals import Signals
from training.step import run_phase, to_float
from utils import distributed, hardware, images
from utils.errors import EXIT_INTERRUPTED, UserError
from utils.files import write_json
from utils.progress import note

EXIT_ALARM = 3
# Samples are looked at at every so-manieth logged step, this many of them.
LOOK_EVERY, LOOK_CLIPS = 3, 32


def train(config: TrainConfig) -> int:
    """Train, or continue, the run in ``config.out``. Returns the exit status: 0 when it is complete, 75 when it was interrupted
    (a scheduler may requeue it), 3 when an alarm stopped it."""
    device = hardware.pick_device(config.device, distributed.local_rank())
    distributed.start(device)
    with distributed.main_first():
        folder = RunFolder(config) if distributed.is_main() else None
    setup = prepare(config)
    with distributed.main_first():
        if folder:
            folder.claim(config)
    status = Loop(config, setup, folder).run()
    distributed.wait_for_main()  # which may still write a checkpoint
    distributed.stop()  # not after an error: it would wait for the others, and they for this process
    return status


class Loop:
    """State of a running training: networks, averages, the step reached, alarms so far."""

    def __init__(self, config: TrainConfig, setup: Setup, folder: RunFolder | None):
        self.config, self.setup, self.folder, self.task = config, setup, folder, setup.task
        self.ema = Averaged({name: self.task.nets[name] for name in self.task.ema if config.ema}, config.ema)
        self.shown_nets = {**self.task.nets, **self.ema.nets}
        self.watch = Watch(config.alarm_patience, config.alarm_after)
        self.step, self.lr_scale, self.rollbacks, self.alarms = 0, 1.0, 0, []
        self.base_lrs = {phase.name: [group["lr"] for group in phase.optimizer.param_groups] for phase in self.task.phases}
        self.batches = Batches(setup.dataset, config.batch_size, config.seed, ordered=config.ordered, m_per_class=config.m_per_class,
                               rank=distributed.rank(), world=distributed.world_size(), workers=config.workers or 1)
        self.signals, self.log, self.evaluations = Signals(), None, Evaluations(config, folder, setup.device.type)
        # Of one class where it is asked for: how classes differ says nothing of a collapse within them.
        asked = any(getattr(net, "takes_labels", False) for net in self.task.nets.values())
        self.shown_class = setup.dataset.largest_class() if asked else None
        real = lambda label: to_float(samples.real_clips(setup.dataset, LOOK_CLIPS, config.seed, label), torch.device("cpu"))
        self.real_variety, self.reals = variety(real(self.shown_class)), thumbnails(real(None))
        self.real_labels = samples.real_labels(setup.dataset, LOOK_CLIPS, config.seed)
        self.checkpoints = Path(config.out) / "checkpoints"
        found = checkpoint.latest(self.checkpoints)
        name = distributed.from_main(found and found.name)
        if distributed.any_of((found and found.name) != name):
            raise UserError(f"--out {config.out}: not all processes find the checkpoint {name} there; it must be a folder that all "
                            "machines share")
        if found:
            self._load(found)
            self._tell_of_other_arithmetic(checkpoint.read_state(found).get("arithmetic", {}))

    def run(self) -> int:
        main, total = distributed.is_main(), self.setup.steps
        complete = self.step >= total
        if main and not complete:
            self.log = self._open_log()
        self.evaluations.begin(self.step, self.log and self.log.events)
        if self.log:
            self._write_alarms()
        self.signals.catch()
        try:
            if self.step == 0 and self.config.on_alarm == "rollback":
                self._save()  # there must be something to go back to
            status = self._steps(total)
            if status == 0 and distributed.any_of(self.evaluations.waiting):
                distributed.stop()  # all leave together, so that the others need not wait
                if main and not self.evaluations.finish(lambda: self.signals.received):
                    status = EXIT_INTERRUPTED
            if status == 0:
                self.evaluations.complete()
            if self.evaluations.news:
                self._report()
        finally:
            self.signals.release()
            self.batches.close()
            self.evaluations.stop()
            if self.log:
                self.log.close()
        if main and status == 0:
            # A learning rate that has decayed to its end cannot go on from there.
            more = "; raise --steps or --epochs to go on" if self.config.lr_decay != "cosine" else ""
            print(f"{self.config.out}: complete at step {self.step}{more}" if complete else
                  f"done: {total} steps; report: {self.config.out}/report.html")
        return status

    def _steps(self, total: int) -> int:
        config, since = self.config, Clock(self.batches)
        while self.step < total:
            self.step += 1
            stats = self._train_step()
            self.ema.update(self.task.nets, self.step)
            regular = self.step % config.log_every == 0
            logged = regular or self.step == total
            stopping = distributed.any_of(self.signals.received)
            saved = self.step % config.checkpoint_every == 0 or self.evaluations.due(self.step) or self.step == total or stopping
            # On a CPU looking costs nothing; on a GPU it would wait for the step to end.
            if logged or saved or self.setup.device.type == "cpu":
                row = self._row(stats)
                if logged:
                    row.update(since.numbers(self.step, config.batch_size) | self._look())
                if self.log:
                    if logged:
                        self.log.row(row)
                    self.log.progress.update(1, **{name.replace("/loss", ""): row[name] for name in row if name.endswith("/loss")})
                due = self.watch.check(row) if regular else non_finite(row)
                if saved or due:  # an alarm may save too
                    due = due + self._check_weights()
                action = self._alarmed(due) if due else "go on"
                if action == "stop":
                    return EXIT_ALARM
                if action == "rolled back":
                    since = Clock(self.batches)
                    continue
            elif self.log:
                self.log.progress.update()
            pause = time.monotonic()
            self._show_if_due()
            if saved:
                self._save()
            if not stopping:
                self.evaluations.poll()
            since.skip(time.monotonic() - pause)
            if stopping:
                if self.log:
                    self.log.progress.note(f"interrupted at step {self.step}; the same command continues")
                return EXIT_INTERRUPTED
        return 0

    def _train_step(self) -> dict[str, torch.Tensor]:
        """Every phase that is due. The r-th repeat of any phase trains on the r-th batch of the step."""
        self._set_lr()
        per_step = max(phase.repeats for phase in self.task.phases)
        stats, fetched = {}, {}
        for phase in self.task.phases:
            if not phase.due(self.step):
                continue
            for repeat in range(phase.repeats):
                if repeat not in fetched:
                    fetched[repeat] = self.batches.at((self.step - 1) * per_step + repeat)
                values = run_phase(self.task, phase, fetched[repeat], self.config, step=self.step, repeat=repeat,
                                   device=self.setup.device, dtype=self.setup.dtype)
                stats.update({f"{phase.name}/{name}": value for name, value in values.items()})
        return stats

    def _row(self, stats: dict[str, torch.Tensor]) -> dict[str, float]:
        values = torch.stack([value.float() for value in stats.values()])
        distributed.average([values])
        return {"step": self.step, **dict(zip(stats, values.tolist()))}

    def _look(self) -> dict[str, float]:
        """How much samples, of one class if any, differ from each other, beside real clips (1 = as much); and how far those of all classes
        are from real clips, as a user would see them: the average of weights trembles less, but tells of a collapse late."""
        if self.step % (self.config.log_every * LOOK_EVERY) or self.real_variety == 0 or not self.task.latent_dim:
            return {}
        clips = self._samples(self.task.nets, self.shown_class)
        shown = clips if self.shown_class is None and not self.ema.nets else self._samples(self.shown_nets, None)
        found = {"diversity": variety(clips) / self.real_variety, "distance": distance(shown, self.reals)}
        return distributed.from_main(found)  # graphics cards may round differently, and alarms must go off everywhere or nowhere

    def _samples(self, nets: dict, label: int | None) -> torch.Tensor:
        """Of one class, or of those of the real clips they are compared with: a model of classes is not worse for showing each as often."""
        fixed = samples.fixed_request(self.task, self.setup.dataset, LOOK_CLIPS, self.config.seed, "diversity", label)
        if label is None:
            fixed.labels = self.real_labels[torch.arange(len(fixed.latents)) % len(self.real_labels)]
        with hardware.autocast(self.setup.dtype, self.setup.device):
            return samples.generate(self.task, nets, fixed, seen_by=thumbnails)

    def _check_weights(self) -> list[Alarm]:
        """A step whose losses were finite may still have ruined the weights; they must not be saved."""
        bad = checkpoint.not_finite(self.task.nets)
        return [Alarm("non-finite", self.step, self.step, f"weights of {', '.join(bad)} not finite at step {self.step}")] if bad else []

    def _alarmed(self, due: list[Alarm]) -> str:
        """Tell of the alarms and act on them: "go on", "stop" or "rolled back"."""
        self.alarms += [alarm.as_dict() for alarm in due]
        broken = any(alarm.kind == "non-finite" for alarm in due)
        if self.log:
            for alarm in due:
                self.log.progress.note(f"ALARM {alarm.kind}: {alarm.message}")
            self._report()
        if self.config.on_alarm == "rollback" and self.rollbacks < self.config.max_rollbacks:
            self._roll_back(min(alarm.since for alarm in due))
            return "rolled back"
        if self.config.on_alarm == "warn" and not broken:
            return "go on"
        if not broken:
            self._show_if_due()  # it goes on with the next step
            # The same command goes on after it; trouble that lasts must stop that again.
            self.watch = self.watch.anew()
            self._save()
        if self.log:
            kept = checkpoint.latest(self.checkpoints)
            self.log.progress.note(f"stopped at step {self.step}; " + (f"the newest checkpoint is {kept}" if kept else
                                                                       "there is no checkpoint yet"))
        return "stop"

    def _roll_back(self, since: int) -> None:
        """To the newest checkpoint from before step ``since``, when the trouble began, with half the learning rate."""
        distributed.barrier()
        # Others that evaluations hold do not count: when they end is chance.
        kept = checkpoint.regular(self.checkpoints)[-self.config.keep:]
        good = [path for path in kept if checkpoint.order(path)[1] < since]
        late = "" if good else "; no checkpoint from before the trouble is kept (--keep)"
        rollbacks, alarms, scale = self.rollbacks + 1, self.alarms, self.lr_scale / 2
        self._load((good or kept[:1] or checkpoint.listed(self.checkpoints))[-1 if good else 0])
        self.rollbacks, self.alarms, self.lr_scale = rollbacks, alarms, scale
        self.watch = self.watch.anew()
        if self.log:
            self.log.progress.note(f"back to step {self.step} with {self.lr_scale:g} times the learning rate "
                                   f"({self.rollbacks} of {self.config.max_rollbacks}){late}")
            self.log.close()
            self.log = self._open_log()
            self.evaluations.begin(self.step, self.log.events)
            self._write_alarms()
        distributed.barrier()
        self._save()

    def _open_log(self) -> Log:
        self.folder.write_config(self.config)
        self.folder.drop_samples(self.step)
        write_json(self.folder.path / "health.json", self.setup.dataset.report.as_dict())
        if self.step == 0 or not (self.folder.path / "reals.png").exists():
            shown = samples.real_clips(self.setup.dataset, self.config.samples, self.config.seed)
            images.save_png(self.folder.path / "reals.png", images.grid(shown[:, 0].numpy()))
        return Log(self.folder.path, self.step, self.setup.steps, self.config.log_every, self.config.tensorboard)

    @property
    def _told(self) -> list[dict]:
        """All alarms, those of evaluations too."""
        return [*self.alarms, *self.evaluations.alarms]

    def _write_alarms(self) -> None:
        write_rows(self.folder.path / "alarms.jsonl", self._told)

    def _show_if_due(self) -> None:
        if self.step % self.config.sample_every == 0 or self.step == self.setup.steps:
            self._show()

    def _show(self) -> None:
        """Samples, curves and the report."""
        if not self.log:
            return
        config = self.config
        fixed = samples.fixed_request(self.task, self.setup.dataset, config.samples, config.seed)
        with hardware.autocast(self.setup.dtype, self.setup.device):
            picture = samples.write_samples(self.folder.samples, self.step, self.task, self.shown_nets, fixed, config.seed,
                                            self.setup.dataset.fps)
        self.log.picture("samples", picture, self.step)
        self._report()

    def _report(self) -> None:
        self._write_alarms()
        samples.plot_losses(self.folder.path / "losses.png")
        samples.plot_evaluations(self.folder.path / "evaluations.png")
        self.evaluations.news = False
        write_report(self.folder.path, self.config, self.setup, self._told)

    def _save(self) -> None:
        if not self.log:
            return
        optimizers = {phase.name: phase.optimizer for phase in self.task.phases}
        groups = {"nets": checkpoint.net_tensors(self.task.nets), "ema": checkpoint.net_tensors(self.ema.nets),
                  "optimizer": checkpoint.optimizer_tensors(optimizers)}
        state = {"step": self.step, "config": self.config.to_go_on(), "lr_scale": self.lr_scale, "rollbacks": self.rollbacks,
                 "alarms": self.alarms, "watch": self.watch.as_dict(), "data": self.setup.info.as_dict(),
                 "videos": self.setup.dataset.fingerprint, "arithmetic": self._arithmetic(), "files": self.setup.files}
        saved = checkpoint.save(self.folder.checkpoints, checkpoint.name_of(self.step, self.rollbacks), groups, state, self.config.keep,
                                self.evaluations.held)
        self.evaluations.add(saved)

    def _arithmetic(self) -> dict:
        """What the last bits of every step depend on beside settings and videos."""
        threads = torch.get_num_threads() if self.setup.device.type == "cpu" else None
        return {"precision": str(self.setup.dtype).removeprefix("torch."), "device": self.setup.device.type, "threads": threads,
                "processes": distributed.world_size(), "torch": torch.__version__}

    def _tell_of_other_arithmetic(self, before: dict) -> None:
        now = self._arithmetic()
        other = [f"{name} {now[name]}, was {before[name]}" for name in now
                 if None not in (now[name], before.get(name)) and before[name] != now[name]]
        if other and distributed.is_main():
            note(f"warning: goes on with {'; '.join(other)}: not bit for bit what it would be without")

    def _load(self, path: Path) -> None:
        state = checkpoint.read_state(path)
        if state["videos"] != self.setup.dataset.fingerprint:
            raise UserError(f"--data {self.config.data}: not the videos that the run in --out {self.config.out} was trained on, "
                            "or damaged ones looked through in another way (--scan); "
                            "use another --out, the same videos, or --restart to move that run aside")
        if other := [flag for flag, content in state.get("files", {}).items() if self.setup.files.get(flag, content) != content]:
            raise UserError(f"{other[0]}: not the file of the run in --out {self.config.out}; take that, another --out, or --restart")
        checkpoint.load_nets(self.task.nets, checkpoint.read_tensors(path, "nets"), path)
        checkpoint.load_nets(self.ema.nets, checkpoint.read_tensors(path, "ema"), path)
        checkpoint.load_optimizers({phase.name: phase.optimizer for phase in self.task.phases}, checkpoint.read_tensors(path, "optimizer"))
        self.step, self.lr_scale, self.rollbacks, self.alarms = state["step"], state["lr_scale"], state["rollbacks"], state["alarms"]
        self.watch = Watch(self.config.alarm_patience, self.config.alarm_after, **state["watch"])
        if any(state["config"][name] != getattr(self.config, name) for name in ("on_alarm", "alarm_patience")):
            # Trouble that was only told so far, or counted, shall do what is asked for now.
            self.watch = self.watch.anew()

    def _set_lr(self) -> None:
        """Learning rates are a function of the step (and of the rollbacks so far)."""
        scale = self.lr_scale * rates.share(self.config, self.step, self.setup.steps)
        for phase in self.task.phases:
            for group, lr in zip(phase.optimizer.param_groups, self.base_lrs[phase.name]):
                group["lr"] = lr * scale
