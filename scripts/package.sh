#!/usr/bin/env bash
# Packages the crate and runs the documentation tests of the package alone, so that no document
# needs a file that is not published. Fails if the package holds keys of tests or files of CI.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

files=$(cargo package --list --allow-dirty --locked)
if grep -E '\.(pem|der|jwk|key)|^(tests|fuzz|scripts|\.ci|benches)/' <<<"$files"; then
  echo "package.sh: the files above are not to be published; see \`include\` in Cargo.toml" >&2
  exit 1
fi

# A change that is not committed is packaged too: this checks the tree as it is.
cargo package --allow-dirty --locked --no-verify
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
cd "target/package"
rm -rf "tower-bearer-$version"
tar xf "tower-bearer-$version.crate"
# The dependencies are those that the tree has built already.
cargo test --doc --all-features --locked --target-dir ../ --manifest-path "tower-bearer-$version/Cargo.toml"
# What a user of the published crate builds: the defaults, without development dependencies.
cargo check --lib --locked --target-dir ../ --manifest-path "tower-bearer-$version/Cargo.toml"
