#!/usr/bin/env bash
# What "make demo" runs: a backup of real things, which is listed, verified, restored and compared. Nothing is asked.
# It leaves ./backups and ./restored. All else lies in a private folder, which is removed unless something failed.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
export PICKUP_DEMO_CHECKOUT=$PWD
private=$(mktemp -d "${TMPDIR:-/tmp}/pickup-demo.XXXXXX")

finish() {
    local status=$?
    if [ "$status" = 0 ]; then
        rm -rf "$private"
    else
        printf '\nThe demo has FAILED. Its config and its log are in %s\n' "$private" >&2
    fi
}
trap finish EXIT

# Prints a command, then runs it.
run() {
    printf '\n$ %s\n' "$1"
    eval "$1"
}

say() {
    printf '\n\n%s\n' "$*"
}

database=$(printf %q "$private/shop.db")
config=$(printf %q "$private/config.py")
install -m 600 docs/demo/config.py "$private/config.py"
rm -rf restored/folder/demo-docs restored/command/demo-system restored/sqlite/demo-shop

cat << 'TEXT'
This demo backs up three real things into ./backups: the folder docs/, what
a command prints, and an SQLite database, which is made first. Its config is
docs/demo/config.py.
TEXT

run "python -c '
import sqlite3
shop = sqlite3.connect(\"$database\")
shop.execute(\"CREATE TABLE orders (number INTEGER PRIMARY KEY, what TEXT)\")
shop.executemany(\"INSERT INTO orders (what) VALUES (?)\", [(\"tea\",), (\"bread\",)])
shop.commit()'"

say "1. Would a run work?"
run "python pickup.py -c $config check"

say "2. Make a backup."
run "python pickup.py -c $config"

say "3. Which backups are there?"
run "python pickup.py -c $config list"

say "4. Read it back, and compare it with its manifest."
run "python pickup.py -c $config verify"

say "5. Restore it into ./restored."
run "python pickup.py -c $config restore --to restored"

say "6. Is all as it was? diff prints what differs."
run "diff -r -x _build -x __pycache__ docs restored/folder/demo-docs/docs"
run "uname -a | diff - restored/command/demo-system/uname.txt"
run "python -c '
import sqlite3, sys
made, restored = (list(sqlite3.connect(path).iterdump()) for path in sys.argv[1:])
sys.exit(made != restored and \"the databases differ\")
' $database restored/sqlite/demo-shop/shop.db"

cat << TEXT


Nothing differs: all came back as it was. Standard tools can do that as well:
RESTORE.txt in the folder of the backup says how. ./backups and ./restored
stay; the config and the database of this demo are removed now.

How to go on, with a config of your own:

  .venv/bin/python pickup.py init      writes a config with what is found here
  editor config.py                     what to back up, and where to keep it
  .venv/bin/python pickup.py check     would a run work?
  .venv/bin/python pickup.py schedule  prints what lets cron run it every night

docs/tutorial.rst goes through all of it in ten minutes.
TEXT
