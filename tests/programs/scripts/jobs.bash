# Jobs, signals and traps.
trap 'echo got TERM' TERM; kill -TERM $$; trap - TERM
trap 'echo got USR1' USR1; (kill -USR1 $$); trap '' USR1; kill -USR1 $$; echo ignored
(trap 'echo bye' EXIT; exit 3); echo "subshell $?"
trap 'echo "line failed: $?"' ERR; false; trap - ERR
sleep 5 & p=$!; kill $p; wait $p; echo "killed $?"
sleep 5 & p=$!; kill -9 $p; wait $p 2> /dev/null; echo "killed $?"
(sleep 8; exit 7) & (sleep 0.05; exit 6) & wait -n; echo "first $?"; wait -n; echo "second $?"
(exit 4) & p=$!; wait $p; echo "waited $?"
wait 1 2> /dev/null; echo "no child $?"
trap 'echo child' CHLD; sleep 0.05 & wait; trap - CHLD
set -m
sleep 2 & jobs; wait %1; echo "job $?"
sleep 30 & kill -STOP %1; until jobs -s | grep -q Stopped; do sleep 0.02; done
jobs | sed 's/  */ /g'; kill -CONT %1; until jobs -r | grep -q Running; do sleep 0.02; done
jobs | sed 's/  */ /g'; kill %1; wait %1 2> /dev/null; echo "job $?"
(sleep 2; echo done) & fg %1
set +m
timeout 0.2 sleep 5; echo "timeout $?"
timeout -s KILL 0.2 sleep 5 2> /dev/null; echo "timeout $?"
timeout 300 sh -c 'exit 9'; echo "timeout $?"
nohup sh -c 'echo nohup; kill -HUP $$; echo survived' 2> /dev/null
sh -c 'kill -SEGV $$' 2> /dev/null; echo "fault $?"
bash -c 'trap "exit 5" INT; kill -INT $$; sleep 1'; echo "interrupt $?"
(trap - INT; kill -INT $BASHPID; sleep 1); echo "interrupt $?"
stdbuf -oL echo buffered
nice -n 5 nice
setsid -w sh -c 'ps -o sid= -o pid= -p $$ | { read a b; [ $a = $b ] && echo leader; }'
f() { local x=1; trap 'echo "return $x"' RETURN; }; f; trap - RETURN
trap 'echo debug' DEBUG; true; trap - DEBUG
exec 3< <(trap 'echo end; exit' PIPE TERM; echo $BASHPID; while :; do sleep 0.05; done)
read -u 3 p; kill $p; cat <&3; exec 3<&-
sleep 0.3 & sleep 0.1 & wait; echo "all $?"
SECONDS=10; sleep 1; [ $SECONDS -ge 11 ] && echo seconds
time_output=$({ time true; } 2>&1 | grep -c real); echo "time $time_output"
read -t 0.1 x < <(sleep 5); echo "read $?"
kill -l 15 9; kill -l TERM | tr 0-9 x
kill -0 $$; echo "alive $?"
trap 'echo last words' EXIT
exit 42
