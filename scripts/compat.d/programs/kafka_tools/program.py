"""Kafka's shell tools against the broker: what each prints is compared, not only that it ends well.

The shell scripts are a few lines around `java CLASS`; the classes are started here without them.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from harness import BOOTSTRAP, case, expect, holds, main, unique  # noqa: E402

JARS = os.environ.get("COMPAT_JARS", "")
SECONDS = 60
CLASSES = {
    "topics": "org.apache.kafka.tools.TopicCommand",
    "configs": "kafka.admin.ConfigCommand",
    "groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "all-groups": "org.apache.kafka.tools.GroupsCommand",
    "console-producer": "org.apache.kafka.tools.ConsoleProducer",
    "console-consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "verifiable-producer": "org.apache.kafka.tools.VerifiableProducer",
    "verifiable-consumer": "org.apache.kafka.tools.VerifiableConsumer",
    "producer-perf": "org.apache.kafka.tools.ProducerPerformance",
    "consumer-perf": "org.apache.kafka.tools.ConsumerPerformance",
    "get-offsets": "org.apache.kafka.tools.GetOffsetShell",
    "delete-records": "org.apache.kafka.tools.DeleteRecordsCommand",
    "log-dirs": "org.apache.kafka.tools.LogDirsCommand",
    "leader-election": "org.apache.kafka.tools.LeaderElectionCommand",
    "reassign": "org.apache.kafka.tools.reassign.ReassignPartitionsCommand",
    "api-versions": "org.apache.kafka.tools.BrokerApiVersionsCommand",
    "cluster": "org.apache.kafka.tools.ClusterTool",
    "features": "org.apache.kafka.tools.FeatureCommand",
    "transactions": "org.apache.kafka.tools.TransactionsCommand",
}


def tool(name, *arguments, stdin=None, accept=(0,), address="--bootstrap-server", java=()):
    done = subprocess.run(
        ["java", "-Xmx192m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
         *java, "-cp", JARS, CLASSES[name], *((address, BOOTSTRAP) if address else ()), *arguments],
        input=stdin, capture_output=True, text=True, timeout=SECONDS,
    )
    print(f"$ {name} {' '.join(arguments)}\n{done.stdout}{done.stderr}")
    if done.returncode not in accept:
        said = [line for line in (done.stdout + done.stderr).splitlines() if "rror" in line or "xception" in line]
        raise AssertionError(f"{name} {' '.join(arguments)} ended with {done.returncode}: {' '.join(said)[:300]}")
    return done.stdout + done.stderr


def create(topic, partitions=2, *options):
    tool("topics", "--create", "--topic", topic, "--partitions", str(partitions), *options)


def produce(topic, lines, *options):
    tool("console-producer", "--topic", topic, *options, stdin="".join(line + "\n" for line in lines))


def consume(topic, count, *options):
    out = tool("console-consumer", "--topic", topic, "--max-messages", str(count), "--timeout-ms", "20000", *options)
    return [line for line in out.splitlines() if line and "Processed a total" not in line]


def written(text):
    file = tempfile.NamedTemporaryFile("w", suffix=".json", delete=False)
    file.write(text)
    file.close()
    return file.name


@case
def topics(topic):
    create(topic, 2, "--config", "retention.ms=1000000")
    again = tool("topics", "--create", "--topic", topic, accept=(1,))
    holds("already exists" in again, f"again: {again}")
    tool("topics", "--create", "--if-not-exists", "--topic", topic)
    holds(topic in tool("topics", "--list").split(), "listed")
    about = tool("topics", "--describe", "--topic", topic)
    holds(re.search(r"PartitionCount: ?2\b", about) and re.search(r"ReplicationFactor: ?1\b", about), f"described: {about}")
    holds("retention.ms=1000000" in about and re.search(r"Isr: \d+", about), f"described: {about}")
    holds(re.search(r"TopicId: [\w-]{22}", about), "an id")
    tool("topics", "--alter", "--topic", topic, "--partitions", "4")
    holds(re.search(r"PartitionCount: ?4\b", tool("topics", "--describe", "--topic", topic)), "altered")
    expect(tool("topics", "--describe", "--under-replicated-partitions").strip(), "", "under-replicated partitions")
    tool("topics", "--delete", "--topic", topic)
    holds(topic not in tool("topics", "--list").split(), "deleted")


@case
def topic_configs(topic):
    create(topic, 1)
    of = ("--entity-type", "topics", "--entity-name", topic)
    tool("configs", "--alter", *of, "--add-config", "retention.ms=2000000,cleanup.policy=[compact,delete]")
    about = tool("configs", "--describe", *of)
    holds("retention.ms=2000000" in about and "DYNAMIC_TOPIC_CONFIG:retention.ms=2000000" in about, f"described: {about}")
    holds("cleanup.policy=compact,delete" in about, f"described: {about}")
    everything = tool("configs", "--describe", "--all", *of)
    holds("max.message.bytes=" in everything and "DEFAULT_CONFIG:" in everything, f"all: {everything[:300]}")
    tool("configs", "--alter", *of, "--delete-config", "retention.ms")
    holds("retention.ms=2000000" not in tool("configs", "--describe", *of), "deleted")
    refused = tool("configs", "--alter", *of, "--add-config", "retention.ms=soon", accept=(1,))
    holds("InvalidConfigurationException" in refused or "Invalid value" in refused, f"refused: {refused}")


@case
def broker_configs(_topic):
    node = re.search(r"\(id: (\d+) ", tool("api-versions")).group(1)
    about = tool("configs", "--describe", "--all", "--entity-type", "brokers", "--entity-name", node)
    holds("num.partitions=4" in about, f"described: {about[:300]}")


@case
def console_producer_and_consumer(topic):
    create(topic, 1)
    produce(topic, ["k1\tone", "k2\ttwo"], "--property", "parse.key=true", "--compression-codec", "zstd")
    got = consume(topic, 2, "--from-beginning", "--property", "print.key=true", "--property", "print.offset=true",
                  "--property", "print.partition=true")
    expect(got, ["Partition:0\tOffset:0\tk1\tone", "Partition:0\tOffset:1\tk2\ttwo"], "read back")
    produce(topic, ["three"])
    expect(consume(topic, 1, "--partition", "0", "--offset", "2"), ["three"], "from an offset")


@case
def consumer_groups(topic):
    create(topic, 1)
    produce(topic, [f"line {n}" for n in range(10)])
    expect(len(consume(topic, 10, "--group", topic, "--from-beginning")), 10, "read by the group")
    holds(topic in tool("groups", "--list").split(), "listed")
    holds(re.search(rf"{topic}\s+Empty", tool("groups", "--list", "--state")), "listed with its state")
    about = tool("groups", "--describe", "--group", topic)
    rows = [line.split() for line in about.splitlines() if line.startswith(topic)]
    expect(sum(int(row[3]) for row in rows), 10, "committed offsets")
    expect([row[5] for row in rows], ["0"] * len(rows), "lag")
    state = tool("groups", "--describe", "--state", "--group", topic)
    holds("Empty" in state, f"state: {state}")
    tool("groups", "--describe", "--members", "--group", topic)
    dry = tool("groups", "--reset-offsets", "--to-earliest", "--group", topic, "--topic", topic, "--dry-run")
    expect(dry.count(topic + " "), 2, f"rows of the dry run: {dry}")
    tool("groups", "--reset-offsets", "--to-offset", "2", "--group", topic, "--topic", topic + ":0", "--execute")
    about = tool("groups", "--describe", "--group", topic, "--offsets")
    holds(any(line.split()[2:4] == ["0", "2"] for line in about.splitlines() if line.startswith(topic)), f"reset: {about}")
    tool("groups", "--delete-offsets", "--group", topic, "--topic", topic + ":0")
    tool("groups", "--delete", "--group", topic)
    holds(topic not in tool("groups", "--list").split(), "deleted")


@case
def groups_of_every_kind(topic):
    create(topic, 1)
    produce(topic, ["one"])
    consume(topic, 1, "--group", topic, "--from-beginning")
    holds(topic in tool("all-groups", "--list"), "listed")


@case
def new_protocol_by_console(topic):
    create(topic, 1)
    produce(topic, ["one", "two"])
    got = consume(topic, 2, "--group", topic, "--from-beginning", "--consumer-property", "group.protocol=consumer")
    expect(got, ["one", "two"], "read by a new group")


@case
def verifiable_producer_and_consumer(topic):
    create(topic, 2)
    out = tool("verifiable-producer", "--topic", topic, "--max-messages", "500", "--acks", "-1")
    sums = [json.loads(line) for line in out.splitlines() if '"name":"tool_data"' in line]
    expect((sums[0]["sent"], sums[0]["acked"]), (500, 500), "sent and acknowledged")
    out = tool("verifiable-consumer", "--topic", topic, "--group-id", topic, "--max-messages", "500", "--reset-policy", "earliest")
    events = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    expect(sum(e["count"] for e in events if e["name"] == "records_consumed"), 500, "consumed")
    holds(any(e["name"] == "offsets_committed" and e["success"] for e in events), "committed")


@case
def performance_tools(topic):
    create(topic, 2)
    tool("producer-perf", "--topic", topic, "--num-records", "5000", "--record-size", "200", "--throughput", "-1",
         "--producer-props", f"bootstrap.servers={BOOTSTRAP}", "compression.type=lz4", address=None)
    out = tool("consumer-perf", "--topic", topic, "--messages", "5000", "--timeout", "20000")
    row = out.strip().splitlines()[-1].split(",")
    holds(float(row[4]) >= 5000, f"consumed: {out}")


@case
def offsets(topic):
    create(topic, 2)
    produce(topic, [f"line {n}" for n in range(6)])
    out = [line.split(":") for line in tool("get-offsets", "--topic", topic).splitlines() if line.startswith(topic)]
    expect((len(out), sum(int(row[2]) for row in out)), (2, 6), "latest")
    out = [line.split(":") for line in tool("get-offsets", "--topic", topic, "--time", "earliest").splitlines() if topic in line]
    expect([row[2] for row in out], ["0", "0"], "earliest")
    tool("get-offsets", "--topic", topic, "--time", "max-timestamp")


@case
def delete_records(topic):
    create(topic, 1)
    produce(topic, [f"line {n}" for n in range(6)])
    wanted = {"partitions": [{"topic": topic, "partition": 0, "offset": 4}], "version": 1}
    out = tool("delete-records", "--offset-json-file", written(json.dumps(wanted)))
    holds("low_watermark: 4" in out, f"deleted: {out}")
    expect(consume(topic, 2, "--from-beginning"), ["line 4", "line 5"], "what is left")


@case
def log_directories(topic):
    create(topic, 1)
    produce(topic, ["one"])
    out = tool("log-dirs", "--describe", "--topic-list", topic)
    answer = json.loads(next(line for line in out.splitlines() if line.startswith("{")))
    replicas = [part for broker in answer["brokers"] for directory in broker["logDirs"] for part in directory["partitions"]]
    expect([part["partition"] for part in replicas if part["size"] > 0], [f"{topic}-0"], "replicas")


@case
def leader_election(topic):
    create(topic, 1)
    out = tool("leader-election", "--election-type", "preferred", "--topic", topic, "--partition", "0")
    holds("Valid replica already elected" in out or "Successfully completed" in out, f"election: {out}")


@case
def reassignment(topic):
    create(topic, 1)
    node = re.search(r"Leader: (\d+)", tool("topics", "--describe", "--topic", topic)).group(1)
    wanted = {"version": 1, "partitions": [{"topic": topic, "partition": 0, "replicas": [int(node)]}]}
    file = written(json.dumps(wanted))
    tool("reassign", "--execute", "--reassignment-json-file", file)
    out = tool("reassign", "--verify", "--reassignment-json-file", file)
    holds("is completed" in out or "complete" in out, f"verified: {out}")
    holds("No partition reassignments found" in tool("reassign", "--list"), "no reassignment is left")


@case
def cluster(_topic):
    about = tool("cluster", "cluster-id", "--bootstrap-server", BOOTSTRAP, address=None)
    holds(re.search(r"Cluster ID: \S+", about), "cluster id")
    holds("Produce(0)" in tool("api-versions"), "versions of APIs")
    holds("Feature: " in tool("features", "describe"), "features")


@case
def producers_are_described(topic):
    create(topic, 1)
    produce(topic, ["one", "two"])
    out = tool("transactions", "describe-producers", "--topic", topic, "--partition", "0")
    rows = [line.split() for line in out.splitlines() if re.match(r"\d+\s", line)]
    expect(len(rows), 1, f"producers: {out}")


if __name__ == "__main__":
    main()
