# Functions shared by the scripts in this folder; sourced, not run.

say() {
  printf 'casemill: %s\n' "$*"
}

die() {
  printf 'casemill: %s\n' "$*" >&2
  exit 1
}

# True for root on Debian and its descendants.
can_install() {
  [ "$(id -u)" = 0 ] && [ -f /etc/debian_version ] && command -v apt-get >/dev/null
}

# Installs Debian packages without prompts and without starting their services:
# the tests start private servers, so no system server may be started as a side effect.
install_packages() {
  local policy=/usr/sbin/policy-rc.d made='' status=0
  local apt=(apt-get -qq -y -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 -o Dpkg::Use-Pty=0)
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    made=yes
    # shellcheck disable=SC2064  # expand the path now
    trap "rm -f '$policy'" EXIT
  fi
  export DEBIAN_FRONTEND=noninteractive
  { "${apt[@]}" update && "${apt[@]}" install --no-install-recommends "$@"; } </dev/null || status=$?
  if [ -n "$made" ]; then
    rm -f "$policy"
    trap - EXIT
  fi
  return "$status"
}
