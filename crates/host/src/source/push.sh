# Commits one file to a branch and pushes it. What others pushed meanwhile stays
# under it; where they changed the same file, nothing is pushed (exit code 10).
# Arguments: repository, branch, the file. In `in/`: `message`, `before` if the
# file was there, `after` if it is to be there.
file=$3
rm -rf out
mkdir out
before=
if [ -e in/before ]; then before=$(git hash-object --stdin <in/before); fi
for attempt in 1 2 3 4 5; do
    ask
    case $full in refs/heads/*) ;; *)
        echo "$name is a tag, and nothing can be committed to it" >&2
        exit 1
        ;;
    esac
    update
    tip=$(git -C mirror rev-parse --verify "refs/cb/tip^{commit}")
    found=$(git -C mirror rev-parse --verify --quiet "$tip:$file" || :)
    if [ "$found" != "$before" ]; then
        echo "$file was changed in $tip" >&2
        exit 10
    fi
    rm -f out/index
    export GIT_INDEX_FILE="$PWD/out/index"
    git -C mirror read-tree "$tip"
    entry="0 0000000000000000000000000000000000000000"
    if [ -e in/after ]; then
        entry=$(git -C mirror hash-object -w --stdin <in/after)
        entry="100644 $entry"
    fi
    printf '%s\t%s\0' "$entry" "$file" | git -C mirror update-index -z --index-info
    tree=$(git -C mirror write-tree)
    unset GIT_INDEX_FILE
    commit=$(git -C mirror commit-tree "$tree" -p "$tip" <in/message)
    if git -C mirror push --quiet ${push:+"$push"} -- "$url" "$commit:$full" 2>out/push; then
        echo "commit $commit"
        exit
    fi
    # Somebody was faster, or it will not be taken at all.
    seen=$id
    ask
    if [ "$id" = "$seen" ]; then break; fi
done
cat out/push >&2
exit 1
