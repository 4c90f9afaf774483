import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.UUID;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.*;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.*;

/**
 * Apache Kafka's own client, compiled against whichever version is on the class path.
 *
 * In the manner of ../harness.py: a case is a method of Cases; COMPAT_BOOTSTRAP is the broker, COMPAT_CASES the cases to run.
 */
public class Compat {
    static final String BOOTSTRAP = System.getenv().getOrDefault("COMPAT_BOOTSTRAP", "127.0.0.1:9092");
    static final long SECONDS = 30;

    public static void main(String[] arguments) {
        TreeMap<String, Method> cases = new TreeMap<>();
        for (Method method : Cases.class.getDeclaredMethods()) {
            if (java.lang.reflect.Modifier.isPublic(method.getModifiers())) {
                cases.put(snake(method.getName()), method);
            }
        }
        if (Arrays.asList(arguments).contains("--list")) {
            cases.keySet().forEach(System.out::println);
            return;
        }
        String wanted = System.getenv("COMPAT_CASES");
        Collection<String> names = wanted == null ? cases.keySet() : Arrays.asList(wanted.split(","));
        for (String name : names) {
            System.out.println("@run " + name);
            try {
                cases.get(name).invoke(new Cases(), name.replace('_', '-') + "-" + UUID.randomUUID().toString().substring(0, 8));
                System.out.println("@passed " + name);
            } catch (InvocationTargetException thrown) {
                Throwable cause = thrown.getCause();
                cause.printStackTrace(System.out);
                System.out.println(("@failed " + name + " " + cause).replace('\n', ' '));
            } catch (ReflectiveOperationException wrong) {
                throw new IllegalStateException(wrong);
            }
        }
        System.out.flush();
        Runtime.getRuntime().halt(0);
    }

    static String snake(String camel) {
        return camel.replaceAll("([A-Z]|(?<=[a-z])[0-9]+)", "_$1").toLowerCase();
    }

    // What every case uses.

    static void holds(boolean condition, String what) {
        if (!condition) {
            throw new AssertionError(what);
        }
    }

    static void same(Object actual, Object expected, String what) {
        holds(actual == null ? expected == null : actual.equals(expected), what + ": " + actual + ", expected " + expected);
    }

    static void until(Callable<Boolean> condition, String what) throws Exception {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(SECONDS);
        while (!condition.call()) {
            holds(System.nanoTime() < deadline, "not within " + SECONDS + " s: " + what);
            Thread.sleep(30);
        }
    }

    static <T> T get(Future<T> future) throws Exception {
        return future.get(SECONDS, TimeUnit.SECONDS);
    }

    static void fails(Class<? extends Throwable> kind, Future<?> future, String what) throws Exception {
        try {
            Object value = get(future);
            throw new AssertionError(what + ": no error, but " + value);
        } catch (ExecutionException thrown) {
            holds(kind.isInstance(thrown.getCause()), what + ": " + thrown.getCause());
        }
    }

    static Properties properties(Object... pairs) {
        Properties made = new Properties();
        made.put("bootstrap.servers", BOOTSTRAP);
        for (int at = 0; at < pairs.length; at += 2) {
            made.put(pairs[at], pairs[at + 1].toString());
        }
        return made;
    }

    static Admin admin() {
        return Admin.create(properties());
    }

    static void create(String topic, int partitions, String... configs) throws Exception {
        Map<String, String> wanted = new HashMap<>();
        for (int at = 0; at < configs.length; at += 2) {
            wanted.put(configs[at], configs[at + 1]);
        }
        try (Admin admin = admin()) {
            get(admin.createTopics(List.of(new NewTopic(topic, partitions, (short) 1).configs(wanted))).all());
            until(() -> {
                try {
                    TopicDescription about = get(admin.describeTopics(List.of(topic)).allTopicNames()).get(topic);
                    return about.partitions().size() == partitions
                        && about.partitions().stream().allMatch(part -> part.leader() != null);
                } catch (ExecutionException notYet) {
                    return false;
                }
            }, "leaders");
        }
    }

    static Producer<String, String> producer(Object... pairs) {
        return new KafkaProducer<>(properties(pairs), new StringSerializer(), new StringSerializer());
    }

    static void sendNumbers(String topic, int count, int partitions, Object... pairs) throws Exception {
        try (Producer<String, String> producer = producer(pairs)) {
            List<Future<RecordMetadata>> reports = new ArrayList<>();
            for (int n = 0; n < count; n++) {
                reports.add(producer.send(new ProducerRecord<>(topic, n % partitions, "k" + n, "v" + n)));
            }
            for (Future<RecordMetadata> report : reports) {
                get(report);
            }
        }
    }

    static Consumer<String, String> consumer(Object... pairs) {
        Properties made = properties("auto.offset.reset", "earliest", "enable.auto.commit", "false", "fetch.max.wait.ms", "100");
        made.putAll(properties(pairs));
        return new KafkaConsumer<>(made, new StringDeserializer(), new StringDeserializer());
    }

    static Consumer<String, String> member(String protocol, String group, String topic, Object... pairs) {
        List<Object> all = new ArrayList<>(List.of("group.id", group));
        all.addAll(protocol.equals("classic")
            ? List.of("session.timeout.ms", "6000", "heartbeat.interval.ms", "300")
            : List.of("group.protocol", "consumer"));
        all.addAll(Arrays.asList(pairs));
        Consumer<String, String> made = consumer(all.toArray());
        made.subscribe(List.of(topic));
        return made;
    }

    static List<ConsumerRecord<String, String>> take(Consumer<String, String> consumer, int count) {
        List<ConsumerRecord<String, String>> got = new ArrayList<>();
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(SECONDS);
        while (got.size() < count) {
            holds(System.nanoTime() < deadline, got.size() + " of " + count + " records");
            consumer.poll(Duration.ofMillis(200)).forEach(got::add);
        }
        return got;
    }

    static Set<Integer> parts(Consumer<String, String> consumer) {
        Set<Integer> numbers = new TreeSet<>();
        consumer.assignment().forEach(part -> numbers.add(part.partition()));
        return numbers;
    }

    /** Polls all members until they own these numbers of partitions, none twice. */
    static Set<String> settle(List<Consumer<String, String>> members, int... shares) throws Exception {
        Set<String> seen = new HashSet<>();
        until(() -> {
            boolean same = true;
            Set<Integer> together = new HashSet<>();
            int sum = 0;
            for (int at = 0; at < shares.length; at++) {
                members.get(at).poll(Duration.ofMillis(30)).forEach(r -> seen.add(r.partition() + "@" + r.offset()));
                Set<Integer> owned = parts(members.get(at));
                same &= owned.size() == shares[at];
                together.addAll(owned);
                sum += shares[at];
            }
            return same && together.size() == sum;
        }, "shares " + Arrays.toString(shares));
        return seen;
    }

    static Map<String, String> configs(Admin admin, ConfigResource resource) throws Exception {
        Map<String, String> values = new HashMap<>();
        get(admin.describeConfigs(List.of(resource)).all()).get(resource).entries().forEach(e -> values.put(e.name(), e.value()));
        return values;
    }

    public static class Cases {
        static final long PAST = 1_600_000_000_000L;

        private void codec(String topic, String name) throws Exception {
            create(topic, 1);
            sendNumbers(topic, 1000, 1, "compression.type", name, "linger.ms", 20);
            try (Consumer<String, String> consumer = consumer("check.crcs", "true")) {
                TopicPartition part = new TopicPartition(topic, 0);
                consumer.assign(List.of(part));
                List<ConsumerRecord<String, String>> got = take(consumer, 1000);
                for (int n = 0; n < 1000; n++) {
                    same(got.get(n).offset() + got.get(n).value(), n + "v" + n, "record");
                }
            }
        }

        public void codecNone(String topic) throws Exception {
            codec(topic, "none");
        }

        public void codecGzip(String topic) throws Exception {
            codec(topic, "gzip");
        }

        public void codecSnappy(String topic) throws Exception {
            codec(topic, "snappy");
        }

        public void codecLz4(String topic) throws Exception {
            codec(topic, "lz4");
        }

        public void codecZstd(String topic) throws Exception {
            codec(topic, "zstd");
        }

        public void topicMadeByUsingIt(String topic) throws Exception {
            try (Producer<String, String> producer = producer()) {
                get(producer.send(new ProducerRecord<>(topic, "first")));
                same(producer.partitionsFor(topic).size(), 4, "partitions by default");
            }
        }

        public void headersNullsAndTimestamps(String topic) throws Exception {
            create(topic, 1);
            List<Header> headers = List.of(new RecordHeader("a", "1".getBytes(StandardCharsets.UTF_8)), new RecordHeader("a", null));
            try (Producer<String, String> producer = producer()) {
                get(producer.send(new ProducerRecord<>(topic, 0, PAST, "k", "v", headers)));
                get(producer.send(new ProducerRecord<>(topic, 0, PAST + 1000, "k", (String) null)));
                get(producer.send(new ProducerRecord<>(topic, 0, PAST + 2000, null, "")));
            }
            try (Consumer<String, String> consumer = consumer()) {
                TopicPartition part = new TopicPartition(topic, 0);
                consumer.assign(List.of(part));
                List<ConsumerRecord<String, String>> got = take(consumer, 3);
                same(got.get(0).headers().toArray().length, 2, "headers");
                same(got.get(0).headers().toArray()[1].value(), null, "null header");
                same(got.get(1).value(), null, "null value");
                same(got.get(2).key() + got.get(2).value(), "null", "null key, empty value");
                same(got.get(1).timestamp(), PAST + 1000, "timestamp");
                same(consumer.offsetsForTimes(Map.of(part, PAST + 1)).get(part).offset(), 1L, "offset by time");
                same(consumer.offsetsForTimes(Map.of(part, PAST + 9000)).get(part), null, "no offset that late");
                same(consumer.beginningOffsets(List.of(part)).get(part), 0L, "beginning");
                same(consumer.endOffsets(List.of(part)).get(part), 3L, "end");
            }
        }

        /** The producer's default: idempotent, five requests in flight. */
        public void idempotentPipeline(String topic) throws Exception {
            create(topic, 4);
            Map<Integer, List<Long>> offsets = new TreeMap<>();
            try (Producer<String, String> producer = producer("batch.size", 400)) {
                List<Future<RecordMetadata>> reports = new ArrayList<>();
                for (int n = 0; n < 8000; n++) {
                    reports.add(producer.send(new ProducerRecord<>(topic, n % 4, null, "v" + n)));
                }
                for (Future<RecordMetadata> report : reports) {
                    offsets.computeIfAbsent(get(report).partition(), p -> new ArrayList<>()).add(get(report).offset());
                }
            }
            for (List<Long> each : offsets.values()) {
                for (int n = 0; n < 2000; n++) {
                    same(each.get(n), (long) n, "offset");
                }
            }
        }

        public void acksNoneAndOne(String topic) throws Exception {
            create(topic, 1);
            for (String acks : List.of("0", "1")) {
                sendNumbers(topic, 50, 1, "acks", acks, "enable.idempotence", "false");
            }
            try (Consumer<String, String> consumer = consumer()) {
                consumer.assign(List.of(new TopicPartition(topic, 0)));
                same(take(consumer, 100).size(), 100, "records");
            }
        }

        public void largeAndTooLarge(String topic) throws Exception {
            create(topic, 1);
            try (Producer<String, String> producer = producer("max.request.size", 8_000_000)) {
                get(producer.send(new ProducerRecord<>(topic, "a".repeat(900_000))));
                fails(RecordTooLargeException.class, producer.send(new ProducerRecord<>(topic, "b".repeat(3_000_000))), "3 MB");
                get(producer.send(new ProducerRecord<>(topic, "c".repeat(900_000))));
            }
            try (Consumer<String, String> consumer = consumer("max.partition.fetch.bytes", 1000)) {
                consumer.assign(List.of(new TopicPartition(topic, 0)));
                same(take(consumer, 2).get(1).value().charAt(0), 'c', "the second");
            }
        }

        public void logAppendTime(String topic) throws Exception {
            create(topic, 1, "message.timestamp.type", "LogAppendTime");
            long before = System.currentTimeMillis();
            try (Producer<String, String> producer = producer("compression.type", "lz4")) {
                RecordMetadata report = get(producer.send(new ProducerRecord<>(topic, 0, PAST, "k", "v")));
                holds(report.timestamp() >= before - 1000, "acknowledged timestamp " + report.timestamp());
            }
            try (Consumer<String, String> consumer = consumer()) {
                consumer.assign(List.of(new TopicPartition(topic, 0)));
                ConsumerRecord<String, String> got = take(consumer, 1).get(0);
                holds(got.timestamp() >= before - 1000, "timestamp " + got.timestamp());
                same(got.timestampType().toString(), "LogAppendTime", "kind");
            }
        }

        /** Fetch sessions: most partitions stay out of most requests and answers. */
        public void sessionsOverManyPartitions(String topic) throws Exception {
            create(topic, 50);
            List<TopicPartition> all = new ArrayList<>();
            for (int n = 0; n < 50; n++) {
                all.add(new TopicPartition(topic, n));
            }
            Set<String> seen = new HashSet<>();
            try (Consumer<String, String> consumer = consumer()) {
                consumer.assign(all);
                for (int round = 0; round < 10; round++) {
                    sendNumbers(topic, 100, 50);
                    take(consumer, 100).forEach(record -> seen.add(record.partition() + "@" + record.offset()));
                }
                same(seen.size(), 1000, "distinct records");
                consumer.pause(all.subList(0, 3));
                sendNumbers(topic, 50, 50);
                holds(take(consumer, 47).stream().allMatch(record -> record.partition() > 2), "nothing of paused partitions");
                consumer.resume(all.subList(0, 3));
                same(take(consumer, 3).size(), 3, "records of resumed partitions");
                consumer.seek(all.get(7), 5);
                same(take(consumer, 16).get(0).offset(), 5L, "after seeking back");
            }
        }

        public void unknownTopicAndOutOfRange(String topic) throws Exception {
            create(topic, 1);
            sendNumbers(topic, 5, 1);
            try (Consumer<String, String> consumer = consumer("auto.offset.reset", "none", "allow.auto.create.topics", "false")) {
                TopicPartition part = new TopicPartition(topic, 0);
                consumer.assign(List.of(part));
                consumer.seek(part, 500);
                try {
                    consumer.poll(Duration.ofSeconds(10));
                    throw new AssertionError("an offset out of range was not told");
                } catch (org.apache.kafka.clients.consumer.OffsetOutOfRangeException expected) {
                    same(expected.partitions(), Set.of(part), "partitions out of range");
                }
                same(consumer.listTopics().containsKey(topic), true, "listed");
            }
        }

        private void commitsAndResumes(String protocol, String topic) throws Exception {
            create(topic, 4);
            sendNumbers(topic, 200, 4);
            TopicPartition one = new TopicPartition(topic, 1);
            try (Consumer<String, String> consumer = member(protocol, topic, topic)) {
                take(consumer, 200);
                consumer.commitSync();
                consumer.commitSync(Map.of(one, new OffsetAndMetadata(20, Optional.of(0), "a note")));
                OffsetAndMetadata back = consumer.committed(Set.of(one)).get(one);
                same(back.offset() + back.metadata() + back.leaderEpoch(), "20a noteOptional[0]", "committed");
                same(consumer.groupMetadata().groupId(), topic, "group");
            }
            try (Consumer<String, String> consumer = member(protocol, topic, topic)) {
                List<ConsumerRecord<String, String>> got = take(consumer, 30);
                same(got.size(), 30, "only what is behind the commit");
                holds(got.stream().allMatch(record -> record.partition() == 1 && record.offset() >= 20), "records behind the commit");
            }
        }

        private void shareAndTakeOver(String protocol, String topic, Object... pairs) throws Exception {
            create(topic, 4);
            Consumer<String, String> first = member(protocol, topic, topic, pairs);
            settle(List.of(first), 4);
            Consumer<String, String> second = member(protocol, topic, topic, pairs);
            settle(List.of(first, second), 2, 2);
            sendNumbers(topic, 80, 4);
            Set<String> seen = new HashSet<>();
            int[] count = {0};
            until(() -> {
                for (Consumer<String, String> member : List.of(first, second)) {
                    member.poll(Duration.ofMillis(50)).forEach(record -> {
                        seen.add(record.partition() + "@" + record.offset());
                        count[0]++;
                    });
                }
                return seen.size() == 80;
            }, "all records");
            same(count[0], 80, "each record once");
            Consumer<String, String> third = member(protocol, topic, topic, pairs);
            until(() -> {
                int sum = 0;
                Set<Integer> together = new HashSet<>();
                for (Consumer<String, String> member : List.of(first, second, third)) {
                    member.poll(Duration.ofMillis(30));
                    sum += parts(member).size();
                    together.addAll(parts(member));
                }
                return parts(third).size() == 1 && sum == 4 && together.size() == 4;
            }, "three share");
            first.close();
            third.close();
            settle(List.of(second), 4);
            second.close();
        }

        public void classicCommitsAndResumes(String topic) throws Exception {
            commitsAndResumes("classic", topic);
        }

        public void classicMembersShareAndTakeOver(String topic) throws Exception {
            shareAndTakeOver("classic", topic);
        }

        public void cooperativeMembersShareAndTakeOver(String topic) throws Exception {
            shareAndTakeOver("classic", topic, "partition.assignment.strategy",
                "org.apache.kafka.clients.consumer.CooperativeStickyAssignor");
        }

        public void newCommitsAndResumes(String topic) throws Exception {
            commitsAndResumes("consumer", topic);
        }

        public void newMembersShareAndTakeOver(String topic) throws Exception {
            shareAndTakeOver("consumer", topic);
        }

        public void staticMemberComesBack(String topic) throws Exception {
            create(topic, 4);
            Object[] steady = {"group.instance.id", "steady", "session.timeout.ms", 20000};
            Object[] leaving = {"group.instance.id", "leaving", "session.timeout.ms", 20000};
            Consumer<String, String> stays = member("classic", topic, topic, steady);
            Consumer<String, String> goes = member("classic", topic, topic, leaving);
            settle(List.of(stays, goes), 2, 2);
            Set<Integer> before = parts(goes);
            goes.close();
            stays.poll(Duration.ofMillis(500));
            Consumer<String, String> back = member("classic", topic, topic, leaving);
            settle(List.of(stays, back), 2, 2);
            same(parts(back), before, "the partitions it had");
            try (Admin admin = admin()) {
                get(admin.removeMembersFromConsumerGroup(topic, new RemoveMembersFromConsumerGroupOptions(
                    List.of(new MemberToRemove("leaving")))).all());
            }
            settle(List.of(stays), 4);
            stays.close();
        }

        public void groupsAreAdministered(String topic) throws Exception {
            create(topic, 2);
            TopicPartition zero = new TopicPartition(topic, 0);
            TopicPartition one = new TopicPartition(topic, 1);
            try (Admin admin = admin()) {
                Consumer<String, String> consumer = member("classic", topic, topic);
                settle(List.of(consumer), 2);
                ConsumerGroupDescription about = get(admin.describeConsumerGroups(List.of(topic)).all()).get(topic);
                same(about.state().toString() + about.members().size(), "Stable1", "described");
                holds(about.members().iterator().next().assignment().topicPartitions().size() == 2, "assignment");
                Set<String> listed = new HashSet<>();
                get(admin.listConsumerGroups().all()).forEach(group -> listed.add(group.groupId()));
                holds(listed.contains(topic), "listed");
                fails(GroupNotEmptyException.class, admin.deleteConsumerGroups(List.of(topic)).all(), "with members");
                consumer.commitSync(Map.of(zero, new OffsetAndMetadata(0), one, new OffsetAndMetadata(0)));
                fails(GroupSubscribedToTopicException.class,
                    admin.deleteConsumerGroupOffsets(topic, Set.of(zero)).all(), "offsets of a topic that is subscribed to");
                consumer.close();
                get(admin.alterConsumerGroupOffsets(topic, Map.of(zero, new OffsetAndMetadata(7, "by hand"))).all());
                get(admin.deleteConsumerGroupOffsets(topic, Set.of(one)).all());
                Map<TopicPartition, OffsetAndMetadata> left =
                    get(admin.listConsumerGroupOffsets(topic).partitionsToOffsetAndMetadata());
                same(left.keySet(), Set.of(zero), "offsets that are left");
                same(left.get(zero).offset() + left.get(zero).metadata(), "7by hand", "altered");
                get(admin.deleteConsumerGroups(List.of(topic)).all());
                fails(GroupIdNotFoundException.class, admin.deleteConsumerGroups(List.of(topic)).all(), "again");
            }
        }

        public void topicsAreAdministered(String topic) throws Exception {
            try (Admin admin = admin()) {
                CreateTopicsResult made = admin.createTopics(List.of(
                    new NewTopic(topic, Optional.of(2), Optional.empty()).configs(Map.of("retention.ms", "1000000"))));
                same(get(made.numPartitions(topic)), 2, "partitions in the answer");
                same(get(made.replicationFactor(topic)), 1, "replicas in the answer");
                same(get(made.config(topic)).get("retention.ms").value(), "1000000", "configs in the answer");
                holds(!get(made.topicId(topic)).equals(Uuid.ZERO_UUID), "an id");
                until(() -> get(admin.listTopics().names()).contains(topic), "listed");
                fails(TopicExistsException.class, admin.createTopics(List.of(new NewTopic(topic, 1, (short) 1))).all(), "again");
                fails(InvalidReplicationFactorException.class,
                    admin.createTopics(List.of(new NewTopic(topic + "x", 1, (short) 3))).all(), "three replicas");
                fails(InvalidTopicException.class, admin.createTopics(List.of(new NewTopic("a b", 1, (short) 1))).all(), "name");
                get(admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(3))).all());
                until(() -> get(admin.describeTopics(List.of(topic)).allTopicNames()).get(topic).partitions().size() == 3, "three");
                fails(InvalidPartitionsException.class,
                    admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(2))).all(), "fewer");
                Uuid id = get(made.topicId(topic));
                same(get(admin.describeTopics(TopicCollection.ofTopicIds(List.of(id))).allTopicIds()).get(id).name(), topic, "by id");
                get(admin.deleteTopics(TopicCollection.ofTopicIds(List.of(id))).all());
                until(() -> !get(admin.listTopics().names()).contains(topic), "deleted");
                fails(UnknownTopicOrPartitionException.class, admin.deleteTopics(List.of(topic)).all(), "again");
            }
        }

        public void topicConfigs(String topic) throws Exception {
            create(topic, 1, "max.message.bytes", "200000");
            ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
            try (Admin admin = admin()) {
                Config config = get(admin.describeConfigs(List.of(resource),
                    new DescribeConfigsOptions().includeSynonyms(true).includeDocumentation(true)).all()).get(resource);
                ConfigEntry entry = config.get("max.message.bytes");
                same(entry.source(), ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG, "source");
                same(entry.type(), ConfigEntry.ConfigType.INT, "type");
                holds(entry.documentation() != null && !entry.documentation().isEmpty(), "documentation");
                holds(entry.synonyms().stream().anyMatch(s -> s.name().equals("message.max.bytes")), "synonyms " + entry.synonyms());
                same(config.get("retention.ms").isDefault(), true, "default");
                same(config.get("cleanup.policy").type(), ConfigEntry.ConfigType.LIST, "type of a list");
                get(admin.incrementalAlterConfigs(Map.of(resource, List.of(
                    new AlterConfigOp(new ConfigEntry("cleanup.policy", "compact"), AlterConfigOp.OpType.APPEND),
                    new AlterConfigOp(new ConfigEntry("max.message.bytes", ""), AlterConfigOp.OpType.DELETE)))).all());
                until(() -> configs(admin, resource).get("cleanup.policy").contains("compact")
                    && !configs(admin, resource).get("max.message.bytes").equals("200000"), "altered");
                fails(InvalidConfigurationException.class, admin.incrementalAlterConfigs(Map.of(resource, List.of(
                    new AlterConfigOp(new ConfigEntry("retention.ms", "soon"), AlterConfigOp.OpType.SET)))).all(), "bad value");
            }
        }

        public void brokerConfigs(String topic) throws Exception {
            try (Admin admin = admin()) {
                String id = get(admin.describeCluster().nodes()).iterator().next().idString();
                ConfigResource broker = new ConfigResource(ConfigResource.Type.BROKER, id);
                Map<String, String> values = configs(admin, broker);
                for (String name : List.of("num.partitions", "message.max.bytes", "log.retention.ms", "advertised.listeners")) {
                    holds(values.containsKey(name), name + " is not among the broker's configs");
                }
            }
        }

        public void clusterIsDescribed(String topic) throws Exception {
            try (Admin admin = admin()) {
                DescribeClusterResult about = admin.describeCluster();
                holds(get(about.clusterId()) != null, "id");
                holds(get(about.nodes()).contains(get(about.controller())), "the controller is a node");
                get(admin.describeFeatures().featureMetadata());
            }
        }

        public void offsetsAreListed(String topic) throws Exception {
            create(topic, 1);
            try (Producer<String, String> producer = producer("linger.ms", 50)) {
                for (int n = 0; n < 10; n++) {
                    producer.send(new ProducerRecord<>(topic, 0, n == 4 ? PAST + 1000 : PAST + n, "k", "v"));
                }
            }
            TopicPartition part = new TopicPartition(topic, 0);
            try (Admin admin = admin()) {
                Map<OffsetSpec, Long> wanted = new HashMap<>();
                wanted.put(OffsetSpec.earliest(), 0L);
                wanted.put(OffsetSpec.latest(), 10L);
                wanted.put(OffsetSpec.forTimestamp(PAST + 3), 3L);
                wanted.put(OffsetSpec.maxTimestamp(), 4L);
                wanted.put(OffsetSpec.earliestLocal(), 0L);
                for (Map.Entry<OffsetSpec, Long> each : wanted.entrySet()) {
                    long found = get(admin.listOffsets(Map.of(part, each.getKey())).all()).get(part).offset();
                    same(found, each.getValue(), each.getKey().getClass().getSimpleName());
                }
            }
        }

        public void recordsAreDeleted(String topic) throws Exception {
            create(topic, 1);
            sendNumbers(topic, 20, 1);
            TopicPartition part = new TopicPartition(topic, 0);
            try (Admin admin = admin(); Consumer<String, String> consumer = consumer()) {
                long low = get(admin.deleteRecords(Map.of(part, RecordsToDelete.beforeOffset(12))).lowWatermarks().get(part))
                    .lowWatermark();
                same(low, 12L, "low watermark");
                consumer.assign(List.of(part));
                same(take(consumer, 8).get(0).offset(), 12L, "the first record that is left");
                fails(org.apache.kafka.common.errors.OffsetOutOfRangeException.class, admin.deleteRecords(Map.of(part, RecordsToDelete.beforeOffset(21))).all(),
                    "behind the end");
            }
        }

        public void logDirectories(String topic) throws Exception {
            create(topic, 1);
            sendNumbers(topic, 20, 1);
            try (Admin admin = admin()) {
                List<Integer> brokers = new ArrayList<>();
                get(admin.describeCluster().nodes()).forEach(node -> brokers.add(node.id()));
                long[] size = {0};
                get(admin.describeLogDirs(brokers).allDescriptions()).values().forEach(directories ->
                    directories.values().forEach(directory -> directory.replicaInfos().forEach((part, replica) -> {
                        if (part.topic().equals(topic)) {
                            size[0] += replica.size();
                        }
                    })));
                holds(size[0] > 0, "a size");
            }
        }

        public void leadersAndReassignments(String topic) throws Exception {
            create(topic, 1);
            TopicPartition part = new TopicPartition(topic, 0);
            try (Admin admin = admin()) {
                fails(ElectionNotNeededException.class, admin.electLeaders(ElectionType.PREFERRED, Set.of(part)).partitions()
                    .thenApply(answers -> {
                        throw (RuntimeException) answers.get(part).get();
                    }), "election");
                same(get(admin.listPartitionReassignments().reassignments()), Map.of(), "ongoing reassignments");
                fails(InvalidReplicaAssignmentException.class, admin.alterPartitionReassignments(
                    Map.of(part, Optional.of(new NewPartitionReassignment(List.of(4242))))).all(), "to nobody");
            }
        }

        public void producersAreDescribed(String topic) throws Exception {
            create(topic, 1);
            sendNumbers(topic, 20, 1);
            TopicPartition part = new TopicPartition(topic, 0);
            try (Admin admin = admin()) {
                List<ProducerState> states = get(admin.describeProducers(List.of(part)).partitionResult(part)).activeProducers();
                same(states.size(), 1, "producers");
                same(states.get(0).lastSequence(), 19, "last sequence");
            }
        }
    }
}
