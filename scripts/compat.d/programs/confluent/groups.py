"""What programs on both kinds of groups ask of their members."""

from common import SECONDS, owned
from confluent_kafka import TopicPartition


def all_of(topic, partitions=4):
    return [(topic, partition) for partition in range(partitions)]


def shared(members, topic, partitions=4):
    """Whether the members together own each partition once, and each has some."""
    parts = [owned(client) for client in members]
    return all(parts) and sorted(sum(parts, [])) == all_of(topic, partitions)


def close(*members):
    for client in members:
        client.close()


def committed(client, topic, partitions=4):
    asked = [TopicPartition(topic, partition) for partition in range(partitions)]
    return [part.offset for part in client.committed(asked, timeout=SECONDS)]
