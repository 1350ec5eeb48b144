"""Pickup's core: everything that is written once. Profiles say what to back up and where to; this is the rest.

A map, in the order in which a reader meets it. Profiles see only `api`, which hands on:

    options     what an entry's config may say           artefact    one file of a backup, and its stored name
    secret      texts that are never shown               store       the contract of a target
    process     child processes as streams (`child`)     patterns    file name patterns, with one meaning everywhere
    system_user whom a command may run as                archive     GNU tar, and its lists of contents
    errors      the exceptions and the exit codes

A run, from left to right (`run` is the straight line through it):

    config, entries, profiles, trust  ->  generate, streams, staging, room  ->  manifest, instructions  ->  publish
        ->  delivery (to each target), prune, retention

Reading back:

    catalogue (which backups there are)   loose (a folder copied by hand)   verify   find
    restore -> spool -> members (detours, tame) -> merge (into a folder)    load (into a server)

Around it:

    cli (options, signals)   commands, reading, restoring (what each does)   session   check   report   history   lock
    logs   wording   removal   masking (the config's source, as it is stored with each backup)

Imports go one way: cli, commands -> run, check, restore ... -> the modules of the api -> errors. The core names no
profile.
"""

__version__ = "1.0.0"
