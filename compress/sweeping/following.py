"""The trials of a study, several at once: what each is to try, what it tells on its way, and how it ends: done, pruned, refused, failed, or run again."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, closing
from functools import partial
from threading import Lock
from typing import Any

from compress.errors import CompressError
from compress.recipe.sweep import LimitError, Sweep, Tried, as_override
from compress.sweeping.proposing import again, optuna
from compress.sweeping.trials import TrialError, TrialKilled, Trials

IN_A_ROW = 3  # trials that fail one after another before the sweep ends with the last one's error
REFUSALS = 100  # proposals one after another that the limits refuse before it ends
WAIT_S = 1  # between two looks at what other machines do
TRIES = 4  # times that a trial is begun which is killed each time
ERROR, REFUSED, PRUNED = "error", "refused", "pruned"  # why a trial has no objectives, which is kept with it
STATES = {ERROR: "failed", REFUSED: "refused", PRUNED: "pruned"}
STUDENT, BY = "student", "by"  # kept with a trial as well: the size of its student, and the machine whose sweep began it
JUDGED = "student"  # the training whose validations are compared
Start = Callable[[str, list[str]], Generator[dict[str, Any]]]  # name of the run, place=value -> its events, see Trials.events


class Following:
    """Adds trials to a study until there are `wanted`. `work` may run in several threads."""

    def __init__(
        self, study: Any, config: Sweep, trials: Trials, start: Start, say: Callable[[str], None], *, name: str, wanted: int
    ) -> None:
        self.study, self.config, self.trials, self.start, self.say, self.name, self.wanted = study, config, trials, start, say, name, wanted
        self.lock, self.ended, self.busy = Lock(), False, 0
        self.failed = self.refused = 0  # in a row

    def bury(self, *, shared: bool) -> None:
        """Trials that still count as running and were begun by this machine are dead: its one sweep is this one. `shared`: there are others."""
        for trial in self.study.get_trials(deepcopy=False):
            if trial.state == optuna().trial.TrialState.RUNNING and trial.user_attrs.get(BY, not shared) in (True, platform.node()):
                self.study._storage.set_trial_state_values(trial._trial_id, optuna().trial.TrialState.FAIL)

    def work(self) -> None:
        """Trials, one after another, until there are enough. Where other machines are at work on the last ones, until they are through, or gone."""
        waiting = False
        try:
            while True:
                with ExitStack() as asking:
                    asking.enter_context(
                        self.lock
                    )  # one asks what to try, and the next one once that is written down: or both would try the same
                    self._retry()
                    left, elsewhere = self.wanted - self._counted() - self.busy, self._elsewhere()
                    if self.ended or left <= 0:
                        return
                    if left > len(elsewhere):
                        self._one(asking)
                        continue
                if not waiting:
                    self.say(f"waiting for {', '.join(sorted(elsewhere.values()))}, at work on trial {', '.join(map(str, elsewhere))}")
                waiting = True
                time.sleep(WAIT_S)
        except BaseException:
            self.ended = True  # the other threads do not begin another one
            raise

    def _one(self, asking: ExitStack) -> None:
        self.busy += 1
        try:
            self.study.optimize(partial(self._objective, asking), n_trials=1, catch=(TrialError,))
        finally:
            asking.close()
            with self.lock:
                self.busy -= 1

    def _counted(self) -> int:
        """Trials that are through, without those that the limits refuse; of a grid its points, of which two machines may have tried one at once."""
        trials = settled(self.study)
        if self.config.sampler == "grid":
            return len({json.dumps(trial.params, sort_keys=True) for trial in trials})
        return sum(REFUSED not in trial.user_attrs for trial in trials)

    def _elsewhere(self) -> dict[int, str]:
        """Trials that other machines are at work on: number -> machine. One that gives no sign of life any more is put before the others."""
        optuna().storages.fail_stale_trials(self.study)
        at_work = [trial for trial in self.study.get_trials(deepcopy=False) if trial.state == optuna().trial.TrialState.RUNNING]
        here = platform.node()
        return {trial.number: trial.user_attrs[BY] for trial in at_work if trial.user_attrs.get(BY, here) != here}

    def _retry(self) -> None:
        """Puts trials of this machine that were killed before the others. (Those of another that is gone: by their heartbeat, see proposing.py.)"""
        trials = self.study.get_trials(deepcopy=False)
        begun = {number for trial in trials for number in trial.system_attrs.get("retry_history", ())}
        for trial in trials:
            dead = trial.state == optuna().trial.TrialState.FAIL and ERROR not in trial.user_attrs and trial.number not in begun
            if dead and trial.user_attrs.get(BY, platform.node()) == platform.node():
                again()(self.study, trial)

    def _objective(self, asking: ExitStack, trial: Any) -> list[float]:
        trial.set_user_attr(BY, platform.node())
        values = [as_override(place, suggest(trial, place, tried)) for place, tried in self.config.places.items()]
        asking.close()
        before = self.study._storage.get_trial_system_attrs(trial._trial_id)
        run, asked = f"{self.name}-{first_number(trial.number, before)}", ", ".join(values)
        try:
            found = self._follow(trial, run, values)
        except LimitError as error:
            self._end(trial, REFUSED, str(error), f"{run}: {asked}")
            self.refused += 1
            if self.refused >= REFUSALS and self.config.sampler != "grid":
                raise CompressError(f"limits: {self.refused} proposals one after another are too large, the last with: {error}") from error
            raise optuna().TrialPruned from error
        except CompressError as error:
            if isinstance(error, TrialKilled) and len(before.get("retry_history", ())) + 1 < TRIES:
                self.say(f"{run}: {asked}: {error}; it is run again")
                raise
            self._end(trial, ERROR, str(error), f"{run}: {asked}")
            self.failed += 1
            if self.failed >= IN_A_ROW:
                raise CompressError(f"{self.failed} trials failed one after another, the last with: {error}") from error
            raise TrialError(str(error)) from error
        self.failed = self.refused = 0
        told = ", ".join(f"{objective} {value:.6g}" for objective, value in zip(self.config.objectives, found, strict=True))
        self.say(f"{run}: {asked}: {told}")
        return found

    def _follow(self, trial: Any, run: str, values: list[str]) -> list[float]:
        """The objectives of a run that comes to its end."""
        if self.config.limits != type(self.config.limits)():
            from compress.modalities.student_cost import least_cost  # imports torch

            loaded = self.trials.load(run, values)
            self.config.limits.check(least_cost(loaded), loaded.recipe)
        tenth = self.study._storage.get_trial(trial._trial_id).last_step or 0
        with closing(self.start(run, values)) as events:
            for event in events:
                if self.ended:
                    raise TrialKilled("the sweep has ended")
                if STUDENT in event:
                    trial.set_user_attr(STUDENT, event[STUDENT])
                if self.config.pruner and event.get("validation", {}).get("training") == JUDGED:
                    told = event["validation"]
                    if (now := 10 * told["step"] // told["of"]) > tenth:
                        tenth = now
                        trial.report(told["accuracy"], tenth)
                        if trial.should_prune():
                            why = f"at {100 * told['step'] / told['of']:.0f} % of its training, accuracy {told['accuracy']:.4g}"
                            self._end(trial, PRUNED, why, f"{run}: {', '.join(values)}")
                            raise optuna().TrialPruned
                if "objectives" in event:
                    return event["objectives"]
        raise TrialKilled("told no end")

    def _end(self, trial: Any, key: str, why: str, what: str) -> None:
        trial.set_user_attr(key, why)
        self.say(f"{what}: {STATES[key]}: {why}")


def suggest(trial: Any, place: str, tried: Tried) -> Any:
    """What the sampler proposes for one place."""
    if tried.values is not None:
        return json.loads(trial.suggest_categorical(place, tried.as_json))
    of_numbers = trial.suggest_int if tried.whole else trial.suggest_float
    return of_numbers(place, tried.low, tried.high, log=tried.log, **({"step": tried.step} if tried.step else {}))


def first_number(number: int, attributes: Mapping[str, Any]) -> int:
    """The number that a trial had before it was killed: the run goes on under its name."""
    return attributes.get("failed_trial", number)


def settled(study: Any) -> list[Any]:
    """Trials that are not run again."""
    complete = optuna().trial.TrialState.COMPLETE
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state == complete or STATES.keys() & trial.user_attrs.keys()]
