# shellcheck shell=bash
# Debian's packages for tests/clients/install: downloaded by apt with lists and a cache of its own, signatures
# checked, unpacked (never installed) below .tools/, and run through wrappers with their own loader and libraries,
# so that the C library of this machine may be older. No root; nothing of the system is changed.
#
# Needs `tools`, `say`, `unavailable` and `quietly` of the script that reads it.

readonly APT_SECONDS=420 # for one apt run; the largest part is about 75 MB

# The Debian archive that apt of this machine uses: the first address ending in /debian.
debian_mirror() {
    if [[ -n ${SLUICE_DEBIAN_MIRROR:-} ]]; then
        printf '%s\n' "$SLUICE_DEBIAN_MIRROR"
        return
    fi
    local file
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
        [[ -r $file ]] || continue
        sed -nE -e 's/^deb[[:space:]]+(\[[^]]*\][[:space:]]+)?([^[:space:]]+).*/\2/p' \
            -e 's/^URIs:[[:space:]]*//p' "$file"
    done | tr -s '[:space:]' '\n' | sed -nE '/\/debian\/?$|\/debian\.list$/{p;q}'
}

# Debian unstable on Debian, whose drivers are the newest; elsewhere the machine's own sources stay in force.
write_sources() {
    local ID='' file archive keys=''
    # shellcheck source=/dev/null
    [[ -r /etc/os-release ]] && . /etc/os-release
    [[ $ID == debian ]] || return 0
    archive=$(debian_mirror)
    [[ -n $archive ]] || unavailable "apt's sources name no Debian mirror: set SLUICE_DEBIAN_MIRROR to one"
    for file in /usr/share/keyrings/debian-archive-keyring.{gpg,pgp}; do
        [[ -r $file ]] && keys=$file && break
    done
    [[ -n $keys ]] || unavailable "the package debian-archive-keyring is missing: downloads can't be verified"
    printf 'deb [signed-by=%s] %s unstable main\n' "$keys" "$archive" >"$apt/sources.list"
    cat >>"$apt/apt.conf" <<CONF
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "/dev/null";
CONF
}

# Read after the machine's configuration: its keys and proxy stay, its state and its hooks don't.
write_apt_conf() {
    mkdir -p "$apt/state/lists/partial" "$apt/cache/archives/partial" "$apt/log"
    : >"$apt/status" # nothing counts as installed, so the C library comes along
    cat >"$apt/apt.conf" <<CONF
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Install-Pkgs;
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
#clear APT::Default-Release;
Dir::State "$apt/state";
Dir::State::status "$apt/status";
Dir::State::extended_states "$apt/state/extended_states";
Dir::Cache "$apt/cache";
Dir::Log "$apt/log";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
APT::Sandbox::User "$(id -un)";
APT::Install-Recommends "false";
APT::Get::AllowUnauthenticated "false";
Acquire::AllowInsecureRepositories "false";
Acquire::Languages "none";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::Retries "3";
Acquire::http::Timeout "30";
Acquire::https::Timeout "30";
CONF
}

# The lists, read once per run of the script.
apt_lists() {
    [[ -z ${apt:-} ]] || return 0
    command -v apt-get >/dev/null && command -v dpkg >/dev/null ||
        unavailable "it comes from Debian's packages, and this machine has no apt"
    apt=$tools/apt
    rm -rf "$apt"
    write_apt_conf
    write_sources
    quietly timeout "$APT_SECONDS" apt-get -c "$apt/apt.conf" -q -y update
    # `update` ends with 0 even when an index could not be had.
    ! grep -qE '^(Err|E):' "$tools/install.log" || unavailable "apt's lists could not be had: $(grep -E '^(Err|E):' "$tools/install.log" | head -n 1)"
}

# debian_root PART PACKAGE...: unpacks the packages, and all that they need, into $home/root of the part. What an
# earlier run unpacked for the same packages stays.
debian_root() {
    local part=$1
    shift
    home=$tools/$part
    if [[ ! -f $home/unpacked || $(<"$home/unpacked") != "$*" ]]; then
        unpack "$part" "$@"
        printf '%s\n' "$*" >"$home/unpacked" # last: it says that all is there
    fi
    loader=$(cd "$home/root" && find . \( -name 'ld-linux-*.so.*' -o -name 'ld64.so.*' \) -printf '%P\n' | sort | tail -n 1)
    # shellcheck disable=SC2016 # wrappers know where their root is
    libraries=$(cd "$home/root" && find . -name 'lib*.so*' -printf '$root/%h\n' | sort -u | tr '\n' ':')
    plugins=$(cd "$home/root" && find . -name caching_sha2_password.so -printf '%h\n' | head -n 1)
}

unpack() {
    local part=$1 deb
    shift
    say "downloading $part ($*)"
    apt_lists
    rm -rf "$home"
    mkdir -p "$home/root" "$home/bin"
    rm -f "$apt"/cache/archives/*.deb
    quietly timeout "$APT_SECONDS" apt-get -c "$apt/apt.conf" -q -y install --download-only "$@"
    for deb in "$apt"/cache/archives/*.deb; do
        dpkg -x "$deb" "$home/root"
        dpkg-deb --show "$deb" >>"$home/packages"
    done
    rm -f "$apt"/cache/archives/*.deb
    # Links to /etc and the like mean the unpacked ones.
    local link
    find "$home/root" -type l -lname '/*' | while read -r link; do
        ln -sfnr "$home/root$(readlink "$link")" "$link"
    done
}

# debian_wrapper NAME PROGRAM [ARGUMENT...], environment on standard input: one line `NAME=value` each. In both, $root
# is where the packages are, wherever the checkout is moved to.
debian_wrapper() {
    local name=$1 program=$2
    shift 2
    [[ -n $loader ]] || unavailable "the download of $name holds no C library"
    {
        # shellcheck disable=SC2016
        printf '%s\n' '#!/bin/sh' '# Written by tests/clients/install.' \
            'root=$(dirname "$(dirname "$(readlink -f "$0")")")/root' \
            "export MARIADB_PLUGIN_DIR=\"\$root/$plugins\"" \
            'export MARIADB_TLS_DISABLE_PEER_VERIFICATION=1 # self-signed certificates, as servers make them'
        local line
        while read -r line; do
            printf 'export %s="%s"\n' "${line%%=*}" "${line#*=}"
        done
        # shellcheck disable=SC2016
        printf 'exec "$root/%s" --library-path "%s" "%s"' "$loader" "$libraries" "$program"
        [[ $# -eq 0 ]] || printf ' "%s"' "$@"
        # shellcheck disable=SC2016
        printf ' "$@"\n'
    } >"$home/bin/$name"
    chmod 755 "$home/bin/$name"
}

# The version of a package of the part that was unpacked last.
debian_version() {
    sed -nE "s/^$1(:[a-z0-9]+)?\t//p" "$home/packages"
}
