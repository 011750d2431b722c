# What all shells share, and the tools that scripts use most.
set -u
printf 'one\ntwo\nthree\n' > lines
while read -r line; do printf '<%s>' "$line"; done < lines; echo
for word in "$@" x 'y z'; do echo "$word"; done
i=0; while [ $i -lt 5 ]; do i=$((i + 1)); [ $i -eq 3 ] && continue; echo $i; done
name() { echo "function $1"; return 3; }
name here; echo $?
case $(uname -s) in L*x) echo linux ;; *) echo other ;; esac
x=abcabc; echo "${x#a} ${x##*b} ${x%c} ${x%%b*} ${#x} ${none-default}"
(x=sub; echo $x); echo $x
trap 'echo trapped' TERM; kill -TERM $$; trap - TERM
{ sleep 30 & kill $!; wait $!; echo "status $?"; } 2> /dev/null
{ sleep 0.1; echo late; } & wait; echo early
echo "$(echo nested "$(echo more)")"
test -f lines -a ! -d lines && echo file
cat lines | sed 's/o/0/g' | tr '0' 'O' | sort -r | head -n 2
grep -c o lines; awk '{ n += length($0) } END { print n }' lines
find . -name 'l*' -exec sh -c 'echo found "$1"' sh {} \;
expr 6 \* 7; echo 'scale=5; 22/7' | bc
printf 'b 2\na 1\n' | sort -k2 | cut -d' ' -f1 | paste -s -d, -
printf '%d %s %o\n' 10 str 8
mkdir -p p/q; cp lines p/q; mv p/q p/r; ls -R p; rm -r p; ls p 2> /dev/null || echo gone
ln -s lines link; readlink link; cat link | wc -l
tar -cf t.tar lines link; tar -tf t.tar; gzip t.tar; gzip -l t.tar.gz > /dev/null && gunzip t.tar.gz; ls
date -u -d @0 +%Y-%m-%dT%H:%M:%S
env X=1 sh -c 'echo $X; exit 4'; echo $?
cat > make.mk <<'EOF'
all: a.out ; @cat $^
%.out: %.in ; @tr a-z A-Z < $< > $@
a.in: ; @echo made > $@
EOF
make -s -f make.mk; make -s -f make.mk nothing > /dev/null 2>&1; echo $?
xargs -n 1 echo item < lines
seq 10 | split -l 4 - part.; wc -l part.* | tail -1
cmp lines part.aa > /dev/null || echo differ
diff lines part.aa > changes; patch --version > /dev/null 2>&1; wc -l < changes
od -An -c lines | head -1
echo done | tee a b > /dev/null; cat a b
basename "$(pwd)"; cd /; pwd; cd - > /dev/null; [ -f lines ] && echo back
exec sh -c 'echo last; exit 5'
