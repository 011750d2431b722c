# The language: arrays, arithmetic, expansions, functions, regular expressions.
shopt -s extglob globstar nullglob
a=(one two three); a+=(four); unset 'a[1]'
declare -A m=([x]=1 [y]=2 [z w]=3)
echo "${a[@]:1} ${!a[*]} ${#a[@]} ${m[x]}${m[z w]} ${#m[@]}"
[[ foo123 =~ ([a-z]+)([0-9]+) ]] && echo "${BASH_REMATCH[2]}-${BASH_REMATCH[1]}"
[[ abc == a?(b)c && ! abc < abb && -n x ]]; echo $?
s=hello.tar.gz; echo "${s%.*} ${s%%.*} ${s#*.} ${s##*.} ${s/l/L} ${s//l/L} ${s^} ${s^^} ${s:1:3}"
echo "${#s} ${s@Q} ${unset:-default} ${s:+alt} ${!s*}"
echo $((2**62 + 5 % 3 - (7 > 3 ? 1 : 2))) $((16#ff)) $((0x7fffffffffffffff + 1)) $((-7 / 2)) $((-7 % 3))
i=5; ((i += 3, i++)); echo $i; let j=i*2; echo $j
echo {a..e}{1..3..2} {01..10..3}
mkdir -p d/e/f; touch d/1.c d/e/2.c d/e/f/3.c d/x.h
echo **/*.c; echo d/!(*.c); echo nothing*
fib() { if (($1 < 2)); then echo $1; else echo $(($(fib $(($1 - 1))) + $(fib $(($1 - 2))))); fi; }
fib 7
for ((k = 0, n = 1; k < 70; k++)); do ((n = n * 3 + k)); done; echo $n
case foobar in foo*) echo one ;;& *bar) echo two ;& baz) echo three ;; *) echo four ;; esac
select v in aa bb; do echo "selected $v"; break; done <<< 2 2> /dev/null
printf '%05d|%-6s|%+.3e|%x|%q|%b|%(%Y)T\n' 42 ab 1234.5 255 "a b'c" 'x\ty' 0
while getopts ab:c o -a -b val -c; do echo "$o ${OPTARG-}"; done
IFS=: read -r u _ id _ < /etc/passwd; echo "$u $id"
eval 'x="$((1 + 1))"'; echo $x; declare -i n=3+4; echo $n; declare -r r=1; (r=2) 2> /dev/null; echo $?
ref=x; declare -n name=ref; name=y; echo $ref
x=$'a\nb\x41\u00e9'; echo "$x" | od -An -tx1
echo "${x//[^a-zA-Z]/_}"
source /dev/stdin <<< 'sourced() { echo "sourced $1 $#"; }'; sourced p q
echo "$BASH_SUBSHELL $(echo $BASH_SUBSHELL) ${FUNCNAME[0]-none} ${BASHPID:+pid}"
set -- a 'b c' d; echo "$# $2"; shift 2; echo "$@"
set -e; (false; echo no) || echo "caught $?"; set +e
count=0; while read -r line; do ((count++)); done < <(seq 500); echo $count
string=; for ((k = 0; k < 2000; k++)); do string+=$((k % 10)); done; echo ${#string} ${string:1990}
sorted=($(printf '%s\n' "${a[@]}" | sort)); echo "${sorted[*]}"
type -t if cd ls fib nosuch; echo "$?"
help true | head -1
history -s x; caller || echo no caller
ulimit -S -c 0; ulimit -c
