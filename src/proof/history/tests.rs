//! One bad history a rule, made by hand, and the good one that breaks none.

use super::*;

const fn at(partition: u64, offset: u64) -> Place {
    Place::new(partition, offset)
}

fn value(text: &str) -> Value {
    Value::parse(text.as_bytes()).expect("a value")
}

/// A history of producers 1 and 2, which attempted a hundred sends each.
fn history() -> History {
    let mut history = History::default();
    history.attempted(1, 100);
    history.attempted(2, 100);
    history
}

fn read(history: &mut History, partition: u64, from: u64, end: u64, values: &[&str]) {
    let records: Vec<_> = (from..).zip(values.iter().map(|text| value(text))).collect();
    history.read(Partition(partition), from, end, records);
}

/// Everything the judge finds is these, and each has a sentence that names its rule.
fn assert_found(history: &History, expected: &[Violation]) {
    let found = history.check_all();
    assert_eq!(found.kept(), expected, "{found}");
    for violation in expected {
        let text = found.to_string();
        assert!(
            text.contains(violation.rule().name()),
            "{text} does not name {violation:?}"
        );
        assert!(found.count(violation.rule()) > 0);
    }
}

#[test]
fn a_good_history_has_no_violation() {
    let mut history = history();
    history.acked(at(0, 0), value("1:0:a"));
    history.acked(at(0, 2), value("1:4:c"));
    history.acked(at(0, 2), Value::new(1, 4));
    history.seen(at(0, 1), value("2:7:b"));
    history.refused(value("2:9:x"));
    read(&mut history, 0, 0, 3, &["1:0:a", "2:7:b", "1:4:c"]);
    read(&mut history, 1, 3, 5, &["2:8:b", "1:5:c"]);
    assert_found(&history, &[]);
    assert_eq!((history.acked_count(), history.found_count()), (2, 2));
}

#[test]
fn an_acknowledged_record_beyond_the_end_is_unseen() {
    let mut history = history();
    history.acked(at(0, 1), value("1:1:b"));
    read(&mut history, 0, 0, 1, &["1:0:a"]);
    let (acked, value) = (at(0, 1), value("1:1:b"));
    assert_found(&history, &[Violation::Unseen { acked, value, end: 1 }]);
}

#[test]
fn an_acknowledged_record_that_readers_passed_by_is_lost() {
    let mut history = history();
    history.acked(at(0, 1), value("1:1:b"));
    history.seen(at(0, 0), value("1:0:a"));
    history.seen(at(0, 2), value("1:2:c"));
    let lost = Violation::LostWrite {
        acked: at(0, 1),
        value: value("1:1:b"),
        read_beyond: 2,
    };
    assert_found(&history, &[lost]);
}

#[test]
fn another_value_at_an_acknowledged_offset_is_inconsistent() {
    let mut history = history();
    history.acked(at(0, 0), value("1:1:b"));
    read(&mut history, 0, 0, 1, &["1:0:a"]);
    let found = history.check_all();
    let expected = Violation::Inconsistent {
        at: at(0, 0),
        first: (Source::Acked, value("1:1:b")),
        then: (Source::Read, value("1:0:a")),
    };
    assert_eq!(found.kept()[0], expected);
    assert_eq!(found.count(Rule::InconsistentOffsets), 1);
    assert_eq!(
        found.count(Rule::LostWrite),
        1,
        "nobody can read the acknowledged value"
    );
}

#[test]
fn an_offset_acknowledged_twice_with_two_values_is_inconsistent() {
    let mut history = history();
    history.acked(at(0, 0), value("1:0:a"));
    history.acked(at(0, 0), value("2:0:b"));
    assert_eq!(history.check_all().count(Rule::InconsistentOffsets), 1);
}

#[test]
fn an_acknowledged_value_that_was_read_and_then_replaced_is_lost() {
    let mut history = history();
    history.acked(at(0, 0), value("1:0:a"));
    history.seen(at(0, 0), value("1:0:a"));
    read(&mut history, 0, 0, 1, &["2:0:b"]);
    let found = history.check_all();
    assert_eq!(found.count(Rule::InconsistentOffsets), 1);
    assert_eq!(found.count(Rule::LostWrite), 1, "{found}");
}

#[test]
fn bytes_that_a_reader_saw_may_not_change() {
    let mut history = history();
    history.seen(at(0, 0), value("1:0:a"));
    read(&mut history, 0, 0, 1, &["1:0:A"]);
    let changed = Violation::Inconsistent {
        at: at(0, 0),
        first: (Source::Read, value("1:0:a")),
        then: (Source::Read, value("1:0:A")),
    };
    assert_eq!(changed.rule(), Rule::Changed);
    assert_found(&history, &[changed]);
}

#[test]
fn a_value_at_two_offsets_is_a_duplicate() {
    let mut history = history();
    read(&mut history, 0, 0, 2, &["1:0:a", "1:0:a"]);
    let duplicate = Violation::Duplicate {
        value: value("1:0:a"),
        first: at(0, 0),
        again: at(0, 1),
    };
    assert_found(&history, &[duplicate]);
}

#[test]
fn a_value_in_two_partitions_is_a_duplicate() {
    let mut history = history();
    history.acked(at(0, 0), value("1:0:a"));
    read(&mut history, 0, 0, 1, &["1:0:a"]);
    read(&mut history, 1, 0, 1, &["1:0:a"]);
    assert_eq!(history.check_all().count(Rule::Duplicate), 1);
}

#[test]
fn a_missing_offset_is_a_gap() {
    let mut history = history();
    history.read(Partition(0), 0, 3, [(0, value("1:0:a")), (2, value("1:1:b"))]);
    let (missing, before) = (at(0, 1), 2);
    assert_found(&history, &[Violation::Gap { missing, before }]);
}

#[test]
fn a_read_that_stops_before_the_end_is_a_gap() {
    let mut history = history();
    read(&mut history, 0, 0, 2, &["1:0:a"]);
    let (missing, before) = (at(0, 1), 2);
    assert_found(&history, &[Violation::Gap { missing, before }]);
}

#[test]
fn a_log_that_ends_below_what_was_seen_has_vanished_records() {
    let mut history = history();
    history.seen(at(0, 1), value("1:1:b"));
    read(&mut history, 0, 0, 1, &["1:0:a"]);
    let (seen, value) = (at(0, 1), value("1:1:b"));
    assert_found(&history, &[Violation::Vanished { seen, value, end: 1 }]);
}

#[test]
fn a_producers_earlier_value_at_a_later_offset_is_disorder() {
    let mut history = history();
    read(&mut history, 0, 0, 2, &["1:5:b", "1:3:a"]);
    let disorder = Violation::Disorder {
        at: at(0, 1),
        value: value("1:3:a"),
        after: (at(0, 0), value("1:5:b")),
    };
    assert_found(&history, &[disorder]);
}

#[test]
fn acknowledged_sends_of_a_producer_get_rising_offsets() {
    let mut history = history();
    history.acked(at(0, 0), value("1:5:b"));
    history.acked(at(0, 1), value("1:3:a"));
    read(&mut history, 0, 0, 2, &["1:5:b", "1:3:a"]);
    let nonmonotonic = Violation::NonmonotonicSend {
        at: at(0, 1),
        value: value("1:3:a"),
        after: (at(0, 0), value("1:5:b")),
    };
    assert_found(&history, &[nonmonotonic]);
}

#[test]
fn values_nobody_sent_are_phantoms() {
    for text in ["9:0:unknown producer", "1:100:never attempted"] {
        let mut history = history();
        read(&mut history, 0, 0, 1, &[text]);
        let (at, value) = (at(0, 0), value(text));
        assert_found(&history, &[Violation::Phantom { at, value }]);
    }
    let mut history = history();
    history.alien(at(0, 0), b"garbage");
    assert_eq!(history.check_all().count(Rule::Phantom), 1);
}

#[test]
fn a_refused_send_is_not_in_the_log() {
    let mut history = history();
    history.refused(value("1:0:a"));
    read(&mut history, 0, 0, 1, &["1:0:a"]);
    let (at, value) = (at(0, 0), value("1:0:a"));
    assert_found(&history, &[Violation::Refused { at, value }]);
}

#[test]
fn a_check_from_an_offset_leaves_what_lies_below_to_earlier_checks() {
    let mut history = history();
    history.acked(at(0, 0), value("1:0:a"));
    read(&mut history, 0, 1, 2, &["1:1:b"]);
    assert!(history.check(&BTreeMap::from([(Partition(0), 1)])).is_empty());
    assert_eq!(history.check(&BTreeMap::new()).count(Rule::LostWrite), 1);
}

#[test]
fn many_violations_are_counted_and_few_are_kept() {
    let mut history = history();
    let many = 3 * KEPT as u64;
    for offset in 0..many {
        history.alien(at(0, offset), b"x");
    }
    let found = history.check_all();
    assert_eq!((found.count(Rule::Phantom), found.kept().len()), (many, KEPT));
    assert_eq!(found.witnesses().len(), 1);
}

const READER: Reader = Reader(7);
const GROUP: Group = Group(3);

/// Records 1:0, 1:1, .. at offsets 0, 1, .. of partition 0, all of them read by somebody.
fn with_records(count: u64) -> History {
    let mut history = history();
    let records = (0..count).map(|at| (at, Value::new(1, at)));
    history.read(Partition(0), 0, count, records);
    history
}

fn poll(history: &mut History, attachment: Attachment, offsets: &[u64]) {
    let records = offsets
        .iter()
        .map(|&offset| (at(0, offset), Value::new(1, offset)));
    history.polled(READER, attachment, records);
}

#[test]
fn a_send_that_began_after_another_ended_lies_behind_it() {
    let mut history = with_records(2);
    history.acked_between(at(0, 0), Value::new(1, 0), 50, 60);
    history.acked_between(at(0, 1), Value::new(1, 1), 10, 49);
    let real_time = Violation::RealTime {
        ended: (at(0, 1), Value::new(1, 1)),
        began_later: (at(0, 0), Value::new(1, 0)),
    };
    assert_found(&history, &[real_time]);
}

#[test]
fn sends_that_overlap_lie_in_any_order() {
    let mut history = with_records(3);
    history.acked_between(at(0, 0), Value::new(1, 0), 50, 60);
    history.acked_between(at(0, 1), Value::new(1, 1), 10, 50);
    history.acked_between(at(0, 2), Value::new(1, 2), 10, 0);
    assert_found(&history, &[]);
}

#[test]
fn an_assigned_reader_may_not_skip_what_somebody_knows() {
    let mut history = with_records(3);
    poll(&mut history, Attachment::Assigned, &[0]);
    poll(&mut history, Attachment::Assigned, &[2]);
    let skip = Violation::PollSkip {
        reader: READER,
        skipped: (at(0, 1), Value::new(1, 1)),
        from: 1,
        to: 2,
        within: Within::Reader,
    };
    assert_found(&history, &[skip]);
}

#[test]
fn offsets_that_nobody_knows_are_no_skip() {
    let mut history = history();
    for offset in [0, 2] {
        poll(&mut history, Attachment::Assigned, &[offset]);
    }
    poll(&mut history, Attachment::Assigned, &[5, 8]);
    assert_found(&history, &[]);
}

#[test]
fn a_reader_does_not_go_back_unless_it_wants_to() {
    let mut history = with_records(3);
    poll(&mut history, Attachment::Assigned, &[1]);
    history.moved(READER, Partition(0));
    poll(&mut history, Attachment::Assigned, &[0, 1]);
    assert!(history.check_all().is_empty());
    poll(&mut history, Attachment::Assigned, &[1]);
    let back = Violation::PollBack {
        reader: READER,
        at: at(0, 1),
        expected: 2,
        within: Within::Reader,
    };
    assert_found(&history, &[back]);
}

#[test]
fn members_may_move_between_answers_but_not_within_one() {
    let mut history = with_records(5);
    poll(&mut history, Attachment::Subscribed, &[3]);
    poll(&mut history, Attachment::Subscribed, &[0]);
    poll(&mut history, Attachment::Subscribed, &[4]);
    assert_found(&history, &[]);
    poll(&mut history, Attachment::Subscribed, &[0, 2]);
    poll(&mut history, Attachment::Subscribed, &[3, 2]);
    let found = history.check_all();
    assert_eq!(
        (
            found.count(Rule::IntPollSkip),
            found.count(Rule::IntNonmonotonicPoll)
        ),
        (1, 1),
        "{found}"
    );
}

#[test]
fn what_was_trimmed_may_be_skipped_and_missed() {
    let mut history = with_records(4);
    history.acked(at(0, 1), Value::new(1, 1));
    poll(&mut history, Attachment::Assigned, &[0]);
    history.trim_begun(Partition(0), 3);
    history.trimmed(Partition(0), 3);
    poll(&mut history, Attachment::Assigned, &[3]);
    history.read(Partition(0), 3, 4, [(3, Value::new(1, 3))]);
    assert_found(&history, &[]);
}

#[test]
fn a_start_goes_neither_back_nor_further_than_asked() {
    for (start, asked, trimmed) in [(2, 3, 3), (5, 4, 3)] {
        let mut history = with_records(9);
        history.trim_begun(Partition(0), asked);
        history.trimmed(Partition(0), trimmed);
        history.started_at(Partition(0), start);
        let start = at(0, start);
        let trim = Violation::Trim {
            start,
            trimmed,
            asked,
        };
        assert_found(&history, &[trim]);
    }
}

#[test]
fn a_compacted_log_keeps_the_newest_of_each_key() {
    let mut history = history();
    history.compacted(Partition(0), 2);
    for sequence in 0..4 {
        history.acked(at(0, sequence), Value::new(1, sequence));
    }
    let read = |history: &mut History, kept: &[u64]| {
        let records: Vec<_> = kept.iter().map(|at| (*at, Value::new(1, *at))).collect();
        history.read(Partition(0), 0, 4, records);
    };
    read(&mut history, &[0, 2, 3]);
    read(&mut history, &[2, 3]);
    assert_found(&history, &[]);
    read(&mut history, &[1, 3]);
    let latest = (at(0, 2), Value::new(1, 2));
    assert_found(&history, &[Violation::Compaction { latest, keys: 2 }]);
}

fn group_offset(committed: Option<u64>, attempted: Option<u64>, found: Option<u64>) -> Violation {
    Violation::GroupOffset {
        group: GROUP,
        partition: Partition(0),
        committed,
        attempted,
        found,
    }
}

#[test]
fn a_groups_offset_is_what_was_committed_or_attempted_since() {
    let mut history = with_records(9);
    history.commit_found(GROUP, Partition(0), None);
    history.committed(GROUP, Partition(0), 3);
    history.commit_begun(GROUP, Partition(0), 5);
    for offset in [3, 5] {
        history.commit_found(GROUP, Partition(0), Some(offset));
    }
    history.reset(GROUP, Partition(0), 1);
    history.commit_found(GROUP, Partition(0), Some(1));
    assert_found(&history, &[]);
}

#[test]
fn a_groups_offset_does_not_go_back_is_not_forgotten_and_not_made_up() {
    for wrong in [Some(2), Some(0), None, Some(6)] {
        let mut history = with_records(9);
        history.committed(GROUP, Partition(0), 3);
        history.commit_begun(GROUP, Partition(0), 5);
        history.commit_found(GROUP, Partition(0), wrong);
        assert_found(&history, &[group_offset(Some(3), Some(5), wrong)]);
    }
}

#[test]
fn a_groups_offset_is_not_beyond_the_end() {
    let mut history = with_records(3);
    history.committed(GROUP, Partition(0), 4);
    let (group, committed) = (GROUP, at(0, 4));
    assert_found(
        &history,
        &[Violation::GroupBeyondEnd {
            group,
            committed,
            end: 3,
        }],
    );
}

#[test]
fn a_group_that_commits_after_processing_leaves_nothing_out() {
    let mut history = with_records(6);
    history.resumed(GROUP, Partition(0), 0);
    for offset in [0, 1, 3, 2] {
        history.processed(GROUP, Partition(0), offset);
    }
    history.resumed(GROUP, Partition(0), 4);
    assert_found(&history, &[]);
    history.resumed(GROUP, Partition(0), 5);
    let skip = Violation::GroupSkip {
        group: GROUP,
        resumed: at(0, 5),
        skipped: (at(0, 4), Value::new(1, 4)),
    };
    assert_found(&history, &[skip]);
}

#[test]
fn what_was_acknowledged_somewhere_is_somewhere() {
    let mut history = history();
    history.acked_somewhere(Value::new(1, 0));
    history.acked_somewhere(Value::new(1, 1));
    read(&mut history, 0, 0, 1, &["1:0:a"]);
    let value = Value::new(1, 1);
    assert_found(&history, &[Violation::Missing { value }]);
}

#[test]
fn a_setting_is_what_was_agreed_or_asked_for_since() {
    let mut history = history();
    history.change_found("topic t", "");
    history.change_begun("topic t", "there");
    history.change_found("topic t", "there");
    history.change_begun("topic t", "gone");
    history.change_found("topic t", "there");
    history.changed("topic t", "gone");
    assert_found(&history, &[]);
    history.change_found("topic t", "there");
    let register = Violation::Register {
        name: "topic t".to_owned(),
        agreed: "gone".to_owned(),
        asked: Vec::new(),
        found: "there".to_owned(),
    };
    assert_found(&history, &[register]);
}

#[test]
fn a_partition_read_by_polls_ends_where_it_was_told_to() {
    let mut history = history();
    history.acked(at(0, 1), Value::new(1, 1));
    poll(&mut history, Attachment::Assigned, &[0]);
    history.ended_at(Partition(0), 1);
    let (acked, value) = (at(0, 1), Value::new(1, 1));
    assert_found(&history, &[Violation::Unseen { acked, value, end: 1 }]);
}
