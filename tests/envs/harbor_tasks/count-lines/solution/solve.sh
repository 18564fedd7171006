#!/bin/sh
grep -c harbor /app/words.txt > /app/answer.txt
