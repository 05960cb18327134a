#!/usr/bin/env bash
# All that the cases need, from Debian 12's packages, as root, and what else is named; no daemon is
# started.
set -euo pipefail
cd "$(dirname "$0")/../.."

export DEBIAN_FRONTEND=noninteractive
# Daemons that come with packages must not start by themselves.
if [ ! -e /usr/sbin/policy-rc.d ]; then
  printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
  chmod +x /usr/sbin/policy-rc.d
fi
apt-get update -qq
apt-get install -y -qq --no-install-recommends \
  python3 openssl curl swaks libnet-ssleay-perl msmtp haproxy \
  postfix dovecot-lmtpd cyrus-imapd "$@" > /dev/null

# dpkg lets no two mail servers stand beside each other: Exim comes without being installed. Its
# libraries are; its user it wants to find when it starts.
packages=target/interop
mkdir -p "$packages"
rm -f "$packages"/exim4-*.deb
# The download itself is done by a user of apt's own, who may not be able to write here.
fetched=$(mktemp -d)
(cd "$fetched" && apt-get download -qq -o APT::Sandbox::User=root exim4-base exim4-daemon-heavy)
mv "$fetched"/exim4-*.deb "$packages"
rmdir "$fetched"
libraries=$(dpkg-deb -f "$packages"/exim4-daemon-heavy_*.deb Depends | tr , '\n' |
  sed -n 's/^ *\(lib[^ (|]*\).*/\1/p')
# shellcheck disable=SC2086 # one word for each package
apt-get install -y -qq --no-install-recommends $libraries > /dev/null
getent passwd Debian-exim > /dev/null ||
  useradd --system --user-group --no-create-home --shell /usr/sbin/nologin Debian-exim
