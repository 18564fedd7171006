#!/bin/sh
right=0
for name in Ada Grace; do
  [ "$(sh /app/greet.sh "$name")" = "Hello, $name!" ] && right=$((right + 1))
done
case $right in
  2) echo '{"reward": 1.0, "names": 2}' ;;
  1) echo '{"reward": 0.5, "names": 1}' ;;
  *) echo '{"reward": 0.0, "names": 0}' ;;
esac > /logs/verifier/reward.json
