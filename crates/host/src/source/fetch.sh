# Asks for the newest commit of a branch or tag and lays its manifests out.
# Arguments: repository, branch or tag, folder or nothing, the applied commit or
# nothing, a commit whose manifests are not needed or nothing.
path=$3 applied=$4 skip=$5
rm -rf out
mkdir out
ask
update
cd mirror
commit=$(git rev-parse --verify --quiet "refs/cb/tip^{commit}") || {
    echo "$full does not point to a commit" >&2
    exit 1
}
echo "commit $commit"
echo "ref $full"
if [ -z "$applied" ]; then
    echo "history first"
elif git merge-base --is-ancestor "$applied" "$commit" 2>/dev/null; then
    echo "history forward"
else
    echo "history lost"
fi
git log -1 --no-show-signature --format='author %an%nsubject %s' "$commit" --
if [ -e "$secrets/signers" ] && ! git verify-commit "$commit" 2>/dev/null; then
    echo "signature $(git log -1 --no-show-signature --format=%G? "$commit" --)"
fi
if [ "$commit" = "$skip" ]; then
    exit
fi
tree=$commit
if [ -n "$path" ]; then tree=$commit:$path; fi
if [ "$(git cat-file -t "$tree" 2>/dev/null)" = blob ] || ! git cat-file -e "$tree" 2>/dev/null; then
    echo "no folder"
    exit
fi
git ls-tree -r -z "$tree" >../out/tree
git ls-tree -r "$tree" | sed -nE 's/^100[0-7]{3} blob ([0-9a-f]+)	.*\.(ya?ml|age|sops\.env)"?$/\1/p' |
    git cat-file --batch >../out/blobs
