"""Notify: tell those whom the config names how a run went. Where that goes wrong, it is a warning, and takes a minute
at most; the backup is what it was.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from functools import partial
from typing import Any

from pickup_core.aftermath import aftermath, log_line
from pickup_core.config import Config
from pickup_core.errors import Ended, ExitCode, LockedError, PickupError, Stopped
from pickup_core.history import History
from pickup_core.logs import HeldBack
from pickup_core.metrics import check_metrics, write_metrics
from pickup_core.notice import Notice, Transcript, notice_of, trial_notice
from pickup_core.report import Report, explained
from pickup_core.run import RunWish
from pickup_core.together import at_most
from pickup_core.wording import printable

log = logging.getLogger("pickup.notify")

_LONGEST = 60  # seconds, for all together
_LONGEST_START = 15


@contextmanager
def told(
    config: Config,
    wish: RunWish,
    report: Report,
    exit_code: Callable[[], int],
    held: HeldBack | None = None,
) -> Iterator[Callable[[], None]]:
    """Tell how the run in the `with` went, however it ends. Gives what is to be called once the run has begun. Where
    warnings and errors are `held` back, one message takes their place, before anybody else is told; what ended the run
    before its time goes on as `Ended` then, because it has been said. Otherwise the aftermath of a run that came to its
    end is said below them.

    A run of a part, for which not all entries or targets were asked, is no sign of life of the nightly ones, and the
    heartbeat does not hear of it. A run that finds another one at work says so to the services alone: the heartbeat and
    the metrics are those of the other.
    """
    telling = _Telling(config, wish, report, held)
    if not (config.services or config.heartbeat or config.metrics_file or held):
        yield lambda: None
        with _harmless():
            telling.say(telling.aftermath(exit_code()))
        return
    with telling.listening():
        try:
            yield telling.begin
        except BaseException as error:
            cause = Stopped.heard or error  # a library may have put another one in its place
            code, sentence = _ending(cause)
            with _harmless():
                telling.end(code, cause, sentence)
            if not (held and held.is_replaced):
                raise
            log.debug("%s", sentence, exc_info=True)
            raise Ended(code) from error
        with _harmless():
            telling.end(exit_code())


def check_notifications(config: Config, report: Report, sends: bool) -> None:
    """See, as far as that can be seen without a message, whether all could be told; what could not is a warning. With
    `sends`, send a test message to each service instead.
    """
    assert config.job is not None
    test = trial_notice(config.job)
    calls: dict[str, Callable[[], object]] = {
        service.where: partial(service.send, test) if sends else service.check for service in config.services
    }
    if config.heartbeat:
        calls["HEARTBEAT_URL"] = config.heartbeat.check
    if config.metrics_file:
        calls["METRICS_FILE"] = partial(check_metrics, config.metrics_file)
    failures = at_most(_LONGEST, calls)
    for where in calls:
        if where in failures:
            report.warn(where, explained(failures[where]))
        else:
            log.info("%s: %s", where, "a test message was sent" if sends and where.startswith("NOTIFY") else "ok")


class _Telling:
    """What is told of one run."""

    def __init__(self, config: Config, wish: RunWish, report: Report, held: HeldBack | None = None) -> None:
        self._config = config
        self._wish = wish
        self._course = report.course
        self._held = held
        self._heartbeat = None if wish.only or wish.targets else config.heartbeat
        self._transcript = Transcript()
        for record in held.records if held else ():  # from before the run
            self._transcript.handle(record)
        self._started = time.monotonic()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hear what the run says, and what libraries warn of."""
        handlers = {"pickup": self._transcript, "": _OfLibraries(self._transcript)}
        for name, handler in handlers.items():
            logging.getLogger(name).addHandler(handler)
        try:
            yield
        finally:
            for name, handler in handlers.items():
                logging.getLogger(name).removeHandler(handler)

    def begin(self) -> None:
        """Tell the heartbeat that the run has begun."""
        if self._heartbeat:
            with _harmless():
                _tell({"HEARTBEAT_URL": partial(self._heartbeat.ping, "start", tries=1)}, _LONGEST_START)

    def end(self, code: int, error: BaseException | None = None, sentence: str = "") -> None:
        """Tell everybody how it ended; the error, which the sentence explains, is what ended it before its time."""
        config, now, seconds = self._config, datetime.now(timezone.utc), time.monotonic() - self._started
        is_other_at_work = isinstance(error, LockedError)
        if sentence:
            self._transcript.errors.insert(0, printable(sentence))
        lines = self.aftermath(code, may_look=not isinstance(error, Stopped | KeyboardInterrupt))
        notice = self._notice(code, lines)
        if self._held and code != ExitCode.OK:
            self._held.replace(notice.message)
        elif self._held:  # a library may have warned of something
            self._held.let_go()
        elif error is None:
            self.say(lines)
        calls: dict[str, Callable[[], object]] = {
            service.where: partial(service.send, notice) for service in config.services if service.wants(notice)
        }
        if self._heartbeat and not is_other_at_work:
            is_stored = code in (ExitCode.OK, ExitCode.WARNINGS)
            calls["HEARTBEAT_URL"] = partial(self._heartbeat.ping, "success" if is_stored else "failure", notice.body)
        if config.metrics_file and not is_other_at_work:
            calls["METRICS_FILE"] = partial(write_metrics, config.metrics_file, config, code, seconds, now)
        _tell(calls, _LONGEST)

    def aftermath(self, code: int, may_look: bool = True) -> list[str]:
        """Give what is to be known once it is over: nothing after a good run. Where it `may_look`, targets are read."""
        lines = [] if code == ExitCode.OK else [log_line(self._config)]
        if code not in (ExitCode.OK, ExitCode.WARNINGS, ExitCode.CONFIG, ExitCode.LOCKED):
            lines = [*self._what_is_safe(may_look), *lines]
        return lines

    def _what_is_safe(self, may_look: bool) -> list[str]:
        """Give the lines for a failed run; who stops it does not wait for a look at the targets, or for its end."""
        try:
            return aftermath(self._config, self._wish, self._course, may_look)
        except (Stopped, KeyboardInterrupt):
            return self._what_is_safe(may_look=False) if may_look else []
        except Exception as error:  # noqa: BLE001 - all else is told nevertheless
            return [printable(f"What is safe could not be found out: {explained(error)}")]

    def say(self, lines: Sequence[str]) -> None:
        """Say what is to be known, below what has been said already."""
        for line in lines:
            log.info("%s", line)

    def _notice(self, code: int, lines: Sequence[str]) -> Notice:
        job, course = self._config.job, self._course
        assert job is not None
        is_stored = course.backup is not None and code in (ExitCode.OK, ExitCode.WARNINGS)
        has_recovered = is_stored and History(self._config.state_folder, job).has_recovered(course.backup or "")
        return notice_of(job, course, code, has_recovered, self._transcript, lines)


class _OfLibraries(logging.Handler):
    """Hands on the warnings that do not come from Pickup."""

    def __init__(self, transcript: Transcript) -> None:
        super().__init__(logging.WARNING)
        self._transcript = transcript

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.partition(".")[0] != "pickup":
            self._transcript.handle(record)


@contextmanager
def _harmless() -> Iterator[None]:
    """Let the `with` fail with a warning: nobody is to lose a backup because it could not be told."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever it is
        log.warning("how the run goes could not be told: %s", explained(error))


def _tell(calls: Mapping[str, Callable[[], Any]], seconds: float) -> None:
    for where, error in at_most(seconds, calls).items():
        log.warning("%s: could not be told: %s", where, explained(error))


def _ending(error: BaseException) -> tuple[int, str]:
    """Give the exit code that an exception leads to, and the sentence that explains it, as the command line does."""
    match error:
        case Stopped():
            return error.exit_code, str(error)
        case KeyboardInterrupt():
            return 130, "interrupted"
        case PickupError():
            return error.exit_code, str(error)
        case OSError():
            return ExitCode.FAILED, explained(error)
        case _:
            return ExitCode.INTERNAL, f"internal error, please report it: {type(error).__name__}: {error}"
