# Sourced by the scripts beside it: what a fresh machine lacks is installed by the system's own package manager.

script=${0##*/}

fail() {
  printf '%s: %s\n' "$script" "$*" >&2
  exit 1
}

as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    fail "installing needs root, but there is no sudo; run as root: $*"
  fi
}

# install COMMAND APT DNF APK PACMAN BREW: installs the package that brings the command; of several in one word, the first that there is.
install() {
  local command=$1 package
  echo "$script: $command is missing; installing it"
  if command -v apt-get >/dev/null; then
    as_root apt-get update
    for package in $2; do as_root env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "$package" && break; done
  elif command -v dnf >/dev/null; then
    for package in $3; do as_root dnf install -y "$package" && break; done
  elif command -v apk >/dev/null; then
    for package in $4; do as_root apk add "$package" && break; done
  elif command -v pacman >/dev/null; then
    for package in $5; do as_root pacman -Sy --noconfirm "$package" && break; done
  elif command -v brew >/dev/null; then
    for package in $6; do brew install "$package" && break; done
  else
    fail "$command is missing and no package manager is known here; install it by hand"
  fi
  command -v "$command" >/dev/null || fail "$command was installed, but is not on the PATH; add its folder to PATH"
}
