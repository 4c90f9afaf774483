"""What the programs about consumer groups share: topics with records, consumers of one manner, and waiting for shares."""

from checks import expect, poll_until
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic

TIMEOUT_SECONDS = 20
PARTITIONS = 4


class Groups:
    """A broker address, and what every consumer of the program is configured with."""

    def __init__(self, brokers, **defaults):
        self.brokers = brokers
        self.admin = AdminClient({"bootstrap.servers": brokers})
        self.defaults = defaults

    def create(self, topic, records=0):
        self.admin.create_topics([NewTopic(topic, PARTITIONS, 1)])[topic].result(TIMEOUT_SECONDS)
        producer = Producer({"bootstrap.servers": self.brokers})
        for n in range(records):
            producer.produce(topic, b"%d" % n, partition=n % PARTITIONS)
        expect(producer.flush(TIMEOUT_SECONDS), 0, "records left unsent")

    def consumer(self, group, **config):
        named = {name.replace("_", "."): value for name, value in {**self.defaults, **config}.items()}
        return Consumer(
            {
                "bootstrap.servers": self.brokers,
                "group.id": group,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                **named,
            }
        )


def until_assigned(members, counts):
    """Polls all members until each has as many partitions as it should."""

    def look():
        for member in members:
            member.poll(0.05)
        return sorted(len(member.assignment()) for member in members) == sorted(counts)

    poll_until(look, f"assignments of sizes {counts}", seconds=40)
