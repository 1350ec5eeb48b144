"""The commands that make a backup, and that see whether one could be made: run, check."""

import contextlib

from pickup_core.notify import told
from pickup_core.run import RunWish, run
from pickup_core.session import Session


def run_command(session: Session) -> None:
    """Make a backup, or show what a run would do."""
    options = session.options
    wish = RunWish(tuple(options.only), tuple(options.target), options.keep, options.wait)
    if options.dry_run:
        from pickup_core.check import dry_run

        dry_run(session.config(), wish, session.report)
        return
    with session.logs.held_back() if options.quiet and not options.debug else contextlib.nullcontext() as held:
        config = session.config()
        message = held if config.logging is None else None  # that alone decides what is seen
        if held and not message:
            held.let_go()
        with told(config, wish, session.report, lambda: session.exit_code, message) as begun:
            run(config, wish, session.report, begun)


def check_command(session: Session) -> None:
    """See whether a run would work."""
    from pickup_core.check import check

    check(session.config(), session.report, session.options.notify)
