#!/usr/bin/env bash
# Proves the README on a fresh machine: Debian 12 minbase with git and make in a chroot, a clone of
# this commit, `make up`, the README's commands, `make test`. Mirror, apt, CA and pip settings come
# from the host at run time. Usage: tests/fresh.sh [FOLDER]   (needs root and debootstrap)
set -euo pipefail
source_tree=$(git -C "$(dirname "$0")" rev-parse --show-toplevel)
root=${1:-$(mktemp -d /var/tmp/replicast-fresh.XXXXXX)}
suite=bookworm

# First of the host's own apt sources that carries the suite.
mirror=$(apt-get indextargets --format '$(SITE)' "Created-By: Packages" 2>/dev/null | sort -u | head -n 1)
mirror=${REPLICAST_MIRROR:-$mirror}
[ -n "$mirror" ] || { echo "no apt mirror is set up on this host" >&2; exit 1; }

cleanup() {
    if [ -x "$root/srv/replicast/.venv/bin/replicast" ]; then
        chroot "$root" sh -c 'cd /srv/replicast && make down' >/dev/null 2>&1 || true
    fi
    for process in /proc/[0-9]*; do # what an interrupted run has left in there
        [ "$(readlink "$process/root")" != "$root" ] || kill -9 "${process#/proc/}" || true
    done
    # Deepest first; -R takes along what the host has mounted below /sys.
    awk -v root="$root/" 'index($2, root) == 1 {print $2}' /proc/mounts | sort -r |
        while read -r mount; do
            mountpoint -q "$mount" && umount -R "$mount" || true
        done
    [ -n "$keep" ] || rm -rf --one-file-system "$root"
}
keep=${1:-}
trap cleanup EXIT

echo "== debootstrap $suite into $root"
debootstrap --variant=minbase --include=git,make,ca-certificates "$suite" "$root" "$mirror" >"$root.log" 2>&1 ||
    { tail -n 20 "$root.log" >&2; exit 1; }
rm -f "$root.log"

echo "== the host's apt, CA and pip settings"
cp -rL /etc/apt/apt.conf.d/. "$root/etc/apt/apt.conf.d/" 2>/dev/null || true
[ -e /etc/apt/apt.conf ] && cp -L /etc/apt/apt.conf "$root/etc/apt/apt.conf"
cp -rL /etc/apt/trusted.gpg.d/. "$root/etc/apt/trusted.gpg.d/" 2>/dev/null || true
rm -f "$root/etc/apt/sources.list"
[ -e /etc/apt/sources.list ] && cp -L /etc/apt/sources.list "$root/etc/apt/sources.list"
cp -rL /etc/apt/sources.list.d/. "$root/etc/apt/sources.list.d/" 2>/dev/null || true
cp -L /etc/resolv.conf /etc/hosts "$root/etc/" 2>/dev/null || true
cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
for file in /etc/pip.conf "$HOME/.config/pip/pip.conf" "$HOME/.pip/pip.conf"; do
    [ -e "$file" ] && { mkdir -p "$root$(dirname "$file")"; cp -L "$file" "$root$file"; }
done
mkdir -p "$root"/{proc,sys,dev/pts,dev/shm}
mount --bind /proc "$root/proc"
mount --rbind --make-rslave /sys "$root/sys" 2>/dev/null || mount --bind /sys "$root/sys"
mount --bind /dev "$root/dev"
mount --bind /dev/pts "$root/dev/pts"
mount --bind /dev/shm "$root/dev/shm" 2>/dev/null || true
# Local package folders that the host's pip settings name.
python3 -m pip config list 2>/dev/null | grep -oE '(file://)?/[^ '"'"'"]+' | sed 's,^file://,,; s,/simple$,,' | sort -u |
    while read -r folder; do
        [ -d "$folder" ] || continue
        mkdir -p "$root$folder"
        mount --bind "$folder" "$root$folder"
    done

git clone -q "$source_tree" "$root/srv/replicast"
run() {
    echo "== $*"
    chroot "$root" env -i HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
        $(env | grep -iE '^(https?_proxy|no_proxy|pip_[a-z_]+|ssl_cert_file|requests_ca_bundle)=' || true) \
        sh -c "cd /srv/replicast && $*"
}

# What is missing is named in one line with the command that mends it: follow it until it is content.
run 'apt-get update -qq'
for _ in 1 2 3 4 5; do
    advice=$(run 'sh .ci/preflight' 2>&1 | sed -n 's/.*: run  //p') || true
    [ -n "$advice" ] || break
    echo "   advice: $advice"
    run "$advice --no-install-recommends -qq >/dev/null"
done

time run 'make up'
run 'head -c 3000000 /dev/urandom > /tmp/a.jpg
    PATH=$PWD/.venv/bin:$PATH
    set -ex
    replicast bucket create photos
    replicast put /tmp/a.jpg photos/a.jpg
    replicast get photos/a.jpg /tmp/b.jpg && cmp /tmp/a.jpg /tmp/b.jpg
    replicast cat photos/a.jpg | cmp - /tmp/a.jpg
    replicast put -r docs photos/docs && replicast get -r photos/docs /tmp/docs && diff -r docs /tmp/docs
    replicast ls -l photos/ && replicast ls --json photos/a && replicast stat --versions photos/a.jpg
    replicast status && replicast flexhash show --object photos/a.jpg
    replicast verify photos/ && replicast repair && replicast config check && replicast --version
    replicast logs | tail -n 3
    replicast rm photos/a.jpg && replicast bucket list'
run 'make up'
run 'make down && make up && PATH=$PWD/.venv/bin:$PATH replicast ls photos/docs && make down'
run 'make test'
echo "fresh machine: all well"
