#!/bin/sh
# install.sh DESTDIR PREFIX: install pf-spamfilt, with a Python environment of its own, and try it. Called by make.
#
# The command runs as an account that may write nothing and read little: so the interpreter must be one that such an
# account can start, and all bytecode is compiled here. Before this says "installed" it has run the command as one.
set -eu

destdir=$1 prefix=$2
root=$destdir$prefix
venv=$root/lib/pf-spamfilt
new=$venv.new
here=$(cd "$(dirname "$0")/.." && pwd)

die() {
    echo "install: $*" >&2
    exit 1
}

# Run a command as nobody, if we are root; otherwise there is nobody else to try. The shell between is without the
# capabilities with which setpriv itself would start anything.
as_nobody() {
    if [ "$(id -u)" = 0 ]; then
        setpriv --reuid=65534 --regid=65534 --clear-groups -- /bin/sh -c 'exec "$0" "$@"' "$@"
    else
        "$@"
    fi
}

usable() {
    (cd / && as_nobody "$1" -I -c 'import sys; sys.exit(sys.version_info < (3, 11))') 2>/dev/null
}

find_python() {
    for python in ${PYTHON:-/usr/bin/python3 /usr/local/bin/python3 "$(command -v python3 || :)"}; do
        [ -x "$python" ] && usable "$python" && return
    done
    die "no Python 3.11 or later that an unprivileged account can start (looked at ${PYTHON:-/usr/bin/python3,
/usr/local/bin/python3 and python3 in PATH}). Install python3 from your distribution, or name one: make install PYTHON=/path/python3"
}

make_venv() {
    rm -rf "$new"
    mkdir -p "$root/lib" && [ -w "$root/lib" ] || die "cannot write $root/lib: be root, or make install PREFIX=\$HOME/.local"
    if ! "$python" -m venv "$new" >/dev/null 2>&1; then
        # Debian has what it needs in a package of its own.
        package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
        "$here/lab/packages.sh" "$package" || die "$python cannot make virtual environments: install $package"
        "$python" -m venv "$new" || die "$python cannot make virtual environments"
    fi
    "$new/bin/python3" -I -m pip install -q --disable-pip-version-check --no-cache-dir --no-compile "$here" ||
        die "pip could not install pf-spamfilt with click, jinja2 and hatchling, from PyPI unless pip is configured otherwise:
see above, and README.md, Install, for machines without a way out"
    # What is left is only what the command needs; the scripts of a venv would name this folder.
    "$new/bin/python3" -I -m pip uninstall -q -y --disable-pip-version-check setuptools pip 2>/dev/null || :
    find "$new/bin" -type f ! -name pf-spamfilt -delete
    "$python" -I -m compileall -q -s "$new" -p "$prefix/lib/pf-spamfilt" "$new/lib" || die "cannot compile the package"
}

# An earlier version serves mail until the new one is complete; mail that meets the gap of two renames is deferred.
place() {
    install -d "$root/bin" "$root/share/man/man1" "$root/share/man/man5" "$root/share/man/man8"
    rm -rf "$venv.old"
    [ ! -e "$venv" ] || mv "$venv" "$venv.old"
    mv "$new" "$venv"
    rm -rf "$venv.old"
    install -m 0644 "$here/man/pf-spamfilt.1" "$root/share/man/man1/pf-spamfilt.1"
    install -m 0644 "$here/man/pf-spamfilt.toml.5" "$root/share/man/man5/pf-spamfilt.toml.5"
    install -m 0644 "$here/man/pf-spamfilt-admin.8" "$root/share/man/man8/pf-spamfilt-admin.8"
    for command in "$here/bin/pf-spamfilt" "$here/scripts/pf-spamfilt-admin"; do
        name=${command##*/}
        install -m 0755 "$command" "$root/bin/.$name.new"
        mv "$root/bin/.$name.new" "$root/bin/$name"
    done
}

# A command must tell an unprivileged account its version.
ask() {
    version=$(cd / && as_nobody "$@" --version </dev/null 2>&1) ||
        die "an unprivileged account cannot run $*: $version
(every folder on the way to it must be open to all: chmod a+rx)"
}

# The form for people must answer, and the one for mail must refuse an empty command line with a deferral.
try() {
    ask "$1"
    answer=$(cd / && as_nobody "$1" </dev/null 2>&1) && die "the command accepts an empty command line"
    case $answer in
    4.3.5*) ;;
    *) die "the command does not work as an unprivileged account: $answer" ;;
    esac
}

case $prefix in
/*) ;;
*) die "PREFIX must be an absolute path, not $prefix" ;;
esac
umask 022
trap 'rm -rf "$new"' EXIT
find_python
make_venv
# Before they replace what works.
ask "$new/bin/python3" -I -m pf_spamfilt.admin
try "$new/bin/pf-spamfilt"
place
ask "$root/bin/pf-spamfilt-admin"
try "$root/bin/pf-spamfilt"
echo "installed: $version and pf-spamfilt-admin in $prefix/bin, run by $python"
[ "$(id -u)" = 0 ] || echo "install: not root, so it was not tried as the account that Postfix will use"
