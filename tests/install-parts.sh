#!/usr/bin/env bash
# Install the Debian packages of debian-packages.txt that are not there yet; without the means to, say the line to run.
set -euo pipefail
cd "$(dirname "$0")"

missing=()
while read -r package shown_by; do
  # shellcheck disable=SC2086  # a pattern
  if ! command -v "$shown_by" >/dev/null && ! ls $shown_by >/dev/null 2>&1; then missing+=("$package"); fi
done < <(grep -v '^#' debian-packages.txt)

[ ${#missing[@]} -eq 0 ] && exit 0
line="apt-get install --yes --no-install-recommends ${missing[*]}"
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "Installing ${missing[*]} ..."
  export DEBIAN_FRONTEND=noninteractive
  # No daemon is started by an installation; the tests start what they need.
  policy=/usr/sbin/policy-rc.d
  [ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' > $policy; chmod +x $policy; trap 'rm -f $policy' EXIT; }
  { apt-get update && $line; } > /dev/null || { echo "That did not work. To see why: $line" >&2; exit 1; }
else
  echo "Some tests will skip. To run them all:  sudo $line" >&2
fi
