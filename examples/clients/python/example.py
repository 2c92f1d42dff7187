"""Signals a stage, then holds a session that the stage signals.

    stage-node run examples/clients/python/main.lua --listen 127.0.0.1:7701
    /usr/bin/python3 examples/clients/python/example.py 127.0.0.1:7701
"""

import queue
import sys

from stage_client import Client, SignalFailed

client = Client(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:7701")
print(client.ask("stage:hello", "kim", {"level": 7}, timeout=5))
try:
    client.ask("stage:missing")
except SignalFailed as failure:
    print(failure.reason)

pushes = queue.Queue()
session = client.session(on_push=lambda message, args: pushes.put((message, args)))
answers = [session.start("stage:double", number) for number in range(1000)]
print(sum(session.end(answer)[0] for answer in answers))
session.end(session.start("stage:subscribe"))
print(pushes.get(timeout=10))
session.close()
client.close()
