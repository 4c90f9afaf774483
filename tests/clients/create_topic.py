"""Creates a topic with settings. Usage: create_topic.py BROKERS TOPIC PARTITIONS [KEY=VALUE ...]"""

import sys

from confluent_kafka.admin import AdminClient, NewTopic

brokers, topic, partitions, *settings = sys.argv[1:]
config = dict(setting.split("=", 1) for setting in settings)
admin = AdminClient({"bootstrap.servers": brokers})
created = admin.create_topics([NewTopic(topic, int(partitions), 1, config=config)], operation_timeout=10)
created[topic].result(timeout=15)
