# Functions for the other scripts, which source this file. They install missing commands by the
# system's package manager.

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
    fail "installing needs root, but sudo is missing; run as root: $*"
  fi
}

# install COMMAND APT DNF APK PACMAN BREW: installs the package with COMMAND. The other arguments
# are its names for each package manager. Of several names in one argument, the first that exists
# counts.
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
    fail "$command is missing, and this system has no known package manager; install it by hand"
  fi
  command -v "$command" >/dev/null || fail "$command was installed, but is not on the PATH; add its folder to PATH"
}
