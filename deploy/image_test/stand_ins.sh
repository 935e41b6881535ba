#!/usr/bin/env bash
# Bases made of Debian's packages, under the names that the Dockerfile and the compose file ask for, for
# machines that reach Debian but no registry of images. As root, with podman and buildah:
#   stand_ins.sh FOLDER     keeps the root file system in FOLDER, so that it is made only once
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

FOLDER="$1"
SUITE=bookworm
MIRROR="${DEBIAN_MIRROR:-http://deb.debian.org/debian}"

image_of() { # SERVICE, of the compose file
    sed -n "/^  $1:/,/^  [a-z]/s/^    image: //p" docker-compose.yml | head -n 1
}

exists() { podman image exists "$1"; }

make_base() { # IMAGE
    local container
    if [ ! -e "$FOLDER/rootfs/usr/bin/python" ]; then
        rm -rf "$FOLDER/rootfs"
        debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates \
            "$SUITE" "$FOLDER/rootfs" "$MIRROR"
        ln -s python3 "$FOLDER/rootfs/usr/bin/python"
        rm -rf "$FOLDER"/rootfs/var/cache/apt/archives/*.deb
    fi
    container="$(buildah from scratch)"
    buildah copy --quiet "$container" "$FOLDER/rootfs" / >/dev/null
    buildah config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
    buildah commit --quiet "$container" "$1" >/dev/null
    buildah rm "$container" >/dev/null
}

make_from_package() { # BASE IMAGE ENTRYPOINT PACKAGE...
    local base="$1" image="$2" entrypoint="$3" container
    shift 3
    container="$(buildah from --pull-never "$base")"
    buildah run --isolation chroot --network host "$container" -- apt-get update -q
    buildah run --isolation chroot --network host "$container" -- \
        env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"
    buildah config --entrypoint "$entrypoint" --cmd '' "$container"
    buildah commit --quiet "$container" "$image" >/dev/null
    buildah rm "$container" >/dev/null
}

base="docker.io/library/$(sed -n 's/^FROM \(python:[^ ]*\) AS cpu-base$/\1/p' Dockerfile)"
redis="docker.io/library/$(image_of redis)"
prometheus="docker.io/$(image_of prometheus)"
haproxy="docker.io/library/$(image_of onlooker-door)"
exists "$base" || make_base "$base"
exists "$redis" || make_from_package "$base" "$redis" '[]' redis-server
exists "$prometheus" || make_from_package "$base" "$prometheus" '["/usr/bin/prometheus"]' prometheus wget
exists "$haproxy" || make_from_package "$base" "$haproxy" \
    '["/usr/sbin/haproxy", "-W", "-db", "-f", "/usr/local/etc/haproxy/haproxy.cfg"]' haproxy
