// franz-go: a client with a codec of its own that takes the newest version of every API, or any older one it is told to.
//
// In the manner of ../harness.py: named cases, told line by line. COMPAT_BOOTSTRAP is the broker, COMPAT_CASES the cases to
// run, --list names them.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kversion"
)

const (
	pastMs   = 1_600_000_000_000
	patience = 30 * time.Second
)

type test struct {
	name string
	run  func(ctx context.Context, topic string) error
}

var tests = []test{
	{"uncompressed", codec(kgo.NoCompression())},
	{"gzip", codec(kgo.GzipCompression())},
	{"snappy", codec(kgo.SnappyCompression())},
	{"lz4", codec(kgo.Lz4Compression())},
	{"zstd", codec(kgo.ZstdCompression())},
	{"headers_nulls_and_timestamps", headersNullsAndTimestamps},
	{"idempotent_pipeline", idempotentPipeline},
	{"acks_none_and_one", acksNoneAndOne},
	{"too_large_is_refused", tooLargeIsRefused},
	{"topic_made_by_using_it", topicMadeByUsingIt},
	{"sessions_over_many_partitions", sessionsOverManyPartitions},
	{"versions_of_2_1", versions(kversion.V2_1_0())},
	{"versions_of_2_4", versions(kversion.V2_4_0())},
	{"versions_of_2_8", versions(kversion.V2_8_0())},
	{"versions_of_3_5", versions(kversion.V3_5_0())},
	{"versions_of_3_9", versions(kversion.V3_9_0())},
	{"versions_of_4_0", versions(kversion.V4_0_0())},
	{"classic_group_commits_and_resumes", commitsAndResumes()},
	{"classic_members_share_and_take_over", shareAndTakeOver()},
	{"sticky_members_share_and_take_over", shareAndTakeOver(kgo.Balancers(kgo.StickyBalancer()))},
	{"roundrobin_members_share_and_take_over", shareAndTakeOver(kgo.Balancers(kgo.RoundRobinBalancer()))},
	{"kip_848_group_commits_and_resumes", commitsAndResumes(nextGeneration)},
	{"kip_848_members_share_and_take_over", shareAndTakeOver(nextGeneration)},
	{"static_member_comes_back", staticMemberComesBack},
	{"topics_are_administered", topicsAreAdministered},
	{"configs_are_administered", configsAreAdministered},
	{"offsets_are_listed", offsetsAreListed},
	{"records_are_deleted", recordsAreDeleted},
	{"groups_are_administered", groupsAreAdministered},
	{"lag_is_told", lagIsTold},
	{"log_directories", logDirectories},
}

var nextGeneration = kgo.GroupProtocol("consumer")

func client(options ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(os.Getenv("COMPAT_BOOTSTRAP")),
		kgo.ClientID("compat"),
		kgo.FetchMaxWait(100 * time.Millisecond),
		kgo.DisableClientMetrics(),
	}, options...)...)
}

func withAdmin(use func(*kadm.Client) error) error {
	c, err := client()
	if err != nil {
		return err
	}
	defer c.Close()
	return use(kadm.NewClient(c))
}

func holds(condition bool, format string, arguments ...any) error {
	if condition {
		return nil
	}
	return fmt.Errorf(format, arguments...)
}

// all gives the first error; its arguments are worked out in order.
func all(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func until(what string, condition func() (bool, error)) error {
	deadline := time.Now().Add(patience)
	for {
		done, err := condition()
		if done || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not within %v: %s", patience, what)
		}
		time.Sleep(30 * time.Millisecond)
	}
}

func create(ctx context.Context, topic string, partitions int) error {
	return withAdmin(func(admin *kadm.Client) error {
		if _, err := admin.CreateTopic(ctx, int32(partitions), 1, nil, topic); err != nil {
			return err
		}
		return until("leaders", func() (bool, error) {
			about, err := admin.ListTopics(ctx, topic)
			return err == nil && len(about[topic].Partitions) == partitions && about[topic].Err == nil, nil
		})
	})
}

func numbers(topic string, count, partitions int) []*kgo.Record {
	records := make([]*kgo.Record, count)
	for n := range records {
		records[n] = &kgo.Record{
			Topic: topic, Partition: int32(n % partitions),
			Key: fmt.Appendf(nil, "k%d", n), Value: fmt.Appendf(nil, "v%06d %s", n, strings.Repeat(".", 60)),
		}
	}
	return records
}

func send(ctx context.Context, records []*kgo.Record, options ...kgo.Opt) (kgo.ProduceResults, error) {
	c, err := client(append([]kgo.Opt{kgo.RecordPartitioner(kgo.ManualPartitioner())}, options...)...)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	results := c.ProduceSync(ctx, records...)
	return results, results.FirstErr()
}

func sendNumbers(ctx context.Context, topic string, count, partitions int) error {
	_, err := send(ctx, numbers(topic, count, partitions))
	return err
}

func reader(topic string, options ...kgo.Opt) (*kgo.Client, error) {
	return client(append([]kgo.Opt{kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())}, options...)...)
}

func poll(ctx context.Context, c *kgo.Client, wait time.Duration) ([]*kgo.Record, error) {
	limited, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	fetches := c.PollFetches(limited)
	for _, failed := range fetches.Errors() {
		if !errors.Is(failed.Err, context.DeadlineExceeded) {
			return nil, failed.Err
		}
	}
	return fetches.Records(), nil
}

func take(ctx context.Context, c *kgo.Client, count int) ([]*kgo.Record, error) {
	var got []*kgo.Record
	deadline := time.Now().Add(patience)
	for len(got) < count {
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("%d of %d records", len(got), count)
		}
		more, err := poll(ctx, c, 300*time.Millisecond)
		if err != nil {
			return nil, err
		}
		got = append(got, more...)
	}
	return got, nil
}

func readAll(ctx context.Context, topic string, count int, options ...kgo.Opt) ([]*kgo.Record, error) {
	c, err := reader(topic, options...)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return take(ctx, c, count)
}

func codec(compression kgo.CompressionCodec) func(context.Context, string) error {
	return func(ctx context.Context, topic string) error {
		if err := create(ctx, topic, 1); err != nil {
			return err
		}
		sent := numbers(topic, 1000, 1)
		if _, err := send(ctx, sent, kgo.ProducerBatchCompression(compression), kgo.ProducerLinger(20*time.Millisecond)); err != nil {
			return err
		}
		got, err := readAll(ctx, topic, 1000)
		if err != nil {
			return err
		}
		for n, record := range got {
			if record.Offset != int64(n) || string(record.Value) != string(sent[n].Value) {
				return fmt.Errorf("record %d: offset %d, %.40s", n, record.Offset, record.Value)
			}
		}
		return nil
	}
}

func headersNullsAndTimestamps(ctx context.Context, topic string) error {
	if err := create(ctx, topic, 1); err != nil {
		return err
	}
	at := func(offset int64) time.Time { return time.UnixMilli(pastMs + offset) }
	_, err := send(ctx, []*kgo.Record{
		{Topic: topic, Key: []byte("k"), Value: []byte("v"), Timestamp: at(0),
			Headers: []kgo.RecordHeader{{Key: "a", Value: []byte("1")}, {Key: "a", Value: nil}}},
		{Topic: topic, Key: []byte("k"), Value: nil, Timestamp: at(1000)},
		{Topic: topic, Key: nil, Value: []byte{}, Timestamp: at(2000)},
	})
	if err != nil {
		return err
	}
	got, err := readAll(ctx, topic, 3)
	if err != nil {
		return err
	}
	return all(
		holds(len(got[0].Headers) == 2 && got[0].Headers[1].Value == nil, "headers: %v", got[0].Headers),
		holds(got[1].Value == nil && got[2].Key == nil && got[2].Value != nil, "nulls"),
		holds(got[1].Timestamp.Equal(at(1000)), "timestamp %v", got[1].Timestamp),
	)
}

func idempotentPipeline(ctx context.Context, topic string) error {
	if err := create(ctx, topic, 2); err != nil {
		return err
	}
	results, err := send(ctx, numbers(topic, 4000, 2), kgo.ProducerBatchMaxBytes(2000))
	if err != nil {
		return err
	}
	next := map[int32]int64{}
	for _, result := range results {
		record := result.Record
		if record.ProducerID < 0 {
			return fmt.Errorf("producer id %d", record.ProducerID)
		}
		next[record.Partition] = max(next[record.Partition], record.Offset+1)
	}
	return holds(next[0] == 2000 && next[1] == 2000, "ends %v", next)
}

func acksNoneAndOne(ctx context.Context, topic string) error {
	if err := create(ctx, topic, 1); err != nil {
		return err
	}
	for _, acks := range []kgo.Acks{kgo.NoAck(), kgo.LeaderAck()} {
		if _, err := send(ctx, numbers(topic, 50, 1), kgo.RequiredAcks(acks), kgo.DisableIdempotentWrite()); err != nil {
			return err
		}
	}
	_, err := readAll(ctx, topic, 100)
	return err
}

func tooLargeIsRefused(ctx context.Context, topic string) error {
	if err := create(ctx, topic, 1); err != nil {
		return err
	}
	large := &kgo.Record{Topic: topic, Value: make([]byte, 3_000_000)}
	_, err := send(ctx, []*kgo.Record{large}, kgo.ProducerBatchMaxBytes(8_000_000), kgo.ProducerBatchCompression(kgo.NoCompression()))
	return holds(errors.Is(err, kerr.MessageTooLarge), "3 MB: %v", err)
}

func topicMadeByUsingIt(ctx context.Context, topic string) error {
	c, err := client(kgo.AllowAutoTopicCreation())
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte("first")}).FirstErr(); err != nil {
		return err
	}
	about, err := kadm.NewClient(c).ListTopics(ctx, topic)
	return all(err, holds(len(about[topic].Partitions) == 4, "partitions by default: %d", len(about[topic].Partitions)))
}

// Fetch sessions: most partitions stay out of most requests and answers.
func sessionsOverManyPartitions(ctx context.Context, topic string) error {
	if err := create(ctx, topic, 50); err != nil {
		return err
	}
	c, err := reader(topic)
	if err != nil {
		return err
	}
	defer c.Close()
	seen := map[string]bool{}
	for range 10 {
		if err := sendNumbers(ctx, topic, 100, 50); err != nil {
			return err
		}
		got, err := take(ctx, c, 100)
		if err != nil {
			return err
		}
		for _, record := range got {
			seen[place(record)] = true
		}
	}
	if err := holds(len(seen) == 1000, "distinct records: %d", len(seen)); err != nil {
		return err
	}
	c.PauseFetchPartitions(map[string][]int32{topic: {0, 1, 2}})
	if err := sendNumbers(ctx, topic, 50, 50); err != nil {
		return err
	}
	got, err := take(ctx, c, 47)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(got, func(record *kgo.Record) bool { return record.Partition < 3 }) {
		return errors.New("records of paused partitions")
	}
	c.ResumeFetchPartitions(map[string][]int32{topic: {0, 1, 2}})
	_, err = take(ctx, c, 3)
	return err
}

// Everything a client of that Kafka does: produce, consume, a group, offsets.
func versions(limit *kversion.Versions) func(context.Context, string) error {
	return func(ctx context.Context, topic string) error {
		if err := create(ctx, topic, 2); err != nil {
			return err
		}
		limited := kgo.MaxVersions(limit)
		if _, err := send(ctx, numbers(topic, 200, 2), limited); err != nil {
			return fmt.Errorf("produce: %w", err)
		}
		if _, err := readAll(ctx, topic, 200, limited); err != nil {
			return fmt.Errorf("consume: %w", err)
		}
		c, err := reader(topic, kgo.ConsumerGroup(topic), kgo.DisableAutoCommit(), limited)
		if err != nil {
			return err
		}
		defer c.Close()
		if _, err := take(ctx, c, 200); err != nil {
			return fmt.Errorf("group: %w", err)
		}
		if err := c.CommitUncommittedOffsets(ctx); err != nil {
			return fmt.Errorf("commit: %w", err)
		}
		admin := kadm.NewClient(c)
		offsets, err := admin.FetchOffsets(ctx, topic)
		if err != nil {
			return fmt.Errorf("committed offsets: %w", err)
		}
		at, _ := offsets.Lookup(topic, 1)
		ends, err := admin.ListEndOffsets(ctx, topic)
		if err != nil {
			return fmt.Errorf("list offsets: %w", err)
		}
		end, _ := ends.Lookup(topic, 1)
		return holds(at.At == 100 && end.Offset == 100, "committed %d, end %d", at.At, end.Offset)
	}
}

func place(record *kgo.Record) string {
	return fmt.Sprintf("%d@%d", record.Partition, record.Offset)
}

// A member whose partitions are known.
type member struct {
	*kgo.Client
	lock  sync.Mutex
	parts []int32
}

func join(group, topic string, options ...kgo.Opt) (*member, error) {
	self := &member{}
	change := func(apply func(int32)) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, parts map[string][]int32) {
			self.lock.Lock()
			defer self.lock.Unlock()
			for _, part := range parts[topic] {
				apply(part)
			}
		}
	}
	drop := change(func(part int32) {
		self.parts = slices.DeleteFunc(self.parts, func(other int32) bool { return other == part })
	})
	c, err := reader(topic, append([]kgo.Opt{
		kgo.ConsumerGroup(group), kgo.DisableAutoCommit(), kgo.SessionTimeout(6 * time.Second),
		kgo.HeartbeatInterval(300 * time.Millisecond),
		kgo.OnPartitionsAssigned(change(func(part int32) { self.parts = append(self.parts, part) })),
		kgo.OnPartitionsRevoked(drop), kgo.OnPartitionsLost(drop),
	}, options...)...)
	self.Client = c
	return self, err
}

func (m *member) owned() []int32 {
	m.lock.Lock()
	defer m.lock.Unlock()
	parts := slices.Clone(m.parts)
	slices.Sort(parts)
	return parts
}

func settle(ctx context.Context, members []*member, shares ...int) error {
	return until(fmt.Sprintf("shares %v", shares), func() (bool, error) {
		together := map[int32]bool{}
		fits, sum := true, 0
		for at, m := range members {
			if _, err := poll(ctx, m.Client, 30*time.Millisecond); err != nil {
				return false, err
			}
			owned := m.owned()
			fits = fits && len(owned) == shares[at]
			sum += len(owned)
			for _, part := range owned {
				together[part] = true
			}
		}
		return fits && len(together) == sum, nil
	})
}

func commitsAndResumes(options ...kgo.Opt) func(context.Context, string) error {
	return func(ctx context.Context, topic string) error {
		if err := all(create(ctx, topic, 4), sendNumbers(ctx, topic, 200, 4)); err != nil {
			return err
		}
		first, err := join(topic, topic, options...)
		if err != nil {
			return err
		}
		if _, err := take(ctx, first.Client, 200); err != nil {
			return err
		}
		if err := first.CommitUncommittedOffsets(ctx); err != nil {
			return err
		}
		first.Close()
		if err := sendNumbers(ctx, topic, 1, 4); err != nil {
			return err
		}
		second, err := join(topic, topic, options...)
		if err != nil {
			return err
		}
		defer second.Close()
		got, err := take(ctx, second.Client, 1)
		if err != nil {
			return err
		}
		return holds(len(got) == 1 && place(got[0]) == "0@50", "%d records, the first at %s", len(got), place(got[0]))
	}
}

func shareAndTakeOver(options ...kgo.Opt) func(context.Context, string) error {
	return func(ctx context.Context, topic string) error {
		if err := create(ctx, topic, 4); err != nil {
			return err
		}
		first, err := join(topic, topic, options...)
		if err != nil {
			return err
		}
		if err := settle(ctx, []*member{first}, 4); err != nil {
			return err
		}
		second, err := join(topic, topic, options...)
		if err != nil {
			return err
		}
		if err := all(settle(ctx, []*member{first, second}, 2, 2), sendNumbers(ctx, topic, 80, 4)); err != nil {
			return err
		}
		seen, count := map[string]bool{}, 0
		err = until("all records", func() (bool, error) {
			for _, m := range []*member{first, second} {
				got, err := poll(ctx, m.Client, 50*time.Millisecond)
				if err != nil {
					return false, err
				}
				for _, record := range got {
					seen[place(record)] = true
					count++
				}
			}
			return len(seen) == 80, nil
		})
		if err := all(err, holds(count == 80, "%d deliveries of 80 records", count)); err != nil {
			return err
		}
		first.Close()
		defer second.Close()
		return settle(ctx, []*member{second}, 4)
	}
}

func staticMemberComesBack(ctx context.Context, topic string) error {
	if err := create(ctx, topic, 4); err != nil {
		return err
	}
	static := func(id string) []kgo.Opt { return []kgo.Opt{kgo.InstanceID(id), kgo.SessionTimeout(20 * time.Second)} }
	stays, err := join(topic, topic, static("stays")...)
	if err != nil {
		return err
	}
	defer stays.Close()
	goes, err := join(topic, topic, static("goes")...)
	if err != nil {
		return err
	}
	if err := settle(ctx, []*member{stays, goes}, 2, 2); err != nil {
		return err
	}
	before := goes.owned()
	goes.Close()
	back, err := join(topic, topic, static("goes")...)
	if err != nil {
		return err
	}
	defer back.Close()
	if err := settle(ctx, []*member{stays, back}, 2, 2); err != nil {
		return err
	}
	return holds(slices.Equal(before, back.owned()), "had %v, has %v", before, back.owned())
}

func topicsAreAdministered(ctx context.Context, topic string) error {
	return withAdmin(func(admin *kadm.Client) error {
		value := "1000000"
		made, err := admin.CreateTopic(ctx, 2, 1, map[string]*string{"retention.ms": &value}, topic)
		if err != nil {
			return err
		}
		_, again := admin.CreateTopic(ctx, 2, 1, nil, topic)
		_, replicas := admin.CreateTopic(ctx, 2, 3, nil, topic+"-r")
		if err := all(
			holds(made.ID != kadm.TopicID{}, "it has no id"),
			holds(errors.Is(again, kerr.TopicAlreadyExists), "again: %v", again),
			holds(errors.Is(replicas, kerr.InvalidReplicationFactor), "three replicas: %v", replicas),
		); err != nil {
			return err
		}
		grown, err := admin.UpdatePartitions(ctx, 3, topic)
		if err := all(err, grown.Error()); err != nil {
			return err
		}
		err = until("three partitions", func() (bool, error) {
			about, err := admin.ListTopics(ctx, topic)
			return len(about[topic].Partitions) == 3, err
		})
		if err != nil {
			return err
		}
		gone, err := admin.DeleteTopics(ctx, topic)
		return all(err, gone.Error())
	})
}

func configsAreAdministered(ctx context.Context, topic string) error {
	return withAdmin(func(admin *kadm.Client) error {
		if _, err := admin.CreateTopic(ctx, 1, 1, nil, topic); err != nil {
			return err
		}
		value, bad := "70000", "soon"
		altered, err := admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Name: "segment.ms", Value: &value}}, topic)
		if err := all(err, altered[0].Err); err != nil {
			return err
		}
		err = until("the config", func() (bool, error) {
			described, err := admin.DescribeTopicConfigs(ctx, topic)
			if err != nil || described[0].Err != nil {
				return false, all(err, described[0].Err)
			}
			return slices.ContainsFunc(described[0].Configs, func(config kadm.Config) bool {
				return config.Key == "segment.ms" && config.MaybeValue() == value && len(config.Synonyms) > 0
			}), nil
		})
		if err != nil {
			return err
		}
		refused, err := admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Name: "segment.ms", Value: &bad}}, topic)
		return all(err, holds(errors.Is(refused[0].Err, kerr.InvalidConfig), "a bad value: %v", refused[0].Err))
	})
}

func offsetsAreListed(ctx context.Context, topic string) error {
	if err := create(ctx, topic, 1); err != nil {
		return err
	}
	records := numbers(topic, 10, 1)
	for n, record := range records {
		record.Timestamp = time.UnixMilli(pastMs + int64(n))
	}
	records[4].Timestamp = time.UnixMilli(pastMs + 1000)
	if _, err := send(ctx, records, kgo.ProducerLinger(50*time.Millisecond)); err != nil {
		return err
	}
	return withAdmin(func(admin *kadm.Client) error {
		for name, look := range map[string]struct {
			list func(context.Context, ...string) (kadm.ListedOffsets, error)
			at   int64
		}{
			"start": {admin.ListStartOffsets, 0},
			"end":   {admin.ListEndOffsets, 10},
			"time": {func(ctx context.Context, topics ...string) (kadm.ListedOffsets, error) {
				return admin.ListOffsetsAfterMilli(ctx, pastMs+3, topics...)
			}, 3},
			"largest":   {admin.ListMaxTimestampOffsets, 4},
			"committed": {admin.ListCommittedOffsets, 10},
		} {
			listed, err := look.list(ctx, topic)
			if err := all(err, listed.Error()); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			found, _ := listed.Lookup(topic, 0)
			if err := holds(found.Offset == look.at, "%s: %d, expected %d", name, found.Offset, look.at); err != nil {
				return err
			}
		}
		return nil
	})
}

func recordsAreDeleted(ctx context.Context, topic string) error {
	if err := all(create(ctx, topic, 1), sendNumbers(ctx, topic, 20, 1)); err != nil {
		return err
	}
	return withAdmin(func(admin *kadm.Client) error {
		before := kadm.Offsets{}
		before.Add(kadm.Offset{Topic: topic, Partition: 0, At: 12, LeaderEpoch: -1})
		deleted, err := admin.DeleteRecords(ctx, before)
		if err := all(err, deleted.Error()); err != nil {
			return err
		}
		got, err := readAll(ctx, topic, 8)
		return all(err, holds(err != nil || got[0].Offset == 12, "the first that is left"))
	})
}

func groupsAreAdministered(ctx context.Context, topic string) error {
	if err := create(ctx, topic, 2); err != nil {
		return err
	}
	inside, err := join(topic, topic)
	if err != nil {
		return err
	}
	if err := settle(ctx, []*member{inside}, 2); err != nil {
		return err
	}
	return withAdmin(func(admin *kadm.Client) error {
		about, err := admin.DescribeGroups(ctx, topic)
		if err := all(err, holds(about[topic].State == "Stable" && len(about[topic].Members) == 1, "described: %v", about[topic])); err != nil {
			return err
		}
		listed, err := admin.ListGroups(ctx)
		if err := all(err, holds(listed[topic].ProtocolType == "consumer", "listed: %v", listed[topic])); err != nil {
			return err
		}
		_, nonEmpty := admin.DeleteGroup(ctx, topic)
		if err := holds(errors.Is(nonEmpty, kerr.NonEmptyGroup), "with members: %v", nonEmpty); err != nil {
			return err
		}
		inside.Close()
		set := kadm.Offsets{}
		set.Add(kadm.Offset{Topic: topic, Partition: 0, At: 7, LeaderEpoch: 0, Metadata: "by hand"})
		if err := admin.CommitAllOffsets(ctx, topic, set); err != nil {
			return err
		}
		offsets, err := admin.FetchOffsets(ctx, topic)
		at, _ := offsets.Lookup(topic, 0)
		if err := all(err, holds(at.At == 7 && at.Metadata == "by hand" && at.LeaderEpoch == 0, "committed: %v", at)); err != nil {
			return err
		}
		_, err = admin.DeleteGroup(ctx, topic)
		_, again := admin.DeleteGroup(ctx, topic)
		return all(err, holds(errors.Is(again, kerr.GroupIDNotFound), "again: %v", again))
	})
}

func lagIsTold(ctx context.Context, topic string) error {
	if err := all(create(ctx, topic, 2), sendNumbers(ctx, topic, 20, 2)); err != nil {
		return err
	}
	return withAdmin(func(admin *kadm.Client) error {
		set := kadm.Offsets{}
		set.Add(kadm.Offset{Topic: topic, Partition: 0, At: 4, LeaderEpoch: -1})
		set.Add(kadm.Offset{Topic: topic, Partition: 1, At: 10, LeaderEpoch: -1})
		if err := admin.CommitAllOffsets(ctx, topic, set); err != nil {
			return err
		}
		lags, err := admin.Lag(ctx, topic)
		if err := all(err, lags.Error()); err != nil {
			return err
		}
		return holds(lags[topic].Lag.Total() == 6, "lag %d", lags[topic].Lag.Total())
	})
}

func logDirectories(ctx context.Context, topic string) error {
	if err := all(create(ctx, topic, 1), sendNumbers(ctx, topic, 20, 1)); err != nil {
		return err
	}
	return withAdmin(func(admin *kadm.Client) error {
		described, err := admin.DescribeAllLogDirs(ctx, nil)
		if err != nil {
			return err
		}
		found := false
		described.Each(func(directory kadm.DescribedLogDir) {
			part, there := directory.Topics.Lookup(topic, 0)
			found = found || there && part.Size > 0
		})
		return holds(found, "no directory holds the topic")
	})
}

func main() {
	if slices.Contains(os.Args, "--list") {
		for _, each := range tests {
			fmt.Println(each.name)
		}
		return
	}
	wanted := os.Getenv("COMPAT_CASES")
	for _, each := range tests {
		if wanted != "" && !slices.Contains(strings.Split(wanted, ","), each.name) {
			continue
		}
		fmt.Println("@run", each.name)
		ctx, cancel := context.WithTimeout(context.Background(), 55*time.Second)
		topic := fmt.Sprintf("%s-%x", strings.ReplaceAll(each.name, "_", "-"), time.Now().UnixNano()&0xffffffffff)
		if err := each.run(ctx, topic); err != nil {
			fmt.Println("@failed", each.name, strings.ReplaceAll(err.Error(), "\n", " "))
		} else {
			fmt.Println("@passed", each.name)
		}
		cancel()
	}
}
