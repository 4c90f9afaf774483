"""The brokers of the laboratory: how each is had, started, and what its acknowledgement means.

A `Broker` is a kind of server; a `Variant` is one row of the tables: a broker with settings, a protocol, and the
durability those settings give. The order of VARIANTS is the order of rows.
"""

import dataclasses

from . import corelog, kafka, nats, rabbitmq, redis

# Words of the durability column. Two rows can be compared without a footnote only when theirs are the same. Memory is
# the broker's own or the kernel's: what loses it differs (a crash of the process, or of the machine), what it costs
# hardly does.
DISK = "on disk before the ack"
MEMORY = "in memory at the ack"


@dataclasses.dataclass(frozen=True)
class Variant:
    """One row."""

    name: str
    # A module of this package.
    broker: object
    # `--proto` of the generator.
    protocol: str
    # DISK or MEMORY.
    durability: str
    # How it comes to that.
    how: str
    # What the broker's `start` is told.
    options: dict
    # Which `[settings.*]` table of a scenario is its own.
    family: str
    # Topic settings of this variant in every scenario.
    settings: dict = dataclasses.field(default_factory=dict)


VARIANTS = [
    Variant("corelog-native", corelog, "native", DISK, "default: direct I/O, group commit", {}, "kafka"),
    Variant("corelog-kafka", corelog, "kafka", DISK, "default: direct I/O, group commit", {}, "kafka"),
    Variant("corelog-native-relaxed", corelog, "native", MEMORY, "corelog.durability=relaxed", {}, "kafka",
            {"corelog.durability": "relaxed"}),
    Variant("corelog-kafka-relaxed", corelog, "kafka", MEMORY, "corelog.durability=relaxed", {}, "kafka",
            {"corelog.durability": "relaxed"}),
    Variant("kafka-flush", kafka, "kafka", DISK, "log.flush.interval.messages=1", {"flush": True}, "kafka"),
    Variant("kafka", kafka, "kafka", MEMORY, "default: the kernel writes back when it likes", {"flush": False}, "kafka"),
    Variant("nats-sync", nats, "nats", DISK, "sync_interval: always, one replica", {"sync": "always"}, "nats"),
    Variant("nats", nats, "nats", MEMORY, "default sync_interval of two minutes", {"sync": "2m"}, "nats"),
    Variant("rabbitmq-quorum", rabbitmq, "amqp", DISK, "quorum queue: its write-ahead log syncs before the confirm", {},
            "quorum", {"x-queue-type": "quorum"}),
    Variant("rabbitmq-stream", rabbitmq, "amqp", MEMORY, "stream: never synced", {}, "stream",
            {"x-queue-type": "stream"}),
    Variant("redis-always", redis, "redis", DISK, "appendfsync always", {"fsync": "always"}, "redis"),
    Variant("redis-everysec", redis, "redis", MEMORY, "appendfsync everysec", {"fsync": "everysec"}, "redis"),
]
