#!/usr/bin/env bash
# image_root.sh INTO FILE…: makes the root of an image that has no system in it: these programs and libraries
# in /usr/local/bin, all they are linked with, and what they read of a system (certificates, users' names, how
# names are looked up). Runs where the programs were built.
set -euo pipefail
into=$1
shift
umask 022
mkdir -p "$into"/{etc/ssl/certs,usr/lib/ssl,usr/local/{bin,lib},tmp,cache}
chmod 1777 "$into/tmp"
if [ "$(id -u)" = 0 ]; then chown 65532:65532 "$into/cache"; fi

for file in "$@"; do
  cp -L "$file" "$into/usr/local/bin/"
  strip --strip-debug "$into/usr/local/bin/${file##*/}"
  # Each library by its name, where the loader looks for it, and the loader itself.
  ldd "$file" | grep -o '/[^ ]*' | while read -r library; do
    mkdir -p "$into${library%/*}"
    cp -L "$library" "$into$library"
  done
done

cp -L /etc/ssl/certs/ca-certificates.crt "$into/etc/ssl/certs/"
ln -sfn /etc/ssl/certs/ca-certificates.crt "$into/usr/lib/ssl/cert.pem"  # where OpenSSL looks
echo 'hosts: files dns' >"$into/etc/nsswitch.conf"
printf '%s\n' root:x:0:0::/:/none nonroot:x:65532:65532::/cache:/none >"$into/etc/passwd"
printf '%s\n' root:x:0: nonroot:x:65532: >"$into/etc/group"
