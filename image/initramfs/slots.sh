# Which of the two systems is started: read, decided and written down by the first stage of the boot.
#
# The state is one file of 512 bytes on the boot partition, a sector, which a card writes whole or not at all:
#   slot    the system that is known to work
#   try     the system to try once; set by the updater
#   trying  the one that is being tried, and has not been confirmed yet
#   failed  the one that was tried last, and was not confirmed
#   id      tells boxes apart whose board has no serial number
# Knows files and words only; mounts nothing.

slots_field() { # slots_field FILE KEY
    sed -n "s/^$2=\([0-9a-f]*\).*/\1/p" "$1" 2>/dev/null | head -n 1
}

slots_letter() { # slots_letter FILE KEY: a, b or nothing
    case $(slots_field "$1" "$2") in
    a) echo a ;;
    b) echo b ;;
    esac
}

slots_read() { # slots_read FILE
    slot=$(slots_letter "$1" slot)
    try=$(slots_letter "$1" try)
    trying=$(slots_letter "$1" trying)
    failed=$(slots_letter "$1" failed)
    id=$(slots_field "$1" id)
    [ -n "$slot" ] || slot=a
}

# What tells a kernel and its first stage from others: they know their own, and it lies beside each kernel on the card.
slots_identity() { # slots_identity FILE
    sed -n "s/^id=\([0-9a-f]\{32\}\)$/\1/p" "$1" 2>/dev/null | head -n 1
}

slots_other() { # slots_other LETTER
    case $1 in
    a) echo b ;;
    *) echo a ;;
    esac
}

# Sets `boot` to the system to start, and `changed` to yes where the state must be written BEFORE that one is started:
# a try is used up by being begun.
slots_choose() {
    boot=$slot
    changed=no
    if [ -n "$trying" ]; then # begun, and nobody has confirmed it: a crash, a hang or a power cut
        failed=$trying
        trying=
        changed=yes
    fi
    if [ -n "$try" ]; then
        if [ "$try" != "$slot" ]; then
            boot=$try
            trying=$try
            failed=
        fi
        try=
        changed=yes
    fi
}

# Sets `boot` to a system other than was chosen. One that does not run is not on trial: nobody may confirm it.
slots_start_instead() { # slots_start_instead LETTER
    boot=$1
    if [ -n "$trying" ] && [ "$trying" != "$boot" ]; then
        failed=$trying
        trying=
    fi
}

# One printf, hence one write: dd takes what a single read gives it.
slots_text() {
    printf '%s\nslot=%s\ntry=%s\ntrying=%s\nfailed=%s\nid=%s\n' \
        "# Which of the two systems this box starts. The box writes this file itself. If it is lost, system a is started." \
        "$slot" "$try" "$trying" "$failed" "$id"
}

# Writes over the file in place, so that neither its length nor its place on the card changes, and looks at the result.
# What a laptop's editor has added behind the sector stays there and is not read, since the first of two lines counts.
slots_write() { # slots_write FILE
    slots_text | dd of="$1" bs=512 count=1 conv=sync,notrunc 2>/dev/null || return 1
    sync
    [ "$(dd if="$1" bs=512 count=1 2>/dev/null | tr -d '\0')" = "$(slots_text)" ]
}
