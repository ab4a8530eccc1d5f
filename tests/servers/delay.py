#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""delay.py UPSTREAM MILLISECONDS FILE: a TCP proxy that makes UPSTREAM (HOST:PORT) be that far away.

Prints its port. What is sent arrives half that time later, both ways, and a new connection takes as long as a
handshake would: MILLISECONDS is the round trip. Bandwidth is not limited. FILE has the bytes that clients sent, as text.
"""
import asyncio
import sys

UPSTREAM, TRIP, FILE = sys.argv[1], float(sys.argv[2]) / 1000, sys.argv[3]
STATE = {"sent": 0}
CHUNK, AHEAD = 256 << 10, 256  # at most 64 MiB are under way


async def late(reader, queue, counts):
    """Reads, and says when each chunk is to be there."""
    loop = asyncio.get_running_loop()
    while data := await reader.read(CHUNK):
        STATE["sent"] += len(data) if counts else 0
        await queue.put((loop.time() + TRIP / 2, data))
    await queue.put((loop.time() + TRIP / 2, b""))


async def deliver(queue, writer):
    loop = asyncio.get_running_loop()
    while True:
        when, data = await queue.get()
        await asyncio.sleep(max(0, when - loop.time()) if TRIP else 0)
        if not data:
            break
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()


async def serve(reader, writer):
    host, port = UPSTREAM.rsplit(":", 1)
    await asyncio.sleep(TRIP)
    up_reader, up_writer = await asyncio.open_connection(host, int(port))
    there, back = asyncio.Queue(AHEAD), asyncio.Queue(AHEAD)
    try:
        await asyncio.gather(late(reader, there, True), deliver(there, up_writer), late(up_reader, back, False),
                             deliver(back, writer))
    except OSError:
        pass
    up_writer.close()
    writer.close()
    with open(FILE, "w", encoding="ascii") as f:
        f.write(str(STATE["sent"]))


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
