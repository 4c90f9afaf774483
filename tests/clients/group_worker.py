"""A member of a group that does its work and writes down what it did.

Every record's partition and offset go to a file before the offset is committed, so that whatever happens to this process, a
committed record is a processed one. It ends by SIGTERM, leaving the group as a good member does; by SIGKILL it just ends.
Its last argument is the protocol of the group: `classic`, or `consumer` for the newer one, whose times are the broker's.
"""

import signal
import sys

from confluent_kafka import Consumer, KafkaException

brokers, group, topic, journal, protocol = sys.argv[1:6]
times = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 500} if protocol == "classic" else {}
COMMIT_EVERY = 10
stop = False


def on_term(_signal, _frame):
    global stop
    stop = True


signal.signal(signal.SIGTERM, on_term)
consumer = Consumer(
    {
        "bootstrap.servers": brokers,
        "group.id": group,
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "group.protocol": protocol,
        **times,
        "reconnect.backoff.max.ms": 500,
        "socket.timeout.ms": 10000,
    }
)
done = {}


def commit():
    try:
        consumer.commit(asynchronous=False)
    except KafkaException as failure:
        # Nothing to commit, a rebalance, a broker that is gone: whoever has the partition next does the work again.
        print(failure, file=sys.stderr)


consumer.subscribe([topic], on_revoke=lambda _consumer, _partitions: commit())
with open(journal, "a", encoding="ascii") as out:
    uncommitted = 0
    while not stop:
        message = consumer.poll(0.2)
        if message is None or message.error() is not None:
            continue
        out.write(f"{message.partition()} {message.offset()}\n")
        out.flush()
        uncommitted += 1
        if uncommitted >= COMMIT_EVERY:
            commit()
            uncommitted = 0
consumer.close()
