#!/bin/sh
# Installs those of the Debian packages named as arguments which are missing here.
#
#   lab/packages.sh postfix spamd spamc
#
# Does nothing, and needs no network, when all are there. Never replaces a package, never starts a mail
# system, and leaves none that starts at the next boot: a new Postfix has no configuration, a new spamd, slapd or
# Dovecot is disabled, a new PostgreSQL has no database cluster.
# On failure nothing is half done that apt-get has not said; status 1, and the last lines say what to do.

set -eu
policy=/usr/sbin/policy-rc.d
clusters=/etc/postgresql-common/createcluster.d
log=

say() {
    echo "packages: $*"
}

fail() {
    echo "packages: $*" >&2
    exit 1
}

installed() {
    test "$(dpkg-query -W -f='${Status}' "$1" 2>/dev/null)" = "install ok installed"
}

# spamd is a package of its own since Debian 12 and Ubuntu 24.04; before that it came with spamassassin.
present() {
    installed "$1" || { test "$1" = spamd && installed spamassassin && test -x /usr/sbin/spamd; }
}

package_of() {
    if test "$1" = spamd && ! apt-cache show spamd 2>/dev/null | grep -q '^Package: spamd$'; then
        echo spamassassin
    else
        echo "$1"
    fi
}

other_mail_system() {
    dpkg-query -W -f='${db:Status-Status} ${Package} ${Provides}\n' 2>/dev/null |
        sed -n 's/^installed \([^ ]*\) .*mail-transport-agent.*/\1/p' | head -n 1
}

check_host() {
    command -v apt-get >/dev/null && command -v dpkg-query >/dev/null ||
        fail "no apt-get here. Install by your own means, then try again:$missing"
    test "$(id -u)" = 0 || fail "not root. As root: apt-get install --no-install-recommends$missing"
}

# A Postfix is only installed where there is no mail system, nor an earlier one's configuration to wake up.
check_postfix() {
    other=$(other_mail_system)
    test -z "$other" || fail "$other is this host's mail system, and postfix would replace it:" \
        "nothing was changed. Try this on another machine, in a virtual machine, or in a container" \
        "(docker run --privileged)."
    test ! -e /etc/postfix/main.cf || fail "/etc/postfix/main.cf is from a Postfix that was removed;" \
        "a new one would start with it: nothing was changed. Move it away, or install postfix yourself."
    echo "postfix postfix/main_mailer_type select No configuration" | debconf-set-selections
}

# A new slapd gets no directory of its own.
prepare_slapd() {
    echo "slapd slapd/no_configuration boolean true" | debconf-set-selections
}

# A new PostgreSQL server makes a cluster, "main", which starts at each boot; but not while this file is there.
prepare_postgresql() {
    made="$made $clusters/pf-spamfilt.conf"
    mkdir -p "$clusters"
    echo "create_main_cluster = false" >"$clusters/pf-spamfilt.conf"
}

# Keeps the packages' scripts from starting their services, unless the host has a policy of its own.
forbid_services() {
    test ! -e "$policy" || return 0
    made="$made $policy"
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
}

# The service must not run now (a policy of the host may have let it start), nor at the next boot.
disable_service() {
    invoke-rc.d "$1" stop >/dev/null 2>&1 || true
    update-rc.d "$1" disable >>"$log" 2>&1 || deb-systemd-helper disable "$1.service" >>"$log" 2>&1 ||
        say "could not disable the service $1: it may start at the next boot"
}

install_all() {
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends --no-remove "$@" \
        </dev/null >>"$log" 2>&1 && return 0
    tail -n 15 "$log" >&2
    fail "apt-get could not install: $* (all it said is in $log)"
}

missing=
for name in "$@"; do
    present "$name" || missing="$missing $name"
done
test -n "$missing" || exit 0

check_host
case "$missing " in *" postfix "*) check_postfix ;; esac
log=$(mktemp /tmp/packages.XXXXXX)
say "reading the package lists"
apt-get update >>"$log" 2>&1 || say "apt-get update failed; going on with the lists that are here"
packages=
for name in $missing; do
    packages="$packages $(package_of "$name")"
done
say "installing$packages; no service is started"
made=
# shellcheck disable=SC2086
trap 'rm -f $made' EXIT
trap 'exit 1' HUP INT TERM
forbid_services
case "$missing " in *" slapd "*) prepare_slapd ;; esac
case "$missing " in *" postgresql "*) prepare_postgresql ;; esac
# shellcheck disable=SC2086
install_all $packages
case "$missing " in *" spamd "*) disable_service "$(package_of spamd)" ;; esac
case "$missing " in *" slapd "*) disable_service slapd ;; esac
case "$missing " in *" dovecot-core "*) disable_service dovecot ;; esac
rm -f "$log"
say "installed$packages"
