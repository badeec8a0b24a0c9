#!/bin/sh
# deb.sh FOLDER: build the Debian package into FOLDER, with the tools of the distribution. Called by make.
#
# Builds from a copy, so that the source tree stays as it is, and with the distribution's own Python. On failure the
# end of what dpkg-buildpackage said is shown, and FOLDER is as it was.
set -eu

folder=$1
here=$(cd "$(dirname "$0")/.." && pwd)
export PATH=/usr/sbin:/usr/bin:/sbin:/bin

umask 022
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
trap 'exit 1' HUP INT TERM
source=$temporary/pf-spamfilt
mkdir "$source"
cd "$here"
cp -R --parents CHANGELOG.md LICENSE README.md bin debian examples man pf_spamfilt pyproject.toml \
    tests/messages/gtube.eml "$source"
find "$source" -name __pycache__ -prune -exec rm -rf {} +
# Unchecked: make has installed what debian/control names, and nothing is compiled, so that no build-essential is needed.
if ! (cd "$source" && dpkg-buildpackage --build=binary --no-sign --no-check-builddeps) >"$temporary/log" 2>&1; then
    tail -n 30 "$temporary/log" >&2
    echo "deb: dpkg-buildpackage could not build the package: see above" >&2
    exit 1
fi
mkdir -p "$folder"
for package in "$temporary"/*.deb; do
    mv "$package" "$folder"
    echo "built: $folder/${package##*/}"
done
