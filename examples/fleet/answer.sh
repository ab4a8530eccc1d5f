#!/bin/sh
# What the database says, for whoever asks for port 80.
printf 'HTTP/1.0 200 OK\r\n\r\n'
nc -w 5 db 5432
