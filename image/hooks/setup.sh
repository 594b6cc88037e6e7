#!/bin/sh
# Before packages are configured: keep what is slow under emulation, and is done natively later, from running at all.
set -eu
root=$1

mkdir -p "$root/usr/sbin" "$root/usr/bin" "$root/usr/lib/python3.13"
printf '#!/bin/sh\nexit 101\n' > "$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"

while read -r stub; do
    dpkg-divert --root="$root" --no-rename --quiet --divert "$stub.real" --add "$stub"
    case $stub in
    *.py) : > "$root$stub" ;;
    *) printf '#!/bin/sh\nexit 0\n' > "$root$stub" ;;
    esac
    chmod 755 "$root$stub"
done < "$(dirname "$0")/stubs.txt"
