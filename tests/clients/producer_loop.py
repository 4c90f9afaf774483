"""An idempotent producer that goes on through every death of the broker, and writes down what it was promised.

Usage: producer_loop.py BROKERS TOPIC PARTITIONS PRODUCER CODEC ACKS_FILE

Values are `producer:sequence:filling`, unique, spread over the partitions. Each delivery report becomes a line
`partition offset value` in the acks file; a report of failure becomes a line `failed ...`, which the judge
takes as a broken promise, since this producer never gives up by itself. It works until its standard input
closes, waits for what is still on its way, and writes `attempted COUNT` last.
"""

import sys
import threading
import time

from confluent_kafka import Producer

ON_THE_WAY_MAX = 400
FLUSH_SECONDS = 60
# Enough to keep batches on their way all the time, little enough to read everything again in the end.
RECORDS_PER_SECOND = 2000

brokers, topic, partitions, number, codec, acks_path = sys.argv[1:]
partitions = int(partitions)
stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()

with open(acks_path, "w", buffering=1 << 16) as acks:

    def delivered(error, message):
        value = message.value().decode()
        if error is None:
            acks.write(f"{message.partition()} {message.offset()} {value}\n")
        else:
            acks.write(f"failed {error.name()} {value}\n")

    producer = Producer(
        {
            "bootstrap.servers": brokers,
            "enable.idempotence": True,
            "compression.type": codec,
            "linger.ms": 2,
            # Small batches, many requests: more places for a kill to fall between.
            "batch.num.messages": 50,
            # For as long as the test may last: giving up would be a hole in the sequence.
            "message.timeout.ms": 600_000,
            "request.timeout.ms": 5_000,
            "socket.connection.setup.timeout.ms": 1_000,
            "reconnect.backoff.ms": 10,
            "reconnect.backoff.max.ms": 100,
            "retry.backoff.ms": 20,
            "log_level": 2,
        }
    )
    sequence, began = 0, time.monotonic()
    while not stop.is_set():
        due = (time.monotonic() - began) * RECORDS_PER_SECOND
        while sequence < due and len(producer) < ON_THE_WAY_MAX:
            filling = "." * (sequence * 7919 % 120)
            # Several records to one partition, then the next, so that batches hold more than one.
            partition = sequence // 8 % partitions
            producer.produce(topic, value=f"{number}:{sequence}:{filling}", partition=partition, on_delivery=delivered)
            sequence += 1
        if sequence < due:
            # Held up, by a dead broker most likely: what could not be sent is not caught up with.
            began = time.monotonic() - sequence / RECORDS_PER_SECOND
        producer.poll(0.005)
        acks.flush()
    left = producer.flush(FLUSH_SECONDS)
    acks.write(f"attempted {sequence}\n")
    acks.flush()
sys.exit(f"{left} records were never answered" if left else 0)
