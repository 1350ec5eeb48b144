"""End to end: the real command, in a process of its own, in the environment that cron gives."""
