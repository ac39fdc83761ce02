# What both scripts begin with. They run in the folder of the mirror, as a user
# without rights. Nothing that a repository says makes git run a program: there
# is no work tree, and no configuration is read but the mirror's own.
secrets=${CREDENTIALS_DIRECTORY:-/nonexistent}
ssh="ssh -F /dev/null -oBatchMode=yes -oStrictHostKeyChecking=yes -oConnectTimeout=30 -oIdentitiesOnly=yes"
if [ -e "$secrets/key" ]; then ssh="$ssh -i $secrets/key"; fi
if [ -e "$secrets/hosts" ]; then
    ssh="$ssh -oUserKnownHostsFile=$secrets/hosts -oGlobalKnownHostsFile=/dev/null"
fi
export GIT_SSH_COMMAND="$ssh"
# The token goes from the file to git through a pipe: it is in no argument.
helper=
if [ -e "$secrets/token" ]; then
    helper='!f() { if [ "$1" = get ]; then
        { read -r one || :; two=; read -r two || :; } <"$CREDENTIALS_DIRECTORY/token"
        if [ -z "$two" ]; then two=$one one=git; fi
        printf "username=%s\npassword=%s\n" "$one" "$two"
    fi; }; f'
fi
# A redirection would give the token to another server.
git() {
    command git -c core.hooksPath=/dev/null -c core.fsmonitor=false -c gc.autoDetach=false \
        -c http.followRedirects=false -c credential.helper="$helper" \
        -c gpg.ssh.allowedSignersFile="$secrets/signers" -c gpg.minTrustLevel=fully "$@"
}
# A repository on this host belongs to somebody else.
pack=
push=
case $url in
/*)
    pack="--upload-pack=git -c safe.directory=* upload-pack"
    push="--receive-pack=git -c safe.directory=* receive-pack"
    ;;
esac

# Sets `id` and `full` to the commit and the whole name of a branch or tag.
ask() {
    git ls-remote ${pack:+"$pack"} -- "$url" "refs/heads/$name" "refs/tags/$name" >out/refs
    id= full= branches=0
    while read -r one ref; do
        case $ref in
        "refs/heads/$name" | "refs/tags/$name") id=$one full=$ref branches=$((branches + 1)) ;;
        esac
    done <out/refs
    if [ "$branches" = 0 ]; then
        echo "there is no branch or tag $name" >&2
        exit 1
    elif [ "$branches" = 2 ]; then
        echo "$name is a branch and a tag; rename one" >&2
        exit 1
    fi
}

fetch() {
    git -C "$1" fetch --quiet --no-tags --no-recurse-submodules ${pack:+"$pack"} \
        -- "$url" "+$full:refs/cb/tip"
}

# Brings the mirror to what was asked for. One that gives nothing is made anew
# beside and replaced.
update() {
    if [ -d mirror ]; then find mirror -name '*.lock' -delete; fi
    if [ -d mirror ] && [ "$(git -C mirror rev-parse --verify --quiet refs/cb/tip)" = "$id" ]; then
        return
    fi
    if ! { [ -d mirror ] && fetch mirror 2>/dev/null; }; then
        rm -rf next
        git init --quiet --bare --template= next
        fetch next
        rm -rf mirror
        mv next mirror
    fi
}
