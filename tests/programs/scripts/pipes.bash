# Pipes, here-documents, process substitution, redirections, co-processes.
echo hello | tr a-z A-Z | rev
cat <<EOF
here $((6 * 7)) $(echo sub | wc -c) `echo old`
EOF
cat <<-'EOF'
	literal $HOME
	EOF
cat <<< "string $((1 << 40))"
diff <(printf 'a\nb\n') <(printf 'a\nc\n')
echo "diff $?"
printf '%s\n' 3 1 2 | tee >(sort > sorted) > plain
while [ ! -s sorted ]; do sleep 0.02; done
paste plain sorted
paste -d- <(seq 3) <(seq 4 6) <(seq 7 9)
yes | head -100000 | wc -l
yes | head -1 > /dev/null; echo "${PIPESTATUS[@]}"
false | true | (exit 3); echo "${PIPESTATUS[@]}"
set -o pipefail; false | true; echo "pipefail $?"; set +o pipefail
{ echo out; echo err >&2; } 2>&1 | sort
{ echo out; echo err >&2; } 2> errors; cat errors
exec 5> five; echo to five >&5; exec 5>&-; cat five
exec 6<> five; read -u 6 line; echo "$line"; echo more >&6; exec 6<&-; cat five
mkfifo fifo; (echo through fifo > fifo &) ; cat fifo
coproc CO { while read line; do echo "co: $line"; done; }
echo x >&"${CO[1]}"; read answer <&"${CO[0]}"; echo "$answer"
out=${CO[1]}; exec {out}>&-; wait; echo "co-process ended $?"
for i in {1..100}; do echo $i; done | { sum=0; while read i; do sum=$((sum + i)); done; echo $sum; }
seq 20000 | sort -R | sort -n | md5sum
seq 3 | xargs -n 1 -P 3 sh -c 'echo "arg $0"' | sort
find . -type f -print0 | sort -z | xargs -0 -n 2 echo
x=$(printf 'line1\nline2\n\n\n'); echo "[$x]"
mapfile -t lines < <(printf 'a b\nc d\n'); echo "${#lines[@]} ${lines[1]}"
read -r -d '' a b < <(printf 'one two\0'); echo "$a-$b"
printf 'a\0b' | od -c
nosuchcommand; echo "not found $?"
/etc/passwd; echo "not executable $?"
ls nonexistent 2>&1; echo "ls $?"
(ulimit -n 64; ulimit -n)
umask 027; touch masked; stat -c '%a %s %F' masked
dd if=/dev/zero bs=1000 count=7 2> /dev/null | wc -c
printf '#!/bin/sh\necho script "$@"\n' > script; chmod +x script; ./script 1 '2 3'
printf '#!/usr/bin/awk -f\nBEGIN { print "awk", ARGC, ARGV[1] }\n' > awk; chmod +x awk; ./awk a
printf '#!/usr/bin/env -S bash -e\necho env "$0"; false; echo no\n' > env; chmod +x env; ./env
echo "script $?"
printf 'echo without a first line $0\n' > none; chmod +x none; ./none
PATH=.:$PATH script by path
