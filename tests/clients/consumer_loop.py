"""A reader that follows every partition through every death of the broker, and writes down what it sees.

Usage: consumer_loop.py BROKERS TOPIC PARTITIONS SEEN_FILE

Each record becomes a line `partition offset value`. It keeps its own position: if the broker ever says that the
position lies beyond the log, records this reader saw are gone, and it writes a line `failed ...`. It works
until its standard input closes.
"""

import sys
import threading

from confluent_kafka import Consumer, TopicPartition

brokers, topic, partitions, seen_path = sys.argv[1:]
stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()

consumer = Consumer(
    {
        "bootstrap.servers": brokers,
        "group.id": "never-joined",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "check.crcs": True,
        "fetch.wait.max.ms": 100,
        "reconnect.backoff.ms": 10,
        "reconnect.backoff.max.ms": 100,
        "fetch.error.backoff.ms": 20,
        "log_level": 2,
    }
)
consumer.assign([TopicPartition(topic, partition, 0) for partition in range(int(partitions))])
# What a reader is told while there is nobody to tell it anything, or while a restart is under way.
PASSING = {"_TRANSPORT", "_ALL_BROKERS_DOWN", "_TIMED_OUT", "_RESOLVE", "LEADER_NOT_AVAILABLE",
           "NOT_LEADER_FOR_PARTITION", "UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC", "_UNKNOWN_PARTITION"}
with open(seen_path, "w", buffering=1 << 16) as seen:
    while not stop.is_set():
        messages = consumer.consume(500, 0.1)
        for message in messages:
            error = message.error()
            if error is None:
                seen.write(f"{message.partition()} {message.offset()} {message.value().decode()}\n")
            elif error.name() not in PASSING:
                seen.write(f"failed {error.name()} {message.topic()} {message.partition()} {error.str()}\n")
        seen.flush()
consumer.close()
