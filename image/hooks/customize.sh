#!/bin/sh
# After packages are configured: take the stubs away again, and everything that differs from build to build.
set -eu
root=$1

while read -r stub; do
    rm -f "$root$stub"
    dpkg-divert --root="$root" --rename --quiet --remove "$stub"
done < "$(dirname "$0")/stubs.txt"
rm -f "$root/usr/sbin/policy-rc.d"

rm -f "$root"/etc/ssh/ssh_host_*_key*           # each box makes its own
rm -f "$root/etc/machine-id" "$root/var/lib/dbus/machine-id" "$root/etc/hostname" "$root/etc/resolv.conf"
rm -f "$root"/etc/*- "$root"/var/cache/ldconfig/aux-cache "$root"/var/lib/systemd/random-seed
rm -rf "$root"/var/log/* "$root"/var/cache/debconf
rm -rf "$root"/var/lib/dpkg/*-old "$root"/var/backups/*
