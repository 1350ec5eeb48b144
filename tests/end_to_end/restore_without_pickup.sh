#!/bin/sh
# Restores from a copy of a backup's folder by its RESTORE.txt alone: no Pickup, no Python, only standard tools.
#
#   restore_without_pickup.sh everything BACKUP TO
#   restore_without_pickup.sh file BACKUP TO NAME              NAME as the list of contents has it
#   restore_without_pickup.sh table BACKUP TO DATABASE TABLE
#
# It does what a person would do: copy the indented lines that are wanted, write TO in place of ~/restored, and fill
# in what they leave open.
set -eu

what=$1 backup=$2 to=$3
cd "$backup"

for forbidden in python python3 pickup; do
    if command -v "$forbidden" > /dev/null; then
        echo "$forbidden can be found here, so this would prove nothing" >&2
        exit 1
    fi
done

lines() { # the indented lines
    sed -n -e "s|~/restored|$to|g" -e 's/^    //p' RESTORE.txt
}

commands() { # those that can be run as they are
    lines | grep -v -e '^pickup ' -e '^#' -e '^sqlite3 ' -e 'grep NAME'
}

run() {
    printf '%s\n' "$1" >&2
    sh -eu -c "$1"
}

case $what in
    everything)
        commands | while read -r line; do
            run "$line" < /dev/null
        done
        ;;
    file)
        run "$(lines | grep 'grep NAME' | sed "s|NAME.*|-F -- '$4'|")"
        run "$(commands | grep '^mkdir .*/folder/')"
        run "$(commands | grep 'tar --extract') '$4'"
        ;;
    table)
        run "$(commands | grep '^mkdir .*/sqlite/')"
        run "$(commands | grep "> .*/$4\$")"
        run "$(lines | grep '^sqlite3 ' | sed -e "s|FILE|$to/sqlite/*/$4|" -e "s|TABLE|$5|" -e "s|other.db|$to/other.db|")"
        ;;
esac
