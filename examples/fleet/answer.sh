#!/bin/sh
# Answers each request on port 80 with the database's greeting.
printf 'HTTP/1.0 200 OK\r\n\r\n'
nc -w 5 db 5432
