"""Pickup's core: everything that is written once. Profiles say what to back up and where to; this is the rest.

A map, in the order in which a reader meets it. Imports go one way, from below in this list to above: the command line
-> run, check, restore ... -> the modules of the api -> errors. The core names no profile.

What profiles see, through `api` alone:

    options       what an entry's config may say            process       a child process as a stream
    secret        texts that are never shown                child         one child: started, watched, ended
    artefact      one file of a backup, its stored name     system_user   whom a command runs as
    store         the contract of a target                  patterns      of files and of names, one meaning each
    archive       GNU tar, and its lists of contents        errors        the exceptions and the exit codes
    wording       sizes, times, lists as people read them   trust         what nobody else may be able to change
    ssh           how the program ssh is started            found         what init finds on a host
    tls           by which rules a server is believed       progress      what goes on, for whoever looks on

The config, and what stands in it:

    config        finds the file, runs it, checks it        profiles      finds and loads the modules they name
    entries       one dict of GENERATORS or TARGETS each    masking       the config's source without its secrets
    services      whom NOTIFY names: apprise, or mail       mail          what is said of it there
    heartbeat     what HEARTBEAT_URL names                  addresses     those that nobody may see
    first_config  what init writes                          python2       what only Python 2 can read
    old_spellings what the script of 2010 called otherwise  siblings      the modules beside it that it imports

A run. `run` is the straight line: generate, then deliver, which publishes and prunes at each target:

    generate      an entry's artefacts through the byte     manifest      what a backup contains
                  path, into the staging area               instructions  its RESTORE.txt and SHA256SUMS
    streams       the byte path: compress, digest           delivery      to each target: clear, publish, prune
    staging       the run's private folder                  publish       to one target, the manifest last
    room          how much may be written                   shaping       tries again, slows down, excuses a target
    lock          one run of a job at a time                prune         what goes by the policy
    report        what happened, and the exit code          retention     what is kept, and why: a pure function
    removal       deletes a folder, however deep it is      history       one line per run, verify, restore, prune
    hooks         the config's own functions, around it     together      several calls at once, in threads
    encryption    to public keys, in the format of age      pace          how fast bytes may go
    fanout        one stream to several targets at once     notify        tells how the run went
    notice        what is told: a subject, and a text       metrics       what METRICS_FILE says of it
    aftermath     what to know when it went badly           copies        where the newest good copies are
    smtp          sends mail                                ping          asks a web server

Which backups there are, and reading them:

    catalogue     those at one place                        memory        what this machine remembers of manifests
    loose         a folder that was copied by hand          verify        compares a backup with its manifest
    find          searches the lists of contents            status        how old the newest complete one is
    nights        what a place had when, by its history     status_page   the same as a page, with curves
    drawings      calendars and curves, as SVG              writers       which machine makes those of a job

Bringing them back. `restore` fetches and unpacks into a `spool`, then `merge` moves it into place:

    choice        which backup, which of its artefacts      load          into a server, by the profile
    restore       into a folder                             merge         moves it, by descriptors
    spool         a private folder in the destination       tame          takes setuid bits and devices away
    members       checks a tar archive, lets tar unpack     detours       names that are too long for the kernel

The command line:

    cli           options, signals, exit code               session       one command line: config, log, report
    commands      finds the module of each command          check         check and dry run
    running       run, check                                logs          where messages go
    reading       list, find, verify                        keeping       keep
    beginning     init, profiles, keygen
    restoring     restore                                   copying       copy
    watching      status                                    pruning       prune
    deleting      delete                                    screen        shows progress, on a terminal
    meter         a line of it                              terminal      what one is, and its colours
    scheduling    schedule                                  schedule      what is started, and when; a crontab
    units         the same for systemd                      completion    what completes it in a shell
    program       what this Pickup is called, and where it lies
"""

__version__ = "1.0.0"
